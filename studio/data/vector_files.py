"""A user's tables of vectors: the rows of csv, npy and `.h5ad` files, read by the rule of a run.

Columns are found by their names. An npy array has none, so its columns are the features in their
order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.data.io.attribute_table import parse_number, read_table
from studio.data.io.files import DAMAGE_ERRORS, read_error
from studio.data.io.names import is_missing
from studio.data.sources.cells import ENDING, open_anndata, read_anndata
from studio.data.vectors import RULE, VectorRule
from studio.errors import StudioError

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["FORMATS", "VectorRows", "read_rows", "stored_rule"]

FORMATS = (".csv", ".npy", ENDING)


@dataclass(frozen=True, eq=False)
class VectorRows:
    """The rows of a file.

    Attributes:
        name: path of the file, relative to the folder that is read.
        labels: name of each row.
        vectors: (n, F) float32 in [-1, 1].
        clipped: how many values lie outside of the range of the run, and are clipped.
        filled: how many values are missing, and are filled as the run does.
        fractional: how many values are no whole numbers, though the run expects counts.
        header: names of the columns of a csv file, else ().
        cells: cells of a csv file.
        data: content of an `.h5ad` file.
    """

    name: str
    labels: Sequence[str]
    vectors: np.ndarray
    clipped: int
    filled: int
    fractional: int = 0
    header: Sequence[str] = ()
    cells: Sequence[Sequence[str]] = ()
    data: "AnnData | None" = None

    @classmethod
    def of(
        cls, name: str, labels: Sequence[str], picked: np.ndarray, rule: VectorRule
    ) -> "VectorRows":
        """Returns the rows of features (n, F) as `VectorRule.pick` returns them."""
        clipped, filled = rule.count_outside(picked), int(np.isnan(picked).sum())
        return cls(name, labels, rule.scale(picked), clipped, filled)


def stored_rule(derived: Mapping[str, Any], name: str) -> VectorRule:
    """Returns the rule by which a run reads rows.

    Args:
        derived: the facts that the run stores.
        name: name of its data set.

    Raises:
        StudioError: the data set has no rule.
    """
    if RULE not in derived:
        raise StudioError(
            f"data set {name} does not say how rows of a file become its vectors "
            f"(derived()[{RULE!r}])"
        )
    return VectorRule.from_json(derived[RULE])


def read_rows(path: Path, name: str, rule: VectorRule) -> VectorRows:
    """Reads a file.

    Raises:
        StudioError: the file is damaged, or lacks a feature, or a value cannot be used.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise StudioError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    if not path.is_file():
        raise StudioError(f"{path}: no such file")
    try:
        if ending == ".csv":
            return _read_csv(path, name, rule)
        return _read_npy(path, name, rule) if ending == ".npy" else _read_h5ad(path, name, rule)
    except StudioError as error:
        text = str(error)
        raise StudioError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _read_csv(path: Path, name: str, rule: VectorRule) -> VectorRows:
    header, cells = read_table(path)
    # The sum of all counts of a row is needed, so every column but the first is a gene.
    columns = range(1, len(header)) if rule.total else range(len(header))
    used = [i for i in columns if rule.total or header[i] in rule.features]
    values = np.full((len(cells), len(used)), np.nan)
    for y, row in enumerate(cells):
        for x, column in enumerate(used):
            number = parse_number(row[column])
            if number is not None:
                values[y, x] = number
            elif not is_missing(row[column]):
                raise StudioError(
                    f"row {y + 1}: {header[column]} is {row[column]!r}, expected a number"
                )
    picked = rule.pick(values, [header[column] for column in used])
    named = bool(header) and header[0] not in rule.features
    labels = [row[0] if named else str(y) for y, row in enumerate(cells)]
    rows = VectorRows.of(name, labels, picked, rule)
    return replace(rows, header=header, cells=cells, fractional=_count_fractions(values, rule))


def _read_npy(path: Path, name: str, rule: VectorRule) -> VectorRows:
    try:
        values = np.load(path, allow_pickle=False)
    except DAMAGE_ERRORS as error:
        raise read_error(path, error, "not a whole npy file") from None
    if values.ndim != 2 or values.dtype.kind not in "iufb" or not len(values):
        raise StudioError(
            f"holds {values.dtype} of shape {values.shape}, expected numbers (rows, features)"
        )
    picked = rule.pick(values.astype(np.float64), None)
    return VectorRows.of(name, [str(row) for row in range(len(picked))], picked, rule)


def _read_h5ad(path: Path, name: str, rule: VectorRule) -> VectorRows:
    matrix = read_anndata(path, gaps=rule.fill is not None)
    values = matrix.counts.toarray().astype(np.float64)
    rows = VectorRows.of(name, matrix.barcodes, rule.pick(values, matrix.genes), rule)
    return replace(rows, data=open_anndata(path), fractional=_count_fractions(values, rule))


def _count_fractions(values: np.ndarray, rule: VectorRule) -> int:
    """Returns how many values are no counts, 0 if the run does not expect counts."""
    return int((values != np.round(values)).sum()) if rule.total else 0
