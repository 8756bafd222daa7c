"""Finding the images of a folder, and saying what else lies there."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path, PurePosixPath

from studio.data.io.attribute_table import TABLE, is_table
from studio.data.io.dicom import DICOM_ENDINGS, is_dicom
from studio.data.io.dicom_series import is_series
from studio.data.io.files import raise_unlistable
from studio.data.io.images import FORMATS, is_image
from studio.data.io.names import join_names, normalise_name

__all__ = ["Found", "matches_any", "scan_images"]

# Folders and files that systems leave beside images.
SYSTEM_FOLDERS = ("@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "thumbnails")
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r")
TO_PNG = "convert them to png, or to npy for more than 8 bits"
TO_NIFTI = "convert them to nii.gz"
REMEDIES = {  # ending of a kind of image that is not read -> remedy
    **dict.fromkeys(("gif", "jp2", "heic", "heif", "avif"), TO_PNG),
    **dict.fromkeys(("ppm", "pgm", "tga", "psd", "svg", "raw", "exr", "dng"), TO_PNG),
    **dict.fromkeys(("mhd", "nhdr", "mgz", "mgh", "mnc", "img", "hdr"), TO_NIFTI),
    **dict.fromkeys(("jfif", "jpe", "jif"), "rename them to .jpg"),
    **dict.fromkeys(("npz", "mat", "h5", "hdf5", "pt", "pkl", "zarr"), "save one npy per image"),
    **dict.fromkeys(("zip", "tar", "tgz", "7z", "rar"), "unpack them"),
}
MASK_WORDS = ("mask", "masks", "seg", "segs", "dseg", "probseg", "segmentation", "segmentations")
MASK_WORDS += ("label", "labels", "labelmap", "groundtruth")


@dataclass
class Found:
    """What lies in some folders.

    Attributes:
        names: the images, sorted. A folder with a series of DICOM files is one image.
        others: files that are not images, sorted.
        system: number of files in folders such as @eaDir.
        links: number of images that are links.
        series: those of the images that are folders with a series of DICOM files.
    """

    names: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    system: int = 0
    links: int = 0
    series: list[str] = field(default_factory=list)

    def unread(self) -> dict[str, list[str]]:
        """Returns ending -> files, for the kinds of images that are not read."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for name in self.others:
            ending = _ending(name)
            if ending in REMEDIES:
                kinds[f".{ending}"].append(name)
        return dict(kinds)

    def unread_notes(self, verb: str = "are not read") -> Iterator[str]:
        """Yields one line per kind of image that is not read, with the remedy."""
        for kind, files in self.unread().items():
            yield f"{len(files)} {kind} files {verb}: {REMEDIES[kind[1:]]}"

    def notes(self) -> Iterator[str]:
        """Yields notes on everything that is not an image, and on images that look like masks."""
        yield from self.unread_notes()
        known = set(chain(*self.unread().values()))
        tables = [name for name in self.others if is_table(name)]
        if tables:
            yield (
                f"{len(tables)} tables beside the images are not read: {join_names(tables)}; "
                f"did you mean ROOT/{TABLE}?"
            )
        rest = [name for name in self.others if name not in known and name not in tables]
        if rest:
            yield f"{len(rest)} other files are ignored: {join_names(rest)}"
        if self.system:
            yield f"{self.system} files of the system, such as @eaDir and __MACOSX, are left out"
        if self.series:
            yield (
                f"{len(self.series)} folders with a series of DICOM files count as one volume "
                f"each: {join_names(self.series)}"
            )
        if self.links:
            yield f"{self.links} images are links to other files"
        yield from _mask_notes(self.names)


def scan_images(root: Path, folders: Sequence[str] = (".",)) -> Found:
    """Finds the images in some sub-folders of a folder, recursively.

    Links are followed, but no folder is entered twice. Hidden files and folders, and those that
    systems make, are skipped.

    Args:
        root: the folder that names are relative to.
        folders: names of the sub-folders.

    Raises:
        StudioError: a folder cannot be listed.
    """
    found = Found()
    entered: set[str] = set()
    for here, inside, files in chain(
        *(os.walk(root / start, followlinks=True, onerror=raise_unlistable) for start in folders)
    ):
        place, real = Path(here).relative_to(root), os.path.realpath(here)
        if real in entered:
            found.others.append(f"{place.as_posix()}/ (a link to a folder that was read already)")
            inside.clear()
            continue
        entered.add(real)
        for name in inside:
            if name.lower() in SYSTEM_FOLDERS:
                found.system += sum(len(below) for _, _, below in os.walk(Path(here) / name))
        inside[:] = sorted(
            name for name in inside if not (name.startswith(".") or name.lower() in SYSTEM_FOLDERS)
        )
        slices: list[str] = []
        for name in files:
            if name.startswith(".") or name.lower() in SYSTEM_FILES:
                continue
            path = (place / name).as_posix()
            if name.lower().endswith(DICOM_ENDINGS) or is_dicom(root / path):
                slices.append(path)
            elif is_image(path):
                found.names.append(path)
                found.links += os.path.islink(root / path)
            else:
                found.others.append(path)
        if is_series([root / path for path in slices]):
            found.series.append(place.as_posix())
            found.names.append(place.as_posix())
        else:
            found.names += slices
    found.names.sort(key=normalise_name)
    found.others = sorted(
        os.fsencode(name).decode("utf-8", "backslashreplace") for name in found.others
    )
    return found


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Returns whether a file matches a pattern with `*`, `?` and `[...]`, in any case.

    A pattern without a slash is compared with the name of the file, one with a slash with the path
    below the root and with the path below `background` or `target`.
    """
    path = normalise_name(name).lower()
    for pattern in map(str.lower, map(normalise_name, patterns)):
        forms = (path, path.partition("/")[2]) if "/" in pattern else (PurePosixPath(path).name,)
        if any(fnmatchcase(form, pattern) for form in forms):
            return True
    return False


def _ending(name: str) -> str:
    """Returns the last ending of a file name in lower case, without the dot."""
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def _mask_notes(names: Sequence[str]) -> Iterator[str]:
    """Yields a note if names of files or folders say that images are masks."""
    words: Counter[str] = Counter()
    for name in names:
        path = PurePosixPath(name.lower())
        ending = max((end for end in FORMATS if path.name.endswith(end)), key=len, default="")
        last = re.split(r"[-_. ]", path.name.removesuffix(ending))[-1]
        folders = [part for part in path.parts[1:-1] if part in MASK_WORDS]
        if last in MASK_WORDS:
            words[f"*{last}{ending}"] += 1
        elif folders:
            words[f"*{folders[0]}/*"] += 1
    if words:
        patterns = [pattern for pattern, _ in words.most_common()]
        remedy = ", ".join(f'"{pattern}"' for pattern in patterns[:5])
        yield (
            f"{words.total()} of {len(names)} images have names of masks or labels: "
            f"data.exclude: [{remedy}] leaves them out"
        )
