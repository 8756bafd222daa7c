"""The files of BraTS: which of them belong to a patient, whatever the year and the unpacking.

Five layouts are read: a folder per patient, the same with a folder around each file (Kaggle), all
files in one folder, a folder per modality, and a 4-D file per patient (Decathlon).
The spelling of the file names differs between the years.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from studio.data.brats.editions import EDITIONS, Edition, find_edition
from studio.data.io.files import first_existing, raise_unlistable
from studio.data.io.images import UnreadableError
from studio.data.io.names import join_names, normalise_name
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
FILE = re.compile(
    rf"(.+)[_-]({'|'.join(sorted(SPELLED, key=len, reverse=True))})\.nii(\.gz)?", re.I
)
# 2023: the number of the patient, then the number of the visit.
VISIT = re.compile(r"(BraTS-[A-Za-z]+-\d+)-\d{3}", re.I)
SHOWN = 3  # files in a message
# The Decathlon has one 4-D file per patient, with the modalities in this order.
IMAGES, LABELS = "imagesTr", "labelsTr"
DECATHLON = ("flair", "t1", "t1ce", "t2")
NIFTI = (".nii", ".nii.gz")
BRATS_LAYOUT = (
    "a folder per patient anywhere below ROOT or ROOT/brats, with NAME_t1.nii.gz (or _t1ce, "
    "_t2, _flair; 2023: -t1n, -t1c, "
    "-t2w, -t2f) and NAME_seg.nii.gz (2023: -seg), as .nii.gz or .nii: "
    "ROOT/MICCAI_BraTS_2018_Data_Training/HGG/NAME/..., "
    "ROOT/BraTS20_Training_001/..., ROOT/BraTS2021_00000/BraTS2021_00000_t1.nii.gz, "
    "ROOT/ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/BraTS-GLI-00000-000/...; "
    f"or ROOT/{IMAGES}/BRATS_001.nii.gz and ROOT/{LABELS}/BRATS_001.nii.gz (Decathlon, Task01)"
)


@dataclass(frozen=True)
class Patient:
    """A patient's files.

    Attributes:
        name: path of the folder, relative to the root, or of the common beginning of its files,
            with unprintable bytes escaped.
        subject: the patient: the folder's own name without the number of the visit.
        files: modality, or `seg` -> its files, relative to the root. There should be one.
        volumes: modality -> number of its volume in a 4-D file. Empty for other files.
        lies_in: folders with files of this patient, if there are several.
        healthy: whether this is a healthy person of another data set, without a mask.
    """

    name: str
    subject: str
    files: Mapping[str, tuple[str, ...]]
    volumes: Mapping[str, int] = field(default_factory=dict)
    lies_in: tuple[str, ...] = ()
    healthy: bool = False

    def select_files(self, modalities: Sequence[str]) -> dict[str, str]:
        """Returns modality -> file for some modalities, and the mask's file as the last one.

        A healthy person has no mask.

        Raises:
            UnreadableError: a modality has no file, or several.
        """
        kinds = (*modalities, *[MASK] * (not self.healthy))
        for name in kinds:
            found = self.files.get(name, ())
            if not found:
                seen = ", ".join(sorted(self.files)) or "nothing"
                apart = (
                    f"; its files lie in {len(self.lies_in)} folders "
                    f"({join_names(self.lies_in, SHOWN)}): put them into one"
                    if self.lies_in
                    else ""
                )
                raise UnreadableError(f"has no {name} file, found {seen}{apart}")
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
        return {name: self.files[name][0] for name in kinds}

    def find_edition(self, root: Path, given: str) -> Edition:
        """Returns the edition of BraTS, see `studio.data.brats.editions.find_edition`."""
        if self.healthy:
            return EDITIONS["gli2023"]  # nothing depends on it
        path = root.resolve() / self.name
        words = {
            match[2].lower()
            for files in self.files.values()
            for file in files
            if (match := FILE.fullmatch(_own_name(file)))
        }
        new = words & {spelled[1] for spelled in MODALITIES.values()}
        spelling = "none" if self.volumes else "new" if new else "old"
        return find_edition(path.name, [*path.parts[:-1]], given, spelling)


class _Found(NamedTuple):
    """A file with a name as in BraTS.

    Attributes:
        folder: its folder, relative to the root.
        patient: beginning of its name.
        kind: modality, or `seg`.
        file: its path, relative to the root.
    """

    folder: Path
    patient: str
    kind: str
    file: str


def find_patients(root: Path) -> tuple[Path, list[Patient]]:
    """Finds the files of every patient. Hidden folders are skipped, and linked folders are entered
    once.

    Args:
        root: the folder of the data.

    Returns:
        The folder that names are relative to (root, or `brats` in it), and the patients in the
        order of their names.

    Raises:
        StudioError: there are no patients, or a folder cannot be listed.
    """
    root = first_existing(root, ("brats", "BraTS")) or root
    found, patients, others = _walk(root)
    patients += _group(found)
    if not patients:
        seen = (
            f"; found {len(others)} NIfTI files of other names ({join_names(others, SHOWN)})"
            if others
            else ""
        )
        raise StudioError(f"{root}: no patients{seen}; expected {BRATS_LAYOUT}")
    return root, sorted(patients, key=lambda patient: normalise_name(patient.name))


def _walk(root: Path) -> tuple[list[_Found], list[Patient], list[str]]:
    """Returns the files named as in BraTS, the patients with 4-D files, and all other NIfTI."""
    found: list[_Found] = []
    patients: list[Patient] = []
    others: list[str] = []
    entered: set[str] = set()
    for here, folders, files in os.walk(root, followlinks=True, onerror=raise_unlistable):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        place = Path(here).relative_to(root)
        if IMAGES in folders and LABELS in folders:
            patients += _find_decathlon(root, place)
            folders[:] = [name for name in folders if name not in (IMAGES, LABELS, "imagesTs")]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # Some archives unpack each file into a folder of the file's name.
        around = FILE.fullmatch(place.name)
        for name in sorted(files):
            if name.startswith(".") or not name.lower().endswith(NIFTI):
                continue
            match, file = FILE.fullmatch(name), (place / name).as_posix()
            if around:
                kind = _kind(around)
                if match and _kind(match) != kind:
                    kind = f"{_kind(match)} (in a folder {place.name})"
                found.append(_Found(place.parent, around[1], kind, file))
            elif match:
                found.append(_Found(place, match[1], _kind(match), file))
            else:
                others.append(_printable(file))
    return found, patients, others


def _kind(match: re.Match) -> str:
    """Returns the modality of a matching name, or `seg`."""
    return SPELLED[match[2].lower()]


def _own_name(file: str) -> str:
    """Returns the name of a file, or that of the folder around it if that is named as a file."""
    path = Path(file)
    return path.parent.name if FILE.fullmatch(path.parent.name) else path.name


def _find_decathlon(root: Path, place: Path) -> list[Patient]:
    """Returns the patients of a folder with images and labels as in the Decathlon.

    Raises:
        StudioError: the images are no 4-D files with the names of the labels.
    """
    images, masks = (
        {
            re.sub(r"\.nii(\.gz)?$", "", name, flags=re.I): (place / folder / name).as_posix()
            for name in sorted(os.listdir(root / place / folder))
            if name.lower().endswith(NIFTI) and not name.startswith(".")
        }
        for folder in (IMAGES, LABELS)
    )
    if images and not images.keys() & masks.keys():
        raise StudioError(
            f"{root / place}: no file of {IMAGES}/ has the name of one of {LABELS}/, found "
            f"{join_names([*images], SHOWN)}; expected a 4-D file per patient. Files per modality, "
            "such as NAME_0000.nii.gz, must be called NAME_t1.nii.gz, NAME_t1ce.nii.gz and so on"
        )
    order = _modality_order(root / place)
    return [
        Patient(
            _printable((place / name).as_posix()),
            _printable(name),
            dict.fromkeys(order, (file,)) | ({MASK: (masks[name],)} if name in masks else {}),
            {kind: number for number, kind in enumerate(order)},
        )
        for name, file in images.items()
    ]


def _modality_order(folder: Path) -> tuple[str, ...]:
    """Returns the modalities of 4-D files as `dataset.json` states them, or as in the Decathlon.

    Raises:
        StudioError: the file states other modalities.
    """
    path = folder / "dataset.json"
    words = {"flair": "flair", "t1w": "t1", "t1": "t1", "t1gd": "t1ce", "t1ce": "t1ce"}
    words |= {"t2w": "t2", "t2": "t2"}
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))["modality"]
        names = [str(stated[key]) for key in sorted(stated, key=int)]
    except (OSError, ValueError, KeyError, TypeError):
        return DECATHLON
    order = tuple(words.get(name.lower(), "") for name in names)
    if sorted(order) != sorted(DECATHLON):
        raise StudioError(
            f"{path}: found the modalities {join_names(names)}, "
            "expected FLAIR, T1w, t1gd and T2w, in any order"
        )
    return order


def _group(found: Sequence[_Found]) -> list[Patient]:
    """Returns the patients of files, by folder, or by the beginning of their names.

    Names decide in a folder with scans and masks of several patients, and everywhere if no folder
    has a scan and a mask.
    """
    masks: dict[Path, set[str]] = defaultdict(set)
    scans: dict[Path, set[str]] = defaultdict(set)
    for item in found:
        (masks if item.kind == MASK else scans)[item.folder].add(item.patient)
    apart = bool(masks) and not any(folder in scans for folder in masks)
    groups: dict[str, list[_Found]] = defaultdict(list)
    for item in found:
        flat = len(masks[item.folder] & scans[item.folder]) > 1
        name = item.folder / item.patient if flat else item.folder
        name = Path(item.patient) if apart else name
        groups[name.as_posix()].append(item)
    folders: dict[str, set[str]] = defaultdict(set)
    for item in found:
        folders[item.patient].add(_printable(item.folder.as_posix()))
    return [
        Patient(
            _printable(name),
            _subject(_printable(name)),
            {
                kind: tuple(item.file for item in items if item.kind == kind)
                for kind in dict.fromkeys(item.kind for item in items)
            },
            lies_in=tuple(
                sorted(folders[items[0].patient]) if len(folders[items[0].patient]) > 1 else ()
            ),
        )
        for name, items in groups.items()
    ]


def _printable(name: str) -> str:
    """Returns a name with the bytes that are not UTF-8 written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _subject(name: str) -> str:
    """Returns the patient of a folder."""
    own = Path(name).name
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
