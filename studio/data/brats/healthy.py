"""Scans of healthy people beside BraTS: the background of `brats` with `data.healthy`.

They come from another data set, stripped of the skull as the scans of BraTS are, in any folders.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from studio.data.brats.layout import MODALITIES, Patient
from studio.data.io.files import check_listable
from studio.data.io.names import join_names
from studio.data.io.scan import MASK_WORDS, scan_images
from studio.data.io.volume_files import is_nifti
from studio.errors import StudioError

__all__ = ["find_healthy"]

LAYOUT = (
    "a folder of NIfTI scans without skull, of healthy people, each named after its modality, "
    "such as IXI002-T1.nii.gz or sub-01/anat/sub-01_T1w.nii.gz"
)
# Last word of a file's name, in lower case -> modality. BIDS has T1w and T2w.
WORDS = {word: name for name, words in MODALITIES.items() for word in words}
WORDS |= {"t1w": "t1", "t2w": "t2"}
ENDING = re.compile(r"\.nii(\.gz)?$", re.I)
SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")


def find_healthy(given: str, modalities: Sequence[str], root: Path) -> list[Patient]:
    """Finds the scans of healthy people. Files with names of masks are left out.

    With one modality, a folder in which no name ends in a modality has that modality in all files.

    Args:
        given: `data.healthy`.
        modalities: those of the config.
        root: folder of the patients.

    Returns:
        People, whose files are absolute paths, in the order of their names.

    Raises:
        StudioError: the folder is missing or empty, or lies in that of the patients.
    """
    folder = check_listable(given, "data.healthy", LAYOUT)
    if folder.resolve().is_relative_to(root.resolve()):
        raise StudioError(
            f"data.healthy: {folder} lies in the folder of the patients, {root}: move it out"
        )
    names = [name for name in scan_images(folder).names if is_nifti(Path(name))]
    scans = [name for name in names if _last_word(name) not in MASK_WORDS]
    if not scans:
        seen = f"{len(names)} masks, such as {join_names(names, 3)}" if names else "no NIfTI file"
        raise StudioError(f"data.healthy: {folder}: found {seen}; expected {LAYOUT}")
    named = any(_last_word(name) in WORDS for name in scans)
    people: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in scans:
        stem, word = ENDING.sub("", name), _last_word(name)
        if not named and len(modalities) == 1:
            people[stem][modalities[0]].append(name)
        elif word in WORDS:
            people[stem[: -len(word) - 1]][WORDS[word]].append(name)
    if not people:
        raise StudioError(
            f"data.healthy: {folder}: no name ends in a modality ({', '.join(WORDS)}); found "
            f"{join_names(scans, 3)}"
        )
    title = folder.resolve().name
    return [
        Patient(
            f"{title}/{name}",
            f"{title}/{_subject(name)}",
            {kind: tuple(os.path.abspath(folder / file) for file in files[kind]) for kind in files},
            healthy=True,
        )
        for name, files in sorted(people.items())
    ]


def _last_word(name: str) -> str:
    """Returns the last word of a file's name, in lower case."""
    stem = ENDING.sub("", PurePosixPath(name).name)
    return re.split(r"[-_. ]", stem)[-1].lower()


def _subject(name: str) -> str:
    """Returns the person of a scan: sub-XX of the path, else all of it."""
    found = SUBJECT.search(name)
    return found[0] if found else name
