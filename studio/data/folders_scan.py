"""The files of a user's two folders: which of them are images, and notes on the rest."""

import os
from collections.abc import Iterator
from pathlib import Path

from studio.data.folders_config import FOLDERS_LAYOUT, FoldersConfig
from studio.data.io.files import check_listable
from studio.data.io.images import is_image
from studio.data.io.names import join_names
from studio.data.io.scan import Found, matches_any, scan_images
from studio.data.subjects import SPLIT_FOLDERS
from studio.domains import DOMAINS
from studio.errors import StudioError

__all__ = ["check_root", "find_files"]


def check_root(config: FoldersConfig) -> Path:
    """Returns the root folder after checking that it has one folder per domain.

    Raises:
        StudioError: the root or a folder in it is missing.
    """
    root = check_listable(str(config.root), "data.root", FOLDERS_LAYOUT)
    inside = sorted(next(os.walk(root), ("", [], []))[1])
    for domain in DOMAINS:
        if domain not in inside:
            found = join_names(inside) or "no folders"
            hint = _layout_hint(root, inside, domain)
            raise StudioError(
                f"{root}: no folder {domain}/, found {found}{hint}; expected {FOLDERS_LAYOUT}"
            )
    return root


def _layout_hint(root: Path, inside: list[str], domain: str) -> str:
    """Returns what to do about a usual other layout, or an empty text."""
    alike = [name for name in inside if name.lower() == domain]
    if alike:
        return f": rename {alike[0]} to {domain}"
    outer = [name for name in inside if name.lower() in SPLIT_FOLDERS]
    if outer and (root / outer[0] / domain).is_dir():
        return f": move {outer[0]}/{domain}/ to {domain}/{outer[0]}/"
    return ""


def find_files(root: Path, config: FoldersConfig) -> tuple[dict[str, str], list[str]]:
    """Finds the images that the config picks.

    Returns:
        Image -> domain, sorted by name relative to the root, and notes on everything else.

    Raises:
        StudioError: a folder has no images, or a pattern leaves none.
    """
    found = scan_images(root, DOMAINS)
    _refuse_without_images(root, found)
    notes, whole = list(_root_notes(root)), found.names
    for option, patterns, keeps in (
        ("data.files", config.files, True),
        ("data.exclude", config.exclude, False),
    ):
        if not patterns:
            continue
        before = found.names
        found.names = [name for name in before if matches_any(name, patterns) == keeps]
        left = len(before) - len(found.names)
        shown = join_names([repr(pattern) for pattern in patterns])
        for domain in DOMAINS:
            if not any(name.startswith(f"{domain}/") for name in found.names):
                mine = [name for name in before if name.startswith(f"{domain}/")]
                raise StudioError(
                    f"{option}: {shown} leaves none of the {len(mine)} images of {domain}/, "
                    f"such as {join_names(mine, 2)}"
                )
        unused = [p for p in patterns if not any(matches_any(name, [p]) for name in whole)]
        if unused:
            notes.append(f"{option}: no image matches {join_names([repr(p) for p in unused])}")
        if left:
            notes.append(f"{option} {shown} leaves out {left} of {len(whole)} images")
    images = {name: name.split("/")[0] for name in found.names}
    return images, [*notes, *found.notes()]


def _root_notes(root: Path) -> Iterator[str]:
    """Yields notes on folders and images of the root that are outside of the two sets."""
    inside = [name for name in sorted(os.listdir(root)) if not name.startswith(".")]
    folders = [f"{n}/" for n in inside if n not in DOMAINS and (root / n).is_dir()]
    images = [name for name in inside if is_image(name) and (root / name).is_file()]
    if folders:
        yield f"{len(folders)} other folders of the root are not read: {join_names(folders)}"
    if images:
        yield (
            f"{len(images)} images of the root are not read: {join_names(images)}; "
            "move them into background/ or target/"
        )


def _refuse_without_images(root: Path, found: Found) -> None:
    """Raises an error if a folder has no images, which says what it has instead."""
    for domain in DOMAINS:
        if any(name.startswith(f"{domain}/") for name in found.names):
            continue
        mine = Found(others=[name for name in found.others if name.startswith(f"{domain}/")])
        seen = "; ".join(mine.unread_notes("that are not read"))
        if not seen and mine.others:
            seen = f"{len(mine.others)} other files: {join_names(mine.others)}"
        seen = seen and f"; found {seen}"
        raise StudioError(f"{root / domain}: no images; expected {FOLDERS_LAYOUT}{seen}")
