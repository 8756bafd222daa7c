"""Reading what a user has on disk: an image of any supported format, and a table of what is known of the images."""

import csv
import io
import re
import stat
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from studio.data.io.slices import (
    MOST_PIXELS,
    Slice,
    UnreadableError,
    array_planes,
    check_size,
    nifti_slice,
    refuse_damaged,
)
from studio.errors import StudioError, nearest

__all__ = [
    "FORMATS",
    "TABLE",
    "Frame",
    "Picture",
    "Slice",
    "Table",
    "UnreadableError",
    "as_number",
    "composed",
    "decoded",
    "encode",
    "fit",
    "frame",
    "is_image",
    "listed",
    "plain",
    "read_attributes",
    "read_image",
    "readable",
    "refuse_odd",
    "with_channels",
]

FORMATS = (".png", ".jpg", ".jpeg", ".npy", ".nii", ".nii.gz")
LARGEST = 1e30  # values from here on would overflow when they are resized
LISTED = 10  # lines in a message
TABLE = "attributes.csv"
COLUMNS = ("file", "split", "subject")
MISSING = ("", "nan", "na", "n/a")  # cells without a value
MOST_CLASSES = 10  # a column of numbers with more different values is a number, not a category
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in Pillow's "L"

warnings.simplefilter(
    "ignore", Image.DecompressionBombWarning
)  # larger pictures are refused in words

Table = dict[str, dict[str, str]]  # image -> column -> text
Row = tuple[int, dict[str, str]]  # number of its line, column -> text


@dataclass(frozen=True)
class Picture:
    """One image as it is on disk.

    Attributes:
        values: (C, H, W), uint8 if the file has 8 bits per channel, else float32 in the file's own units.
        size: height and width on disk, which a JPEG's values may not have.
        spacing: height and width of a pixel; only their ratio matters.
        transparent: whether it had an alpha channel and was laid on black.
        stamp: length and time of the file.
    """

    values: np.ndarray
    size: tuple[int, int]
    spacing: tuple[float, float] = (1.0, 1.0)
    transparent: bool = False
    stamp: tuple[int, int] = (0, 0)


def is_image(name: str) -> bool:
    """Whether a file's name ends like one of the formats, in capitals or not, and can be printed at all."""
    return name.lower().endswith(FORMATS) and not any(
        "\ud800" <= letter <= "\udfff" for letter in name
    )


def read_image(
    path: Path, at: Slice = "middle", least: int | None = None, again: bool = False
) -> Picture:
    """Reads one image.

    Args:
        path: a file in one of the formats.
        at: number of the slice to take from a volume.
        least: pixels of the shorter side that suffice; a larger JPEG is decoded at a fraction of its size.
        again: it was whole before, and the caller compares stamps: the end of a packed volume is not looked at anew.

    Raises:
        UnreadableError: the file is broken, too large, or of a kind that is not supported.
    """
    with readable():
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("is not a file")
        if found.st_size == 0:
            raise UnreadableError("is empty (0 bytes)")
        if path.name.lower().endswith((".nii", ".nii.gz")):
            picture = _read_nifti(path, at)
        else:
            picture = (
                _read_array(path, at)
                if path.suffix.lower() == ".npy"
                else _read_pixels(path, least)
            )
        if not again:
            refuse_damaged(path)
    refuse_odd(picture.values)
    return replace(picture, stamp=(found.st_size, found.st_mtime_ns))


@contextmanager
def readable() -> Iterator[None]:
    """Says in words why a file could not be read inside.

    Raises:
        UnreadableError: whatever else a decoder raised.
    """
    try:
        yield
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError(f"has more than {MOST_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise UnreadableError("is neither a PNG nor a JPEG, whatever its name says") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    except (
        Exception
    ) as error:  # decoders raise nearly anything: SyntaxError, zlib.error, struct.error
        raise UnreadableError(f"cannot be decoded: {error or type(error).__name__}") from error


