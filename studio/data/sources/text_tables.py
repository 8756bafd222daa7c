"""Text tables as research groups distribute them, whatever separates their cells.

Cells are separated by commas, semicolons, tabs or spaces. A byte-order mark, Windows line ends and
UTF-16 make no difference. Rows are given one after the other, because some tables are large.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.data.io.files import read_error
from studio.data.io.names import join_names
from studio.errors import StudioError
from studio.lfs import refuse_pointer

__all__ = ["TextTable", "open_table", "read_pairs"]

Row = tuple[int, list[str]]  # number of its line, cells
SEPARATORS = (",", ";", "\t", None)  # None stands for any number of spaces
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class TextTable:
    """A table whose rows are read when they are asked for.

    Attributes:
        path: the file.
        columns: names of the columns, in the order of the cells.
        lines: (number, text) of every row.
        separator: the separator of cells, None for spaces.
        notes: how the text was read, if that is not obvious.
    """

    path: Path
    columns: tuple[str, ...]
    lines: Sequence[tuple[int, str]]
    separator: str | None
    notes: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        """Yields the number and the cells of every row.

        Raises:
            StudioError: a row has another number of cells than the header.
        """
        for number, line in self.lines:
            cells = _split(line, self.separator)
            while len(cells) > len(self.columns) and not cells[-1]:
                cells.pop()
            if len(cells) != len(self.columns):
                raise StudioError(
                    f"{self.path}, line {number}: found {len(cells)} cells, expected "
                    f"{len(self.columns)}; perhaps the file is cut short"
                )
            yield number, cells


def open_table(
    path: Path, key: Sequence[str], expected: Sequence[str], known: Sequence[str] = ()
) -> TextTable:
    """Opens a table with a header.

    A first line with nothing but a number states the number of rows, as in CelebA.

    Args:
        path: the file.
        key: names that the column with the names of the files may have. The header may leave it
            out if it is the first one.
        expected: columns of which the header must have at least one, in any case.
        known: columns of a table without a header, in their order. Empty: a header is required.

    Raises:
        StudioError: the file cannot be read, has no such header, or has fewer rows than it states.
    """
    lines, notes = _read_lines(path)
    stated = None
    if lines and lines[0][1].strip(" ,;\t").isdecimal():
        stated = int(lines.pop(0)[1].strip(" ,;\t"))
    if not lines:
        raise StudioError(f"{path}: empty, expected a header with {join_names(expected)}")
    wanted = {name.lower() for name in expected}
    columns: tuple[str, ...] = ()
    separator: str | None = None
    for separator in SEPARATORS:
        columns = tuple(_split(lines[0][1], separator))
        if wanted & set(map(str.lower, columns)):
            rows = lines[1:]
            break
    else:
        for separator in SEPARATORS:
            cells = _split(lines[0][1], separator)
            if len(cells) == len(known) > 0 and not set(cells) & set(known):
                columns, rows = tuple(known), lines
                notes.append(f"{path.name} has no header; its columns are {join_names(known)}")
                break
        else:
            found = max((_split(lines[0][1], s) for s in SEPARATORS), key=len)
            raise StudioError(
                f"{path}: no column {join_names(expected)} in the header; found {join_names(found)}"
            )
    if not set(map(str.lower, key)) & set(map(str.lower, columns)):
        columns = (key[0], *(name for name in columns if name))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise StudioError(f"{path}: more than one column is called {join_names(twice)}")
    if stated is not None and stated != len(rows):
        raise StudioError(
            f"{path}: the first line states {stated:,} rows, found {len(rows):,}; perhaps the file "
            "is cut short, otherwise correct that line"
        )
    if not rows:
        raise StudioError(f"{path}: a header without any row")
    return TextTable(path, columns, rows, separator, tuple(notes))


def read_pairs(path: Path) -> dict[str, int]:
    """Reads a table of file names and whole numbers, with or without a header.

    Raises:
        StudioError: the file cannot be read, a row has another form, or a file is listed twice.
    """
    lines, _ = _read_lines(path)
    if lines and lines[0][1].strip().isdecimal():
        lines.pop(0)
    found: dict[str, int] = {}
    for place, (number, line) in enumerate(lines):
        cells = next(
            (cells for s in SEPARATORS if len(cells := _split(line, s)) == 2), _split(line, None)
        )
        if len(cells) != 2 or not cells[1].lstrip("+-").isdecimal():
            if place == 0 and len(cells) == 2:
                continue  # a header
            raise StudioError(
                f"{path}, line {number}: found {line.strip()[:60]!r}, expected the name of a file "
                "and a whole number"
            )
        if cells[0] in found:
            raise StudioError(f"{path}, line {number}: {cells[0]} has a row already")
        found[cells[0]] = int(cells[1])
    if not found:
        raise StudioError(f"{path}: empty, expected names of files with a whole number each")
    return found


def _read_lines(path: Path) -> tuple[list[tuple[int, str]], list[str]]:
    """Returns the number and text of every line that is not blank, and notes."""
    refuse_pointer(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise read_error(path, error, "cannot be read") from None
    notes = []
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
        notes.append(f"{path.name} is not UTF-8, it is read as Windows-1252")
    if "\0" in text:
        raise StudioError(f"{path}: has zero bytes, expected a text table (UTF-8)")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return lines, notes


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    if '"' not in line:
        return [cell.strip() for cell in line.split(separator)]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
