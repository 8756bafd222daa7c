"""The files of AffectNet in three layouts: the table of the first edition, an array per image of
the second, and a folder per expression, as many copies have it."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from studio.data.dataset import Split
from studio.data.io.files import DAMAGE_ERRORS, first_existing, read_error
from studio.data.io.names import join_names
from studio.data.sources.picture_store import Box, PictureStore
from studio.data.sources.text_tables import open_table
from studio.data.subjects import SPLIT_FOLDERS
from studio.errors import StudioError

__all__ = ["AFFECTNET_LAYOUT", "EXPRESSIONS", "Face", "Found", "open_affectnet"]

AFFECTNET_LAYOUT = (
    "ROOT/training.csv and ROOT/validation.csv (or in Manually_Annotated_file_lists) with "
    "ROOT/Manually_Annotated_Images/...; or ROOT/train_set and ROOT/val_set with images/ and "
    "annotations/; or a folder per expression: ROOT/train/happy/... and ROOT/val/happy/..."
)
# Numbers of the annotation.
EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
NONE = {8: "none", 9: "uncertain", 10: "no face"}
SPELLINGS = {
    "neutral": ("neutrality", "0"),
    "happy": ("happiness", "happily", "joy", "1"),
    "sad": ("sadness", "2"),
    "surprise": ("surprised", "3"),
    "fear": ("fearful", "afraid", "4"),
    "disgust": ("disgusted", "5"),
    "anger": ("angry", "6"),
    "contempt": ("contemptuous", "7"),
}
FOLDERS = {word: name for name, words in SPELLINGS.items() for word in (name, *words)}
COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
KEYS = ("subDirectory_filePath", "subdirectory_filepath", "image", "file", "path", "pth")
BOX = ("face_x", "face_y", "face_width", "face_height")
UNKNOWN = -2  # of valence and arousal
TABLES: dict[str, Split] = {"training": "train", "validation": "test"}
PLACES = ("", "Manually_Annotated_file_lists/", "Manually_Annotated/")


@dataclass(frozen=True)
class Face:
    """An annotated image.

    Attributes:
        name: its name in the store.
        expression: one of `EXPRESSIONS`.
        split: its split, or None if the layout states none.
        numbers: valence and arousal, as far as they are known.
        box: the square around the face, or None.
    """

    name: str
    expression: str
    split: Split | None
    numbers: dict[str, float] = field(default_factory=dict)
    box: Box | None = None


@dataclass
class Found:
    """All annotated images.

    Attributes:
        store: reads the images.
        faces: the images with one of the eight expressions, in the order of their names.
        notes: facts about the files.
        has_numbers: whether there are valence and arousal.
    """

    store: PictureStore
    faces: list[Face]
    notes: list[str]
    has_numbers: bool = False


def open_affectnet(root: Path) -> Found:
    """Lists the annotated images in whichever layout there is.

    Raises:
        StudioError: there is none of the layouts, or a table is invalid.
    """
    tables: dict[Path, Split] = {
        path: split
        for stem, split in TABLES.items()
        if (path := first_existing(root, [f"{place}{stem}.csv" for place in PLACES])) is not None
    }
    if tables:
        return _read_tables(root, tables)
    if (root / "train_set" / "annotations").is_dir():
        return _read_arrays(root)
    return _read_folders(root)


def _read_tables(root: Path, tables: dict[Path, Split]) -> Found:
    """Reads the first edition. The validation set is the test split."""
    folder = first_existing(
        root, ["Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images"]
    )
    store = PictureStore(folder or root)
    present = set(store.names)
    faces: dict[str, Face] = {}
    notes: list[str] = []
    absent: list[str] = []
    twice: list[str] = []
    left: Counter[str] = Counter()
    # Test first, so that an image of both tables is not trained on.
    for path, split in sorted(tables.items(), key=lambda entry: entry[1]):
        table = open_table(path, KEYS, ("expression",), COLUMNS)
        notes += table.notes
        at = {name.lower(): place for place, name in enumerate(table.columns)}
        key = next(at[name.lower()] for name in KEYS if name.lower() in at)
        for number, cells in table.rows():
            name = cells[key].replace("\\", "/")
            code = _read_number(path, number, "expression", cells[at["expression"]])
            if code in NONE:
                left[NONE[int(code)]] += 1
                continue
            if code not in range(len(EXPRESSIONS)):
                raise StudioError(
                    f"{path}, line {number}: expression is {code:g}, expected 0 to 10"
                )
            if name not in present:
                absent.append(name)
                continue
            if name in faces:
                twice.append(name)
                continue
            cells_of = {c: cells[at[c]] for c in (*BOX, "valence", "arousal") if c in at}
            numbers = {c: _read_number(path, number, c, text) for c, text in cells_of.items()}
            faces[name] = Face(
                name,
                EXPRESSIONS[int(code)],
                split,
                {
                    c: numbers[c]
                    for c in ("valence", "arousal")
                    if c in numbers and numbers[c] != UNKNOWN
                },
                _square(numbers) if all(c in numbers for c in BOX) else None,
            )
    if not faces:
        shown = join_names(absent) or "none"
        raise StudioError(
            f"{root}: no listed image with an expression is in {store.place.name}; listed: "
            f"{shown}; expected {AFFECTNET_LAYOUT}"
        )
    notes += _left_notes(left, absent, twice)
    if len(tables) == 1:
        notes.append(f"only {next(iter(tables)).name} is there: it is divided by data.test_share")
        faces = {name: _without_split(face) for name, face in faces.items()}
    return Found(store, _sorted(faces.values()), notes, True)


def _without_split(face: Face) -> Face:
    return replace(face, split=None)


def _sorted(faces: Iterable[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: face.name)


def _left_notes(left: Counter[str], absent: Sequence[str], twice: Sequence[str]) -> list[str]:
    notes = []
    if left:
        shown = ", ".join(f"{count:,} {name}" for name, count in sorted(left.items()))
        notes.append(f"images without one of the eight expressions are left out: {shown}")
    if absent:
        notes.append(
            f"{len(absent):,} listed images are not there as jpg or png and are left out: "
            f"{join_names(absent)}"
        )
    if twice:
        notes.append(
            f"{len(twice):,} rows name an image a second time and do not count: {join_names(twice)}"
        )
    return notes


def _read_number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise StudioError(f"{path}, line {line}: {column} is {text!r}, expected a number")
    return value


def _square(numbers: dict[str, float]) -> Box | None:
    """Returns the square around the middle of a face, as large as its longer side."""
    x, y, wide, tall = (numbers[name] for name in BOX)
    if wide <= 0 or tall <= 0:
        return None
    side = max(wide, tall)
    left, top = x + (wide - side) / 2, y + (tall - side) / 2
    return left, top, left + side, top + side


def _read_arrays(root: Path) -> Found:
    """Reads the second edition: `annotations/7_exp.npy` for `images/7.jpg`."""
    store = PictureStore(root)
    faces, absent = [], []
    left: Counter[str] = Counter()
    for name in store.names:
        parts = PurePosixPath(name).parts
        if len(parts) != 3 or parts[1] != "images" or parts[0] not in ("train_set", "val_set"):
            continue
        base = root / parts[0] / "annotations" / PurePosixPath(name).stem
        split: Split = "train" if parts[0] == "train_set" else "test"
        code = _read_array(Path(f"{base}_exp.npy"))
        if code is None:
            absent.append(name)
            continue
        if code not in range(len(EXPRESSIONS)):
            left[NONE.get(int(code), f"expression {code:g}")] += 1
            continue
        both = (("valence", "val"), ("arousal", "aro"))
        found = {key: _read_array(Path(f"{base}_{end}.npy")) for key, end in both}
        numbers = {k: v for k, v in found.items() if v is not None and v != UNKNOWN}
        faces.append(Face(name, EXPRESSIONS[int(code)], split, numbers))
    if not faces:
        raise StudioError(f"{root}: no annotated images; expected {AFFECTNET_LAYOUT}")
    notes = _left_notes(left, [], [])
    if absent:
        notes.append(f"{len(absent):,} images have no annotation: {join_names(absent)}")
    return Found(store, _sorted(faces), notes, True)


def _read_array(path: Path) -> float | None:
    """Returns the number in an array, which may be stored as text, or None without the file."""
    if not path.exists():
        return None
    try:
        return float(np.load(path, allow_pickle=False).reshape(-1)[0])
    except (*DAMAGE_ERRORS, IndexError) as error:
        raise read_error(path, error, "not an array with one number") from None


def _read_folders(root: Path) -> Found:
    """Reads a folder per expression, below `train` and `test` or `val` if there are such."""
    store = PictureStore(root)
    faces: list[Face] = []
    others: Counter[str] = Counter()
    for name in store.names:
        parts = PurePosixPath(name).parts[:-1]
        expression = next((FOLDERS[p.lower()] for p in parts[::-1] if p.lower() in FOLDERS), None)
        if expression is None:
            others["/".join(parts) or "the root"] += 1
            continue
        split: Split | None = next(
            (SPLIT_FOLDERS[p.lower()] for p in parts if p.lower() in SPLIT_FOLDERS), None
        )
        faces.append(Face(name, expression, split))
    if not faces:
        inside = sorted(entry.name for entry in os.scandir(root))
        raise StudioError(
            f"{root}: no annotations and no folder of an expression, found "
            f"{join_names(inside) or 'nothing'}; expected {AFFECTNET_LAYOUT}"
        )
    notes = []
    if others:
        notes.append(
            f"{others.total():,} images in folders of no expression are left out: "
            f"{join_names(sorted(others))}"
        )
    if len({face.split for face in faces}) == 1 and faces[0].split:
        notes.append(f"only the folder {faces[0].split} is there: data.test_share divides it")
        faces = [_without_split(face) for face in faces]
    unread = [n for n in store.others if n.lower().endswith((".bmp", ".tif", ".tiff", ".webp"))]
    if unread:
        notes.append(f"{len(unread):,} files are not read: convert them to png or jpg")
    return Found(store, _sorted(faces), notes)
