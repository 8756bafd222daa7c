"""Reader of the Mice Protein Expression table (UCI 342): csv, xls, or packed as npz.

A row is one of 15 measurements of 77 proteins of a mouse. `MouseID` is the mouse and the number of
the measurement, such as 309_1.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studio.data.io.attribute_table import parse_number, read_rows
from studio.data.io.files import DAMAGE_ERRORS, first_existing, read_error
from studio.data.io.names import is_missing, join_names
from studio.errors import StudioError, nearest
from studio.lfs import refuse_pointer

__all__ = ["MICE_LAYOUT", "MiceTable", "read_mice"]

STEM = "Data_Cortex_Nuclear"
FILES = (f"{STEM}.csv", f"{STEM}.xls", "mice_protein.npz")
MICE_LAYOUT = (
    f"ROOT/{STEM}.csv or ROOT/{STEM}.xls (UCI data set 342), or ROOT/mice_protein.npz; also in "
    "ROOT/mice_protein"
)
IDENTIFIER = "MouseID"
FACTORS = {  # column -> its values
    "Genotype": ("Control", "Ts65Dn"),
    "Treatment": ("Memantine", "Saline"),
    "Behavior": ("C/S", "S/C"),
}
COLUMNS = (IDENTIFIER, *FACTORS, "class")
PROTEIN = "_N"  # end of the names of proteins
ROWS = 1_080  # of the complete table


@dataclass(frozen=True, eq=False)
class MiceTable:
    """The table.

    Attributes:
        path: the file.
        proteins: name of each column of `values`.
        values: expression levels (n, 77) with NaN in the gaps, float64.
        rows: name of each row, such as 309_1.
        mice: mouse of each row.
        factors: Genotype, Treatment and Behavior of each row.
        notes: facts that a user should know.
    """

    path: Path
    proteins: tuple[str, ...]
    values: np.ndarray
    rows: tuple[str, ...]
    mice: tuple[str, ...]
    factors: Mapping[str, np.ndarray]
    notes: tuple[str, ...]


def read_mice(root: Path) -> MiceTable:
    """Reads the table from a folder.

    Raises:
        StudioError: the file is missing, cut short or damaged, or a row is invalid.
    """
    path = first_existing(root, [*FILES, *(f"mice_protein/{name}" for name in FILES)])
    if path is None:
        raise StudioError(
            f"no table of mice in {root.absolute()}; expected {', '.join(FILES)}: {MICE_LAYOUT}"
        )
    refuse_pointer(path)
    if path.suffix == ".npz":
        return _from_npz(path)
    return _from_cells(path, *(_read_xls(path) if path.suffix == ".xls" else _read_csv(path)))


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Returns the names of the columns, and (number of its line, column -> text) for each row."""
    columns, rows = read_rows(path, [name.lower() for name in COLUMNS])
    proper = {name.lower(): name for name in COLUMNS}
    return (
        [proper.get(name, name) for name in columns],
        [(line, {proper.get(k, k): text for k, text in cells.items()}) for line, cells in rows],
    )