def refuse_odd(values: np.ndarray) -> None:
    """Refuses values that no resizing survives.

    Raises:
        UnreadableError: some are NaN, infinite or beyond `LARGEST`.
    """
    odd = np.count_nonzero(~(np.abs(values) < LARGEST))
    if odd:
        raise UnreadableError(f"has {odd} values that are NaN, infinite or beyond {LARGEST:g}")


class Frame(NamedTuple):
    """The part of an image that is used, a square in the middle, in pixels that need not be square or whole."""

    top: float
    left: float
    tall: float
    wide: float


def frame(height: int, width: int, spacing: tuple[float, float] = (1.0, 1.0)) -> Frame:
    """Returns the largest square in the middle of an image whose pixels have the given height and width."""
    side = min(height * spacing[0], width * spacing[1])
    tall, wide = min(side / spacing[0], height), min(side / spacing[1], width)
    return Frame((height - tall) // 2, (width - wide) // 2, tall, wide)


def fit(picture: Picture, resolution: int, channels: int | None = None) -> np.ndarray:
    """Resizes the shorter side to the resolution, antialiased, and crops the centre; pixels become square.

    Args:
        picture: what to resize.
        resolution: side of the result.
        channels: 1 or 3 to convert to; as the picture has them by default.

    Returns:
        (C, resolution, resolution), of the picture's type.
    """
    values = with_channels(picture.values, channels)
    _, height, width = values.shape
    top, left, tall, wide = frame(height, width, picture.spacing)
    box = (left, top, left + wide, top + tall)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in values]
    sized = [
        plane.resize((resolution, resolution), Image.Resampling.BICUBIC, box) for plane in planes
    ]
    fitted = np.stack([np.asarray(plane) for plane in sized])
    return fitted.round().clip(0, 255).astype(np.uint8) if values.dtype == np.uint8 else fitted


def with_channels(values: np.ndarray, channels: int | None) -> np.ndarray:
    """Returns images (C, H, W) as gray (1) or as RGB (3); as they are when None."""
    if channels == 3 and len(values) == 1:
        return values.repeat(3, axis=0)
    if channels == 1 and len(values) == 3:
        gray = np.tensordot(LUMA, values.astype(np.float32), axes=1)[None]
        return gray.round().astype(np.uint8) if values.dtype == np.uint8 else gray
    return values


def _read_pixels(path: Path, least: int | None) -> Picture:
    """Reads a PNG or JPEG; the size is checked before anything is decoded."""
    with path.open("rb") as file:
        header = file.read(26)
    if header.startswith(b"\x89PNG") and header[24:25] == b"\x10" and header[25:26] != b"\0":
        # Pillow drops the lower half of each value without a word, and torchvision's decoder crashes on damaged files.
        raise UnreadableError("is a PNG with 16 bits per colour: save it with 8 bits, or as npy")
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        size = (image.height, image.width)
        check_size(*size)
        if least is not None:
            image.draft(
                None, (2 * least, 2 * least)
            )  # leaves the resize two pixels for each of its own
        upright = decoded(image)
    values = np.moveaxis(np.atleast_3d(np.asarray(upright)), -1, 0)
    if upright.mode.startswith("I"):
        return Picture(values.astype(np.float32), size)
    if not upright.mode.endswith("A"):
        return Picture(values, size)
    on_black = values[:-1].astype(np.float32) * (values[-1:] / np.float32(255))
    return Picture(on_black.round().astype(np.uint8), size, transparent=True)


