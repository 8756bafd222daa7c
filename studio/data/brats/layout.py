"""The folders of BraTS: one per patient, with a file for every modality and for the mask.

The spelling of the file names differs between the years.
"""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.data.io.files import first_existing, raise_unlistable
from studio.data.io.images import UnreadableError
from studio.data.io.names import normalise_name
from studio.errors import StudioError

__all__ = [
    "BRATS_LAYOUT",
    "MASK",
    "MODALITIES",
    "Patient",
    "file_stamps",
    "find_patients",
    "find_repeated",
]

# Spellings of a modality: 2018 to 2021, then 2023.
MODALITIES = {
    "t1": ("t1", "t1n"),
    "t1ce": ("t1ce", "t1c"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f"),
}
MASK = "seg"
# The mask of patient 355 of 2020 is called segm.
SPELLED = {
    word: name for name, words in {**MODALITIES, MASK: (MASK, "segm")}.items() for word in words
}
FILE = re.compile(rf".+[_-]({'|'.join(sorted(SPELLED, key=len, reverse=True))})\.nii(\.gz)?", re.I)
# 2023: the number of the patient, then the number of the visit.
VISIT = re.compile(r"(BraTS-[A-Za-z]+-\d+)-\d{3}", re.I)
SHOWN = 3  # files in a message
BRATS_LAYOUT = (
    "a folder per patient anywhere below ROOT or ROOT/brats, with NAME_t1.nii.gz (or _t1ce, "
    "_t2, _flair; 2023: -t1n, -t1c, "
    "-t2w, -t2f) and NAME_seg.nii.gz (2023: -seg), as .nii.gz or .nii: "
    "ROOT/MICCAI_BraTS_2018_Data_Training/HGG/NAME/..., "
    "ROOT/BraTS20_Training_001/..., ROOT/BraTS2021_00000/BraTS2021_00000_t1.nii.gz, "
    "ROOT/ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/BraTS-GLI-00000-000/..."
)


@dataclass(frozen=True)
class Patient:
    """A patient's folder.

    Attributes:
        name: path of the folder, relative to the root, with unprintable bytes escaped.
        subject: the patient: the folder's own name without the number of the visit.
        files: modality, or `seg` -> its files, relative to the root. There should be one.
    """

    name: str
    subject: str
    files: Mapping[str, tuple[str, ...]]

    def select_files(self, modalities: Sequence[str]) -> dict[str, str]:
        """Returns modality -> file for some modalities, and the mask's file as the last one.

        Raises:
            UnreadableError: a modality has no file, or several.
        """
        for name in (*modalities, MASK):
            found = self.files.get(name, ())
            if not found:
                kinds = ", ".join(sorted(self.files)) or "nothing"
                raise UnreadableError(f"has no {name} file, found {kinds}")
            if len(found) > 1:
                names = [Path(_printable(file)).name for file in found]
                rest = (
                    f" and {len(names) - SHOWN} more: expected a folder per patient"
                    if len(names) > SHOWN
                    else ""
                )
                raise UnreadableError(
                    f"has {len(names)} {name} files: {', '.join(names[:SHOWN])}{rest}"
                )
            for file in found:
                if file != _printable(file):
                    raise UnreadableError(
                        f"has a path that is not UTF-8, {_printable(file)}: rename it"
                    )
        return {name: self.files[name][0] for name in (*modalities, MASK)}


def find_patients(root: Path) -> tuple[Path, list[Patient]]:
    """Finds every folder with files named as in BraTS. Hidden folders are skipped, and linked
    folders are entered once.

    Args:
        root: the folder of the data.

    Returns:
        The folder that names are relative to (root, or `brats` in it), and the patients in the
        order of their names.

    Raises:
        StudioError: there are no patients, or a folder cannot be listed.
    """
    root = first_existing(root, ("brats", "BraTS")) or root
    found: dict[str, dict[str, list[str]]] = {}
    entered: set[str] = set()
    for here, folders, files in os.walk(root, followlinks=True, onerror=raise_unlistable):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kinds = defaultdict(list)
        for name in sorted(files):
            match = FILE.fullmatch(name)
            if match and not name.startswith("."):
                kinds[SPELLED[match[1].lower()]].append(
                    (Path(here) / name).relative_to(root).as_posix()
                )
        if kinds:
            found[Path(here).relative_to(root).as_posix()] = kinds
    if not found:
        raise StudioError(f"{root}: no patients; expected {BRATS_LAYOUT}")
    return root, [
        Patient(
            _printable(name),
            _subject(root, _printable(name)),
            {kind: tuple(files) for kind, files in found[name].items()},
        )
        for name in sorted(found, key=normalise_name)
    ]


def _printable(name: str) -> str:
    """Returns a name with the bytes that are not UTF-8 written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _subject(root: Path, name: str) -> str:
    """Returns the patient of a folder."""
    own = (root / name).name
    visit = VISIT.fullmatch(own)
    return visit[1] if visit else own


def file_stamps(root: Path, files: Sequence[str]) -> list[list[str | int]]:
    """Returns name, size and time of files below a folder. These change when a file does.

    Raises:
        UnreadableError: a file does not exist.
    """
    rows: list[list[str | int]] = []
    for file in files:
        try:
            found = (root / file).stat()
        except OSError as error:
            raise UnreadableError(f"{Path(file).name} cannot be read: {error.strerror}") from None
        rows.append([file, found.st_size, found.st_mtime_ns])
    return rows


def find_repeated(patients: Sequence[Patient]) -> dict[str, str]:
    """Returns the folders with the name of an earlier one, with a reason.

    Their patient would count twice.
    """
    seen: dict[str, str] = {}
    reasons = {}
    for patient in patients:
        own = Path(patient.name).name
        if own in seen:
            reasons[patient.name] = f"is a second folder of the name {own}, see {seen[own]}"
        seen.setdefault(own, patient.name)
    return reasons