def _read_xls(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Returns the same as `_read_csv`, from the first sheet of a workbook."""
    try:
        import xlrd
        from xlrd import biffh
        from xlrd.compdoc import CompDocError
    except ImportError:
        raise StudioError(
            f"{path}: needs xlrd: python -m pip install 'contrastive-studio[xls]', or save the "
            "table as csv"
        ) from None
    try:
        sheet = xlrd.open_workbook(str(path), logfile=_Silent()).sheet_by_index(0)
        cells = [
            [_text(sheet.cell_value(row, column)) for column in range(sheet.ncols)]
            for row in range(sheet.nrows)
        ]
    except (*DAMAGE_ERRORS, LookupError, AssertionError, biffh.XLRDError, CompDocError) as error:
        raise read_error(path, error, "not a whole xls workbook, perhaps cut short") from None
    header, *rows = cells or [[]]
    if IDENTIFIER not in header:
        raise StudioError(
            f"{path}: no column {IDENTIFIER!r} in the first row of the first sheet; found "
            f"{join_names([name for name in header if name]) or 'nothing'}"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise StudioError(f"{path}: more than one column is called {join_names(twice)}")
    return header, [
        (number, dict(zip(header, row, strict=True)))
        for number, row in enumerate(rows, 2)
        if any(row)
    ]


class _Silent:
    """A log that keeps nothing. xlrd otherwise writes its remarks to stdout."""

    def write(self, _: str) -> None:
        """Drops the text."""

    def flush(self) -> None:
        """Does nothing."""


def _text(value: object) -> str:
    """Returns a cell of a workbook as text, with all digits of a number."""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value).strip()


def _from_cells(
    path: Path, columns: Sequence[str], rows: Sequence[tuple[int, Mapping[str, str]]]
) -> MiceTable:
    """Converts cells of text.

    Raises:
        StudioError: a column is missing, or a cell is invalid. The message names the line.
    """
    missing = [name for name in (IDENTIFIER, *FACTORS) if name not in columns]
    if missing:
        raise StudioError(f"{path}: no column {missing[0]!r}{nearest(missing[0], columns)}")
    proteins = tuple(name for name in columns if name.endswith(PROTEIN))
    if not proteins:
        raise StudioError(
            f"{path}: no column of a protein, whose names end in {PROTEIN}; found "
            f"{join_names(list(columns))}"
        )
    if not rows:
        raise StudioError(f"{path}: no rows below the header")
    values = np.full((len(rows), len(proteins)), np.nan)
    for i, (line, cells) in enumerate(rows):
        for j, name in enumerate(proteins):
            if is_missing(cells[name]):
                continue
            number = parse_number(cells[name])
            if number is None:
                raise StudioError(
                    f"{path}, line {line}: {name} is {cells[name]!r}, expected a number"
                )
            values[i, j] = number
    factors = {name: np.array([cells[name] for _, cells in rows]) for name in FACTORS}
    names = [cells[IDENTIFIER] for _, cells in rows]
    mice = [name.rpartition("_")[0] or name for name in names]
    return _checked(path, proteins, values, names, mice, factors)


def _from_npz(path: Path) -> MiceTable:
    """Reads the packed table: x, mouse, genotype, treatment, behavior and meta."""
    keys = ("x", "mouse", *(name.lower() for name in FACTORS))
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in keys:
                if key not in file.files:
                    raise StudioError(
                        f"{path}: no array {key!r}, found {join_names(file.files)}; expected the "
                        f"arrays {', '.join(keys)}"
                    )
            values = np.asarray(file["x"], np.float64)
            columns = {key: file[key].astype(str) for key in keys[1:]}
            meta = json.loads(str(file["meta"])) if "meta" in file.files else {}
    except DAMAGE_ERRORS as error:
        raise read_error(path, error, "not a whole npz file, perhaps cut short") from None
    if values.ndim != 2 or any(column.shape != values.shape[:1] for column in columns.values()):
        shapes = ", ".join(f"{key} {column.shape}" for key, column in columns.items())
        raise StudioError(f"{path}: x has the shape {values.shape}, and the others {shapes}")
    proteins = meta.get("proteins", ()) if isinstance(meta, dict) else ()
    if len(proteins) != values.shape[1]:
        proteins = [f"protein {i}{PROTEIN}" for i in range(values.shape[1])]
    # The packed table has no names of rows: they are numbered within each mouse.
    seen: dict[str, int] = {}
    names = []
    for mouse in columns["mouse"]:
        seen[mouse] = seen.get(mouse, 0) + 1
        names.append(f"{mouse}_{seen[mouse]}")
    factors = {name: columns[name.lower()] for name in FACTORS}
    return _checked(path, tuple(proteins), values, names, list(columns["mouse"]), factors)


def _checked(
    path: Path,
    proteins: tuple[str, ...],
    values: np.ndarray,
    names: Sequence[str],
    mice: Sequence[str],
    factors: Mapping[str, np.ndarray],
) -> MiceTable:
    """Returns the table after checking its rows.

    Raises:
        StudioError: a factor has an unknown value, a row occurs twice, a value is infinite, or a
            mouse has two genotypes.
    """
    for name, known in FACTORS.items():
        wrong = [str(value) for value in factors[name] if value not in known]
        if wrong:
            raise StudioError(
                f"{path}: {name} of {names[list(factors[name]).index(wrong[0])]} is "
                f"{wrong[0]!r}, expected {' or '.join(known)}"
            )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise StudioError(f"{path}: {len(twice)} rows occur twice: {join_names(twice)}")
    if np.isinf(values).any():
        raise StudioError(f"{path}: {np.isinf(values).sum()} values are infinite")
    groups: dict[str, tuple[str, ...]] = {}
    for i, mouse in enumerate(mice):
        group = tuple(str(factors[name][i]) for name in FACTORS)
        if groups.setdefault(mouse, group) != group:
            raise StudioError(
                f"{path}: mouse {mouse} is in two groups: {', '.join(groups[mouse])} and "
                f"{', '.join(group)}"
            )
    notes = [] if len(names) == ROWS else [f"{len(names)} of {ROWS:,} rows are here ({path})"]
    return MiceTable(path, proteins, values, tuple(names), tuple(mice), factors, tuple(notes))