def decoded(image: Image.Image) -> Image.Image:
    """Returns an opened picture upright, in a mode whose values mean what they say.

    That is L, LA, RGB or RGBA, or "I;16" and "I" for 16-bit gray.

    Raises:
        UnreadableError: its colours are of another kind.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return image
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise UnreadableError(f"has colours of the kind {image.mode}: convert it to gray or RGB")
    gray = image.mode in ("1", "L", "LA")
    if image.mode == "P":
        gray = not np.ptp(np.reshape(image.getpalette() or [0, 0, 0], (-1, 3)), axis=1).any()
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        return image.convert("RGBA").convert("LA" if gray else "RGBA")
    return image.convert("L" if gray else "RGB")


def _read_array(path: Path, at: Slice) -> Picture:
    """Reads an image, or a slice of a volume, from a map of the file."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise UnreadableError("is an archive of arrays, not one array")
    planes = array_planes(array, at)
    return Picture(plain(planes), planes.shape[1:])


def _read_nifti(path: Path, at: Slice) -> Picture:
    """Reads one axial slice, see `nifti_slice`; only the slice is read, not the volume."""
    import nibabel

    image: Any = nibabel.load(path)
    where = nifti_slice(image, at)
    planes = where.upright(image.dataobj[where.index])
    return Picture(plain(planes), planes.shape[1:], where.spacing)


def plain(values: np.ndarray) -> np.ndarray:
    """Copies an array as uint8 if it is 8-bit or boolean, else as float32.

    Raises:
        UnreadableError: it holds no real numbers.
    """
    if values.dtype.kind not in "buif":
        raise UnreadableError(f"holds values of the type {values.dtype}: expected real numbers")
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    with np.errstate(
        over="ignore"
    ):  # what is too large becomes infinite, and is then refused as such
        return np.array(values, np.uint8 if values.dtype == np.uint8 else np.float32)


def _read_table(path: Path, names: Sequence[str]) -> tuple[list[str], list[Row]]:
    """Reads a CSV file in UTF-8 whose cells are separated by commas, semicolons or tabs.

    Columns in `names` may be written in capitals; the first of them must exist. Rows that are blank are left out. In a
    table with semicolons, 3,5 is read as 3.5.
    """
    separator, text = _separated(path, names[0])
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise StudioError(f"{path}, line {reader.line_num}: {error}") from None
    (_, header), *lines = [(number, cells) for number, cells in lines if any(cells)]
    columns = [name.lower() if name.lower() in names else name for name in header]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise StudioError(f"{path}: more than one column is called {', '.join(twice)}")
    rows = []
    for number, cells in lines:
        if len(cells) < len(columns) or any(cells[len(columns) :]):
            raise StudioError(
                f"{path}, line {number}: {len(cells)} cells, but the header has {len(columns)}"
            )
        if separator == ";":
            cells = [re.sub(r"^([+-]?\d*),(\d+)$", r"\1.\2", cell) for cell in cells]
        rows.append(
            (number, {name: cell for name, cell in zip(columns, cells, strict=False) if name})
        )
    return [name for name in columns if name], rows


