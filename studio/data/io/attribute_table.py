"""The table `attributes.csv` of a user's images: split, subject and attributes of each file."""

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from studio.data.io.names import LISTED, format_lines, is_missing, join_names, normalise_name
from studio.errors import StudioError, nearest
from studio.lfs import refuse_pointer

__all__ = [
    "MOST_CLASSES",
    "TABLE",
    "AttributeTable",
    "Table",
    "encode_column",
    "is_table",
    "parse_number",
    "read_attributes",
    "read_rows",
    "read_table",
]

TABLE = "attributes.csv"
COLUMNS = ("file", "split", "subject")
TABLES = (".csv", ".tsv", ".tab", ".xlsx", ".xls", ".ods", ".sav", ".parquet", ".feather")
OTHER_NAMES = {  # what other programs call our columns
    "file": ("filename", "file_name", "filepath", "path", "image", "img", "image_path"),
    "split": ("set", "subset", "partition"),
    "subject": (
        *("participant_id", "participant", "subject_id", "subjectid", "subj", "sub", "patient"),
        *("patient_id", "patientid", "person", "person_id", "case", "case_id", "pid", "mrn"),
    ),
    "participant_id": ("participant", "subject_id", "subject", "subjectid", "sub", "id", "sub_id"),
}
PLAIN_MISSING = ("", "nan", "na", "n/a")  # need no note
MOST_CLASSES = 10  # a numeric column with more distinct values is a number, not a category
FEWEST_FOUND = 0.1  # share of the rows that must belong to images, where most images have none

Table = dict[str, dict[str, str]]  # image -> column -> text
Row = tuple[int, dict[str, str]]  # number of its line, column -> text
Kind = Literal["auto", "category", "number"]


@dataclass(frozen=True)
class AttributeTable:
    """What the table says about the images.

    Attributes:
        cells: image -> column -> text, without words such as NA that mean no value.
        spare: names of the columns that are not used.
        notes: facts that a user should know.
    """

    cells: Table = field(default_factory=dict)
    spare: Sequence[str] = ()
    notes: Sequence[str] = ()


