"""The table `attributes.csv` of a user's images: split, subject and attributes of each file."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import numpy as np

from studio.data.io.names import LISTED, format_lines, normalise_name
from studio.errors import StudioError, nearest

__all__ = ["TABLE", "Table", "encode_column", "parse_number", "read_attributes"]

TABLE = "attributes.csv"
COLUMNS = ("file", "split", "subject")
MISSING = ("", "nan", "na", "n/a")  # cells without a value
MOST_CLASSES = 10  # a numeric column with more distinct values is a number, not a category

Table = dict[str, dict[str, str]]  # image -> column -> text
Row = tuple[int, dict[str, str]]  # number of its line, column -> text


def _read_rows(path: Path, names: Sequence[str]) -> tuple[list[str], list[Row]]:
    """Reads a CSV file in UTF-8 with cells separated by commas, semicolons or tabs.

    Blank rows are left out. In a table with semicolons, a cell 3,5 is read as 3.5.

    Args:
        path: the file.
        names: column names that are recognised in any case. The first of them must exist.

    Returns:
        The names of the columns, and the rows.

    Raises:
        StudioError: the file cannot be read, or the header or a row is invalid.
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
    """Reads the user's table of the images.

    Args:
        root: the folder of the table. File names in the table are relative to it.
        names: names of the images.
        wanted: columns that are attributes.

    Returns:
        The cells of each image that has a row, and the names of the columns that are not used.

    Raises:
        StudioError: a wanted column is missing, or the table or one of its rows is invalid.
    """
    path = root / TABLE
    # `target` is the name of the domain itself in the probe table.
    reserved = sorted({*COLUMNS, "target"}.intersection(wanted))
    if reserved:
        raise StudioError(f"data.attributes.{reserved[0]}: no attribute can have this name")
    if not path.exists():
        if wanted:
            raise StudioError(f"{path}: missing, but data.attributes names {', '.join(wanted)}")
        return {}, []
    columns, rows = _read_rows(path, COLUMNS)
    for name in wanted:
        if name not in columns:
            raise StudioError(
                f"data.attributes.{name}: {path} has no such column{nearest(name, columns)}"
            )
    return _match_rows(path, rows, names), [
        name for name in columns if name not in (*COLUMNS, *wanted)
    ]


def _match_rows(path: Path, rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Returns image -> cells.

    A row names its image by path, or by bare name if only one image has it.
    """
    whole = {normalise_name(name): [name] for name in names}
    bare = defaultdict(list)
    for name in names:
        bare[PurePosixPath(normalise_name(name)).name].append(name)
    found: dict[str, Row] = {}
    faults = []
    for line, cells in rows:
        given = normalise_name(cells["file"]).replace("\\", "/")
        matches = whole.get(PurePosixPath(given).as_posix()) or bare.get(given, [])
        if len(matches) == 1 and matches[0] not in found:
            found[matches[0]] = (line, cells)
        else:
            # The search is slow, so it runs only for the lines that the message shows.
            near = get_close_matches(given, whole, 1) if len(faults) < LISTED else []
            faults.append(f"line {line}: {_row_fault(given, matches, found, path.parent, near)}")
    if faults:
        raise StudioError(
            f"{path}: {len(faults)} of {len(rows)} rows are invalid{format_lines(faults)}"
        )
    return {name: cells for name, (_, cells) in found.items()}


def _row_fault(
    given: str, matches: Sequence[str], found: Mapping[str, Row], root: Path, near: Sequence[str]
) -> str:
    """Returns why a row of the table is invalid."""
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


def encode_column(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Converts a column of text to categories or numbers.

    Args:
        texts: one cell per image.

    Returns:
        The class names and one class number per image (int64, -1 where missing), or () and one
        number per image (float, NaN where missing).
    """
    texts = ["" if text.lower() in MISSING else text for text in texts]
    numbers = [parse_number(text) for text in texts]
    if all((number is None) == (text == "") for number, text in zip(numbers, texts, strict=True)):
        distinct = sorted({number for number in numbers if number is not None})
        if len(distinct) > MOST_CLASSES:
            return (), np.array([np.nan if number is None else number for number in numbers])
        # 1 and 1.0 are the same class.
        texts = ["" if number is None else f"{number:.12g}" for number in numbers]
        classes = tuple(f"{number:.12g}" for number in distinct)
    else:
        classes = tuple(sorted(set(texts) - {""}))
    places = {"": -1} | {name: i for i, name in enumerate(classes)}
    return classes, np.array([places[text] for text in texts], np.int64)


def parse_number(text: str) -> float | None:
    """Returns the finite number that a text states, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and "_" not in text else None
