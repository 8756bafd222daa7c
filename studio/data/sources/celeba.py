"""The files of CelebA, as its authors distribute them: tables, and aligned pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from studio.data.io.files import first_existing
from studio.data.io.names import join_names
from studio.data.sources.picture_store import PictureStore
from studio.data.sources.text_tables import open_table, read_pairs
from studio.errors import StudioError, nearest

__all__ = ["CELEBA_LAYOUT", "Faces", "open_celeba"]

CELEBA_LAYOUT = (
    "ROOT/img_align_celeba/000001.jpg ... (or ROOT/img_align_celeba.zip) and "
    "ROOT/list_attr_celeba.txt; optionally ROOT/identity_CelebA.txt (the persons) and "
    "ROOT/list_eval_partition.txt"
)
# The folders in which the authors' drive, torchvision and Kaggle have the files.
FOLDERS = [
    f"{base}{inner}" for base in ("", "celeba/", "CelebA/") for inner in ("", "Anno/", "Eval/")
]
PICTURE_FOLDERS = [
    f"{base}{inner}" for base in ("", "celeba/", "CelebA/") for inner in ("", "Img/")
]
NAMES = ("img_align_celeba", "img_align_celeba_png", "img_align_celeba.zip")
KEYS = ("image_id", "image", "file", "filename", "file_name", "name")
SIDES = {"-1": 0, "0": 0, "1": 1}  # cell -> class


@dataclass(frozen=True)
class Faces:
    """Every picture that is both listed and present.

    Attributes:
        store: reads the pictures.
        names: names of the pictures in the store, (n,).
        columns: attribute -> class of each picture, 0 or 1, (n,) int8, for the wanted ones.
        available: names of all attributes of the table.
        persons: the person of each picture, or None without the table of identities.
        partition: 0 (train), 1 (validation) or 2 (test) of each picture, or None without the table.
        notes: facts about the files.
    """

    store: PictureStore
    names: list[str]
    columns: dict[str, np.ndarray]
    available: tuple[str, ...]
    persons: list[str] | None
    partition: np.ndarray | None
    notes: list[str]


def open_celeba(
    root: Path, required: Sequence[str], optional: Sequence[str], needs_partition: bool
) -> Faces:
    """Reads the tables and lists the pictures.

    Args:
        root: folder of the files.
        required: attributes that the table must have.
        optional: attributes that are read if the table has them. `all` stands for every one.
        needs_partition: whether the table of the partition is read.

    Raises:
        StudioError: a file is missing or damaged, or the table lacks a required attribute.
    """
    table = _find(root, "list_attr_celeba")
    if table is None:
        raise StudioError(f"{root}: no list_attr_celeba.txt; expected {CELEBA_LAYOUT}")
    opened = open_table(table, KEYS, required)
    key = next(name for name in opened.columns if name.lower() in KEYS)
    available = tuple(name for name in opened.columns if name != key)
    for name in required:
        if name not in available:
            raise StudioError(f"{table}: no attribute {name!r}{nearest(name, available)}")
    wanted = [n for n in available if n in required or n in optional or "all" in optional]
    places = [opened.columns.index(name) for name in wanted]
    store = _open_pictures(root)
    present = {PurePosixPath(name).stem: name for name in store.names}
    at = opened.columns.index(key)
    listed: dict[str, int] = {}
    values: list[list[int]] = []
    absent: list[str] = []
    for number, cells in opened.rows():
        stem = PurePosixPath(cells[at].replace("\\", "/")).stem
        if stem in listed:
            raise StudioError(
                f"{table}, line {number}: {cells[at]} has a row already, line {listed[stem]}"
            )
        listed[stem] = number
        if stem not in present:
            absent.append(cells[at])
            continue
        try:
            values.append([SIDES[cells[place]] for place in places])
        except KeyError as error:
            raise StudioError(
                f"{table}, line {number}: found {error.args[0]!r}, expected 1 or -1"
            ) from None
    stems = [stem for stem in listed if stem in present]
    if not stems:
        raise StudioError(
            f"{table}: none of the {len(listed):,} listed pictures, such as {absent[0]}, is in "
            f"{store.place}"
        )
    notes = [*opened.notes, *_presence_notes(table, store, present, listed, absent)]
    persons, person_notes = _read_persons(root, stems)
    array = np.array(values, np.int8).reshape(len(stems), len(wanted))
    return Faces(
        store,
        [present[stem] for stem in stems],
        {name: array[:, i] for i, name in enumerate(wanted)},
        available,
        persons,
        _read_partition(root, stems) if needs_partition else None,
        [*notes, *person_notes],
    )


def _find(root: Path, stem: str) -> Path | None:
    names = [f"{place}{stem}{end}" for place in FOLDERS for end in (".txt", ".csv")]
    return first_existing(root, names)


def _open_pictures(root: Path) -> PictureStore:
    """Returns the aligned pictures, from a folder or a zip archive."""
    folders = [f"{place}{name}" for place in PICTURE_FOLDERS for name in NAMES]
    found = first_existing(root, folders)
    if found is None:
        raise StudioError(
            f"{root}: no folder img_align_celeba and no img_align_celeba.zip; expected "
            f"{CELEBA_LAYOUT}"
        )
    store = PictureStore(found)
    if not store.names:
        raise StudioError(f"{found}: no jpg or png pictures; expected {CELEBA_LAYOUT}")
    return store


def _presence_notes(
    table: Path,
    store: PictureStore,
    present: dict[str, str],
    listed: dict[str, int],
    absent: list[str],
) -> list[str]:
    notes = []
    if absent:
        notes.append(
            f"{len(absent):,} of {len(listed):,} pictures of {table.name} are not in "
            f"{store.place.name} and are left out: {join_names(absent)}"
        )
    unlisted = [name for stem, name in present.items() if stem not in listed]
    if unlisted:
        notes.append(
            f"{len(unlisted):,} pictures are not in {table.name} and are left out: "
            f"{join_names(unlisted)}"
        )
    return notes


def _read_persons(root: Path, stems: list[str]) -> tuple[list[str] | None, list[str]]:
    path = _find(root, "identity_CelebA")
    if path is None:
        note = (
            "no identity_CelebA.txt: a person may have pictures in both splits, because nothing "
            "says who is shown"
        )
        return None, [note]
    found = {PurePosixPath(name).stem: str(number) for name, number in read_pairs(path).items()}
    missing = [stem for stem in stems if stem not in found]
    notes = []
    if missing:
        notes.append(
            f"{len(missing):,} pictures have no person in {path.name} and count as persons of "
            f"their own: {join_names(missing)}"
        )
    return [found.get(stem, f"picture {stem}") for stem in stems], notes


def _read_partition(root: Path, stems: list[str]) -> np.ndarray:
    path = _find(root, "list_eval_partition")
    if path is None:
        raise StudioError(
            f"{root}: no list_eval_partition.txt, which data.split: official needs; expected "
            f"{CELEBA_LAYOUT}"
        )
    found = {PurePosixPath(name).stem: number for name, number in read_pairs(path).items()}
    odd = next((name for name, number in found.items() if number not in (0, 1, 2)), None)
    if odd is not None:
        raise StudioError(f"{path}: {odd} is in part {found[odd]}, expected 0, 1 or 2")
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise StudioError(
            f"{path}: {len(missing):,} pictures have no row: {join_names(missing)}; perhaps the "
            "file is cut short"
        )
    return np.array([found[stem] for stem in stems], np.int8)