def read_rows(path: Path, names: Sequence[str]) -> tuple[list[str], list[Row]]:
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
    header, lines = _read_lines(path, names[0])
    columns = [name.lower() if name.lower() in names else normalise_name(name) for name in header]
    _refuse_twins(path, columns)
    rows = [
        (number, {name: cell for name, cell in zip(columns, cells, strict=False) if name})
        for number, cells in lines
    ]
    return [name for name in columns if name], rows


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Reads a CSV file as `read_rows` does, whatever its columns are called.

    Returns:
        The header, and the cells of each row.

    Raises:
        StudioError: the file cannot be read, has no row, or the header or a row is invalid.
    """
    header, lines = _read_lines(path, None)
    names = [normalise_name(name) for name in header]
    _refuse_twins(path, names)
    if not lines:
        raise StudioError(f"{path}: no rows below the header")
    return names, [cells[: len(names)] for _, cells in lines]


def _refuse_twins(path: Path, columns: Sequence[str]) -> None:
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise StudioError(f"{path}: more than one column is called {join_names(twice)}")


def _read_lines(path: Path, required: str | None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the header of a CSV file, and the number and the cells of each line below it."""
    separator, text, skipped = _separated(path, required)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        lines = [(reader.line_num + skipped, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise StudioError(f"{path}, line {reader.line_num + skipped}: {error}") from None
    (_, header), *lines = [(number, cells) for number, cells in lines if any(cells)]
    for number, cells in lines:
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise StudioError(
                f"{path}, line {number}: {len(cells)} cells, but the header has {len(header)}"
            )
    if separator == ";":
        decimal = re.compile(r"^([+-]?\d*),(\d+)$")
        lines = [(line, [decimal.sub(r"\1.\2", cell) for cell in cells]) for line, cells in lines]
    return header, lines


def _separated(path: Path, required: str | None) -> tuple[str, str, int]:
    """Returns the separator of a CSV file, its text, and the number of lines before the header.

    Excel writes a first line such as `sep=;`, which names the separator.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudioError(
            f"{path}: not UTF-8 (at byte {error.start}): save it as 'CSV UTF-8'"
        ) from None
    except OSError as error:
        raise StudioError(f"{path}: cannot be read: {error.strerror or error}") from None
    excel = re.match(r'\s*"?sep=(.)"?[ \t]*(\r\n|\r|\n|$)', text, re.IGNORECASE)
    skipped = 0 if excel is None else text[: excel.end()].count("\n") or 1
    text = text if excel is None else text[excel.end() :]
    if not text.strip():
        column = "" if required is None else f" with the column {required!r}"
        raise StudioError(f"{path}: empty, expected a header{column}")
    header = next(line for line in text.splitlines() if line.strip())
    split = {
        separator: [name.strip(' "') for name in header.split(separator)]
        for separator in (",;\t" if excel is None else excel[1])
    }
    if required is None:
        return max(split, key=lambda separator: len(split[separator])), text, skipped
    for separator, columns in split.items():
        if required in map(str.lower, columns):
            return separator, text, skipped
    columns = max(split.values(), key=len)
    near = next((name for name in columns if name.lower() in OTHER_NAMES.get(required, ())), None)
    hint = "" if near is None else f"; did you mean {near!r}? Rename it to {required}"
    raise StudioError(
        f"{path}: no column {required!r} in the header; found {join_names(columns)}{hint}"
    )


def is_table(name: str) -> bool:
    """Returns whether a file name has the ending of a table."""
    return name.lower().endswith(TABLES)


def _find_table(root: Path) -> tuple[Path, list[str]]:
    """Returns the path of the table, which need not exist, and notes on the other tables.

    A table whose name differs in case only is used.
    """
    found = sorted(entry.name for entry in os.scandir(root) if is_table(entry.name))
    alike = [name for name in found if name.lower() == TABLE]
    name = TABLE if TABLE in alike or not alike else alike[0]
    notes = [f"{name} is read as {TABLE}"] if name != TABLE else []
    others = [other for other in found if other != name]
    if others:
        remedy = (
            f"the table is {name}"
            if alike
            else f"did you mean {TABLE}? Save it as {TABLE} (CSV UTF-8) with a column file"
        )
        notes.append(f"{len(others)} other tables are not read: {join_names(others)}; {remedy}")
    return root / name, notes


def read_attributes(root: Path, names: Sequence[str], wanted: Sequence[str]) -> AttributeTable:
    """Reads the user's table of the images.

    Args:
        root: the folder of the table. File names in the table are relative to it.
        names: names of the images.
        wanted: columns that are attributes.

    Raises:
        StudioError: a wanted column is missing, or the table or one of its rows is invalid.
    """
    path, notes = _find_table(root)
    # `target` is the name of the domain itself in the probe table.
    reserved = sorted({*COLUMNS, "target"}.intersection(wanted))
    if reserved:
        raise StudioError(f"data.attributes.{reserved[0]}: no attribute can have this name")
    if not path.exists():
        if wanted:
            more = "".join(f"; {note}" for note in notes)
            raise StudioError(
                f"{path}: missing, but data.attributes names {join_names(wanted)}{more}"
            )
        return AttributeTable(notes=notes)
    refuse_pointer(path)
    columns, rows = read_rows(path, COLUMNS)
    for name in wanted:
        if name not in columns:
            raise StudioError(
                f"data.attributes.{name}: {path} has no such column{nearest(name, columns)}"
            )
    cells, without = _match_rows(path, rows, names)
    spare = [name for name in columns if name not in (*COLUMNS, *wanted)]
    if without:
        notes.append(
            f"{len(without)} of {len(rows)} rows of {path.name} name no image that is used: "
            f"{join_names(without)}"
        )
    notes += _column_notes(columns, spare)
    notes += _missing_notes(cells, [name for name in columns if name not in ("file", *spare)])
    kept = {
        image: {
            name: "" if is_missing(cell) else normalise_name(cell) for name, cell in row.items()
        }
        for image, row in cells.items()
    }
    return AttributeTable(kept, spare, notes)


def _column_notes(columns: Sequence[str], spare: Sequence[str]) -> Iterator[str]:
    """Yields unused columns that probably are the split or the subject."""
    for own in ("split", "subject"):
        near = [name for name in spare if name.lower() in OTHER_NAMES[own]]
        if near and own not in columns:
            yield f"column {near[0]} is not used: did you mean {own}? Rename it to {own}"


def _missing_notes(cells: Table, columns: Sequence[str]) -> Iterator[str]:
    """Yields the columns with words that count as no value, except for the plainest ones."""
    for column in columns:
        words = Counter(row[column] for row in cells.values() if is_missing(row[column]))
        odd = sorted(word for word in words if word.lower() not in PLAIN_MISSING)
        if odd:
            count = sum(words[word] for word in odd)
            yield f"column {column}: {count} cells count as no value: {join_names(odd)}"


def _match_rows(path: Path, rows: Sequence[Row], names: Sequence[str]) -> tuple[Table, list[str]]:
    """Returns image -> cells, and the file names of rows that belong to no image.

    A row names its image by path, relative or absolute, or by bare name if only one image has it.
    """
    whole = {normalise_name(name): name for name in names}
    bare = defaultdict(list)
    for name in names:
        bare[PurePosixPath(normalise_name(name)).name].append(name)
    found: dict[str, Row] = {}
    faults: list[str] = []
    without: dict[str, str] = {}
    for line, cells in rows:
        given = _relative(normalise_name(cells["file"]), path.parent, whole)
        matches = [whole[given]] if given in whole else bare.get(given, [])
        if len(matches) == 1 and matches[0] not in found:
            found[matches[0]] = (line, cells)
            continue
        # The search is slow, so it runs only for the lines that the message shows.
        shown = len(faults) + len(without) < LISTED
        near = get_close_matches(given, whole, 1) if shown else []
        fault = f"line {line}: {_row_fault(given, matches, found, path.parent, near)}"
        if matches or not given or _leaves(given):
            faults.append(fault)
        else:
            without[given] = fault
    # Extra rows are usual in a table of a whole study. Many of them are a fault of the names.
    rare = len(found) < FEWEST_FOUND * len(rows) and len(found) < len(names) / 2
    if without and (not found or rare):
        faults += without.values()
    if faults:
        raise StudioError(
            f"{path}: {len(faults)} of {len(rows)} rows are invalid{format_lines(faults)}"
        )
    return {name: cells for name, (_, cells) in found.items()}, list(without)


def _relative(given: str, root: Path, whole: Mapping[str, str]) -> str:
    """Returns the file name of a row relative to the root, with slashes."""
    if given in whole:  # a name may contain a backslash
        return given
    given = given.replace("\\", "/")
    if not given:
        return given
    pure = PurePosixPath(given)
    if pure.is_absolute():
        for base in (root.absolute(), root.resolve()):
            folder = PurePosixPath(normalise_name(base.as_posix()))
            if pure.is_relative_to(folder):
                return pure.relative_to(folder).as_posix()
    return pure.as_posix()


def _leaves(given: str) -> bool:
    """Returns whether a file name is not below the root."""
    pure = PurePosixPath(given)
    return ".." in pure.parts or pure.is_absolute() or bool(re.match(r"[A-Za-z]:/|\w+:/", given))


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
    if _leaves(given):
        return f"{given!r} leaves {root}: write it relative to this folder"
    if (root / given).exists():
        return f"{given!r} is not among the images"
    return f"no image {given!r}{nearest(given, near)}"


def encode_column(texts: Sequence[str], kind: Kind = "auto") -> tuple[tuple[str, ...], np.ndarray]:
    """Converts a column of text to categories or numbers.

    Args:
        texts: one cell per image.
        kind: `auto` gives numbers if every value is a number and more than `MOST_CLASSES` of them
            differ.

    Returns:
        The class names and one class number per image (int64, -1 where missing), or () and one
        number per image (float, NaN where missing).

    Raises:
        StudioError: the kind is `number`, and a value is not a number.
    """
    texts = ["" if is_missing(text) else normalise_name(text.strip()) for text in texts]
    numbers = [parse_number(text) for text in texts]
    words = [text for number, text in zip(numbers, texts, strict=True) if number is None and text]
    if kind == "number" and words:
        raise StudioError(
            f"kind is number, but {len(words)} values are not plain numbers: "
            f"{join_names(sorted(set(words)))}"
        )
    if not words:
        distinct = sorted({number for number in numbers if number is not None})
        if kind == "number" or (kind == "auto" and len(distinct) > MOST_CLASSES):
            return (), np.array([np.nan if number is None else number for number in numbers])
        # 1 and 1.0 are the same class.
        texts = ["" if number is None else _spell(number) for number in numbers]
        classes = tuple(_spell(number) for number in distinct)
    else:
        classes = tuple(sorted(set(texts) - {""}))
    places = {"": -1} | {name: i for i, name in enumerate(classes)}
    return classes, np.array([places[text] for text in texts], np.int64)


def _spell(number: float) -> str:
    """Returns a number as text, with all its digits."""
    short = f"{number:.12g}"
    return short if float(short) == number else repr(number)


def parse_number(text: str) -> float | None:
    """Returns the finite number that a text states, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and "_" not in text else None
