"""The subject of each image, from the table or from its path, and the split that is stated for it.

The subject of a file is, in this order,

1. its cell in the column `subject` of the table,
2. the part `sub-XX` of its path (BIDS),
3. the first folder below `background` or `target` (folders that all files share do not count, nor
   do those of conditions),
4. its own name without the ending. Files of the same name in both folders are one subject.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from studio.data.dataset import SPLITS, Split
from studio.data.io.attribute_table import TABLE, Table
from studio.data.io.images import FORMATS
from studio.data.io.names import is_missing, normalise_name
from studio.domains import DOMAINS
from studio.errors import StudioError

__all__ = [
    "SPLIT_FOLDERS",
    "Origin",
    "Place",
    "find_spellings",
    "places_by_name",
    "read_places",
    "separate_conflicts",
]

SPLIT_FOLDERS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "dev"), "test"),
}
BIDS = re.compile(r"(?:^|_)(sub-[a-z0-9]+)(?=[_.]|$)", re.IGNORECASE)
Origin = Literal["table", "folder", "subject", "bids", "sub-folder", "twin", "own"]


@dataclass(frozen=True)
class Place:
    """One image on its way to a split: its subject, and the split that is stated for it."""

    domain: str
    subject: str
    origin: Origin
    stated: Split | None = None


def places_by_name(names: Sequence[str], table: Table) -> dict[str, Place]:
    """Returns the subject of every image from the table, or else its own name.

    Raises:
        StudioError: the table puts a subject into both splits, or states a wrong split.
    """
    places = {
        name: Place(name.split("/")[0], subject or name, "subject" if subject else "own", split)
        for name in names
        for subject, split in [_cells(table, name)]
    }
    separate_conflicts(places, table, strict=True)
    return places


def _cells(table: Table, name: str) -> tuple[str, Split | None]:
    """Returns the subject of an image in the table, or "", and its split, or None."""
    cells = table.get(name, {})
    subject, split = cells.get("subject", ""), cells.get("split", "").strip().lower()
    stated: Split | None = next((known for known in SPLITS if known == split), None)
    if stated is None and not is_missing(split):
        raise StudioError(f"{TABLE}: split of {name} is {split!r}, expected train or test")
    return "" if is_missing(subject) else normalise_name(subject.strip()), stated


def find_spellings(table: Table) -> dict[str, list[str]]:
    """Returns, for every subject of the table, its spellings: P1 and p1, or 7, 07 and 7.0."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in table:
        if subject := _cells(table, name)[0]:
            found[_plain(subject)].add(subject)
    return {key: sorted(forms) for key, forms in found.items()}


def _plain(subject: str) -> str:
    """Returns a subject without what a spreadsheet or a habit changes: case, zeros, a final .0."""
    text = re.sub(r"^(\d+)\.0+$", r"\1", subject.casefold())
    return re.sub(r"^0+(?=\d+$)", "", text)


def read_places(
    names: Sequence[str],
    table: Table,
    rule: str,
    spellings: Mapping[str, list[str]],
    conditions: Sequence[str] = (),
) -> dict[str, Place]:
    """Returns the subject and the stated split of every image.

    Folders of `target` that are conditions count for neither.
    """
    folders = {name: list(PurePosixPath(name).parts[1:-1]) for name in names}
    for name, inner in folders.items():
        if inner and inner[0] in conditions and name.startswith("target/"):
            del inner[0]
    _drop_shared_folders(folders)
    by_folder = _take_split_folders(folders)
    if by_folder:
        _drop_shared_folders(folders)
    stems = Counter(_stem(name) for name in names if not folders[name])
    first: dict[str, str] = {}
    for name in sorted(names):
        if not folders[name]:
            first.setdefault(_stem(name), name)
    spelled: dict[str, str] = {}
    places = {}
    for name in names:
        subject, split = _cells(table, name)
        bids = [match[1].lower() for part in name.split("/") if (match := BIDS.search(part))]
        origin: Origin = "own"
        key = name
        if subject:
            origin, key = "subject", spellings[_plain(subject)][0]
        elif rule == "auto" and bids:
            origin, key = "bids", bids[0]
        elif rule != "files" and folders[name]:
            inner = folders[name] if rule == "innermost" else folders[name][:1]
            key = normalise_name("/".join(inner))
            origin, key = "sub-folder", spelled.setdefault(key.casefold(), key)
        elif rule != "files" and stems[_stem(name)] > 1:
            origin, key = "twin", first[_stem(name)]
        stated, origin = (
            (split, "table")
            if split
            else (by_folder[name], "folder")
            if name in by_folder
            else (None, origin)
        )
        places[name] = Place(name.split("/")[0], normalise_name(key), origin, stated)
    return places


def _stem(name: str) -> str:
    """Returns the name of a file without its folders and its ending, in lower case."""
    base = normalise_name(name).rsplit("/", 1)[-1].casefold()
    ends = [end for end in FORMATS if base.endswith(end)]
    return base[: -len(max(ends, key=len))] if ends else base


def _drop_shared_folders(folders: dict[str, list[str]]) -> None:
    """Removes leading folders that all images of a set share, which separate nothing."""
    for domain in DOMAINS:
        mine = [inner for name, inner in folders.items() if name.startswith(f"{domain}/")]
        while mine and all(mine) and len({inner[0] for inner in mine}) == 1:
            for inner in mine:
                del inner[0]


def _take_split_folders(folders: dict[str, list[str]]) -> dict[str, Split]:
    """Removes folders called train, test or val, and returns the splits that they state.

    They state a split only if there are folders for both sides.
    """
    found: dict[str, Split] = {
        name: SPLIT_FOLDERS[inner[0].lower()]
        for name, inner in folders.items()
        if inner and inner[0].lower() in SPLIT_FOLDERS
    }
    if len(set(found.values())) < len(SPLITS):
        return {}
    for name in found:
        del folders[name][0]
    return found


def separate_conflicts(
    places: Mapping[str, Place], table: Table, strict: bool = False
) -> tuple[dict[str, Place], list[str]]:
    """Treats subjects for which both splits are stated.

    A subject of the table in both splits is an error. A subject that was inferred from names is
    taken apart as stated.

    Returns:
        The places, and the subjects that were taken apart.
    """
    sides: dict[str, set[Split]] = defaultdict(set)
    for name, place in places.items():
        if place.stated:
            sides[place.subject].add(place.stated)
            if len(sides[place.subject]) > 1 and (strict or _cells(table, name)[0]):
                raise StudioError(
                    f"{TABLE}: subject {place.subject!r} is in both splits, see {name}"
                )
    apart = {subject for subject, found in sides.items() if len(found) > 1}
    separated = {
        name: replace(place, subject=f"{place.subject} in {place.stated}")
        if place.subject in apart and place.stated
        else place
        for name, place in places.items()
    }
    return separated, sorted(apart)
