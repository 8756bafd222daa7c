"""The files that `studio apply` reads, and the checks that its results overwrite none of them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.data.io.dicom import is_dicom
from studio.data.io.files import check_listable
from studio.data.io.images import FORMATS, KINDS, is_image
from studio.data.io.scan import scan_images
from studio.data.io.write_back import result_name
from studio.errors import StudioError

__all__ = ["InputFile", "check_places", "find_inputs"]

EXPECTED = f"a file or a folder with {KINDS} files"


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        name: path relative to the input's folder.
        path: the file, or the folder of a DICOM series.
        result: name of its generated copies.
        donor: file that gives the salient content, or None.
    """

    name: str
    path: Path
    result: str
    donor: Path | None


def find_inputs(
    source: str | Path, donors: str | Path | None
) -> tuple[list[InputFile], int, list[Path]]:
    """Returns the input files, the number of ignored files, and the places that are read."""
    root, names, ignored = _find_files(source, "IN")
    _refuse_twins(root, names)
    places = [Path(os.path.expanduser(source))]
    if donors is None:
        return [_input(root, name, None) for name in names], ignored, places
    place, found, _ = _find_files(donors, "--with")
    places.append(Path(os.path.expanduser(donors)))
    if len(found) not in (1, len(names)):
        raise StudioError(
            f"--with {donors}: has {len(found)} images for the {len(names)} of {source}: "
            "expected one, or as many"
        )
    partners = found * len(names) if len(found) == 1 else found
    return (
        [
            _input(root, name, place / partner)
            for name, partner in zip(names, partners, strict=True)
        ],
        ignored,
        places,
    )


def _refuse_twins(root: Path, names: Sequence[str]) -> None:
    """Raises an error if the copies of two inputs would have the same name."""
    seen: dict[str, str] = {}
    for name in names:
        result = result_name(name, root / name)
        if result in seen:
            raise StudioError(
                f"IN {root}: the copies of {seen[result]} and {name} would both be {result}: "
                "rename one of them"
            )
        seen[result] = name


def _input(root: Path, name: str, donor: Path | None) -> InputFile:
    return InputFile(name, root / name, result_name(name, root / name), donor)


def _find_files(source: str | Path, option: str) -> tuple[Path, list[str], int]:
    """Returns the folder of a source, the images in it, and the number of other files."""
    path = Path(os.path.expanduser(source))
    if path.is_file():
        if not (is_image(path.name) or is_dicom(path)):
            raise StudioError(f"{option} {path}: expected a name that ends in {', '.join(FORMATS)}")
        return path.parent, [path.name], 0
    if not path.exists():
        raise StudioError(f"{option} {path}: no such file or folder; expected {EXPECTED}")
    found = scan_images(check_listable(str(source), option, EXPECTED))
    others = len(found.others)
    if "." in found.names:  # the folder itself is a series of DICOM files
        names = [path.name if n == "." else f"{path.name}/{n}" for n in found.names]
        return path.parent, names, others
    if not found.names:
        unread = "".join(f"; {note}" for note in found.unread_notes("that are not read"))
        raise StudioError(
            f"{option} {path}: no images in it ({others} other files){unread}; expected {EXPECTED}"
        )
    return path, found.names, others


def check_places(
    out: Path,
    folders: Sequence[Path],
    results: Sequence[Path],
    places: Sequence[Path],
    overwrite: bool,
) -> None:
    """Refuses results in or over the files that are read, and over existing files.

    Args:
        out: folder of all results.
        folders: folders of the generated files in it.
        results: all files that will be written.
        places: files and folders that are read.
        overwrite: whether existing results may be replaced.

    Raises:
        StudioError: a result would be in a place that is read, or exists.
    """
    if out.exists() and not out.is_dir():
        raise StudioError(f"OUT {out}: a file, expected a folder")
    own, written = out.resolve(), [folder.resolve() for folder in folders]
    for place in places:
        given = place.resolve()
        if own == given or (given.is_dir() and own.is_relative_to(given)):
            raise StudioError(f"OUT {out}: is in {place}, which is read. Give a folder outside it.")
        if any(given.is_relative_to(folder) or folder.is_relative_to(given) for folder in written):
            raise StudioError(
                f"OUT {out}: files would be written to {place}, which is read. Give another folder."
            )
    existing = [] if overwrite else [path for path in results if os.path.lexists(path)]
    if existing:
        others = f", and {len(existing) - 1} more" * (len(existing) > 1)
        raise StudioError(f"{existing[0]}: exists{others}; --force replaces files")