def _separated(path: Path, required: str) -> tuple[str, str]:
    """Returns the separator of a CSV file and its text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudioError(
            f"{path}: not UTF-8 (at byte {error.start}): save it as 'CSV UTF-8'"
        ) from None
    except OSError as error:
        raise StudioError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not text.strip():
        raise StudioError(f"{path}: empty, expected a header with the column {required!r}")
    header = next(line for line in text.splitlines() if line.strip())
    split = {
        separator: [name.strip(' "') for name in header.split(separator)] for separator in ",;\t"
    }
    for separator, columns in split.items():
        if required in map(str.lower, columns):
            return separator, text
    columns = max(split.values(), key=len)
    raise StudioError(f"{path}: no column {required!r} in the header; found {', '.join(columns)}")


def read_attributes(
    root: Path, names: Sequence[str], wanted: Sequence[str]
) -> tuple[Table, list[str]]:
    """Reads what the user's table says of the images.

    Args:
        root: the folder of the table; the file names in it are relative to this.
        names: of the images.
        wanted: columns that are attributes.

    Returns:
        The cells of each image that has a row, and the columns that nobody asked for.

    Raises:
        StudioError: a wanted column is missing, or the table or any of its rows is at fault.
    """
    path = root / TABLE
    reserved = sorted(
        {*COLUMNS, "target"}.intersection(wanted)
    )  # `target` is what the probe calls the domain itself
    if reserved:
        raise StudioError(f"data.attributes.{reserved[0]}: no attribute can have this name")
    if not path.exists():
        if wanted:
            raise StudioError(f"{path}: missing, but data.attributes names {', '.join(wanted)}")
        return {}, []
    columns, rows = _read_table(path, COLUMNS)
    for name in wanted:
        if name not in columns:
            raise StudioError(
                f"data.attributes.{name}: {path} has no such column{nearest(name, columns)}"
            )
    return _match_rows(path, rows, names), [
        name for name in columns if name not in (*COLUMNS, *wanted)
    ]


def _match_rows(path: Path, rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Finds the image of each row, by its path or by its bare name where only one image has that."""
    whole = {composed(name): [name] for name in names}
    bare = defaultdict(list)
    for name in names:
        bare[PurePosixPath(composed(name)).name].append(name)
    found: dict[str, Row] = {}
    faults = []
    for line, cells in rows:
        given = composed(cells["file"]).replace("\\", "/")
        matches = whole.get(PurePosixPath(given).as_posix()) or bare.get(given, [])
        if len(matches) == 1 and matches[0] not in found:
            found[matches[0]] = (line, cells)
        else:
            near = (
                get_close_matches(given, whole, 1) if len(faults) < LISTED else []
            )  # slow, so only where it is shown
            faults.append(f"line {line}: {_row_fault(given, matches, found, path.parent, near)}")
    if faults:
        raise StudioError(f"{path}: {len(faults)} of {len(rows)} rows are at fault{listed(faults)}")
    return {name: cells for name, (_, cells) in found.items()}


def _row_fault(
    given: str, matches: Sequence[str], found: Mapping[str, Row], root: Path, near: Sequence[str]
) -> str:
    if len(matches) == 1:
        return f"{matches[0]} has a row already, line {found[matches[0]][0]}"
    if matches:
        return f"{given!r} is the name of {len(matches)} images: write {' or '.join(matches[:2])}"
    if not given:
        return "no file name"
    if ".." in PurePosixPath(given).parts or PurePosixPath(given).is_absolute():
        return f"{given!r} leaves {root}"
    if (root / given).exists():
        return f"{given!r} is not among the images"
    return f"no image {given!r}{nearest(given, near)}"


def encode(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Turns a column into categories or numbers.

    Args:
        texts: one per image.

    Returns:
        The classes, or () for numbers; and per image the class's number (-1 where missing) or the number (NaN).
    """
    texts = ["" if text.lower() in MISSING else text for text in texts]
    numbers = [as_number(text) for text in texts]
    if all((number is None) == (text == "") for number, text in zip(numbers, texts, strict=True)):
        distinct = sorted({number for number in numbers if number is not None})
        if len(distinct) > MOST_CLASSES:
            return (), np.array([np.nan if number is None else number for number in numbers])
        texts = [
            "" if number is None else f"{number:.12g}" for number in numbers
        ]  # 1 and 1.0 are the same class
        classes = tuple(f"{number:.12g}" for number in distinct)
    else:
        classes = tuple(sorted(set(texts) - {""}))
    places = {"": -1} | {name: i for i, name in enumerate(classes)}
    return classes, np.array([places[text] for text in texts], np.int64)


def as_number(text: str) -> float | None:
    """Returns the finite number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and "_" not in text else None


def composed(name: str) -> str:
    """Returns a name with its accents in one form: the same name has two on macOS and elsewhere."""
    return unicodedata.normalize("NFC", name)


def listed(lines: Sequence[str]) -> str:
    """Returns the first few lines for the end of a message."""
    rest = [f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "".join(f"\n  {line}" for line in (*lines[:LISTED], *rest))
