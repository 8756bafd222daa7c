"""Readers of single-cell counts: folders of 10x Genomics, and `.h5ad` files of AnnData.

A folder holds `matrix.mtx` (genes x cells), `genes.tsv` or `features.tsv`, and `barcodes.tsv`, each
with or without `.gz`. It may lie in a sub-folder, such as `filtered_matrices_mex/hg19`.
"""

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.data.io.files import (
    DAMAGE_ERRORS,
    first_existing,
    open_maybe_gzip,
    raise_unlistable,
    read_error,
)
from studio.data.io.names import join_names
from studio.errors import StudioError
from studio.lfs import refuse_pointer

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_array

__all__ = ["CELLS_LAYOUT", "ENDING", "CellMatrix", "open_anndata", "read_anndata", "read_cells"]

ENDING = ".h5ad"
MATRIX, BARCODES = "matrix.mtx", "barcodes.tsv"
GENES = ("genes.tsv", "features.tsv")
EXPRESSION = "Gene Expression"  # feature type of genes in features.tsv
CELLS_LAYOUT = (
    f"below ROOT, for each sample a folder with {MATRIX}, {' or '.join(GENES)} and {BARCODES} (10x "
    f"Genomics, also with .gz) or a {ENDING} file; or ROOT/FILE{ENDING} with a column of obs"
)
NEEDS_ANNDATA = "needs anndata: python -m pip install 'contrastive-studio[rna]'"


@dataclass(frozen=True, eq=False)
class CellMatrix:
    """Counts of one sample.

    Attributes:
        path: the folder or the file.
        counts: (cells, genes), sparse.
        genes: identifier of each gene, unique.
        barcodes: identifier of each cell, unique.
        obs: column -> text of each cell.
        notes: facts that a user should know.
    """

    path: Path
    counts: "csr_array"
    genes: tuple[str, ...]
    barcodes: tuple[str, ...]
    obs: Mapping[str, Sequence[str]]
    notes: tuple[str, ...] = ()

    def take(self, cells: np.ndarray) -> "CellMatrix":
        """Returns the matrix of some cells."""
        return replace(
            self,
            counts=self.counts[cells],
            barcodes=tuple(self.barcodes[int(cell)] for cell in cells),
            obs={name: [column[int(cell)] for cell in cells] for name, column in self.obs.items()},
        )


def read_cells(path: Path) -> CellMatrix:
    """Reads a sample.

    Args:
        path: a folder of 10x Genomics, or an `.h5ad` file.

    Raises:
        StudioError: a file is missing, cut short or damaged, the files do not fit each other, or a
            barcode or a gene occurs twice, or a count is negative or NaN.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise StudioError(f"{path}: no such folder or file; expected {CELLS_LAYOUT}")
    if path.suffix.lower() != ENDING:
        raise StudioError(f"{path}: expected a folder of 10x Genomics, or a {ENDING} file")
    return read_anndata(path)


def _read_folder(folder: Path) -> CellMatrix:
    from scipy.io import mmread
    from scipy.sparse import csr_array

    place = _find_matrix(folder)
    path = first_existing(place, [MATRIX, f"{MATRIX}.gz"]) or place / MATRIX
    codes_path = first_existing(place, [BARCODES, f"{BARCODES}.gz"])
    genes_path = first_existing(place, [f"{name}{end}" for name in GENES for end in ("", ".gz")])
    if genes_path is None or codes_path is None:
        missing = BARCODES if codes_path is None else " or ".join(GENES)
        raise StudioError(f"{place}: no {missing}, though {MATRIX} is there")
    genes, barcodes = _read_columns(genes_path), _read_columns(codes_path)
    refuse_pointer(path)
    try:
        read: Any = mmread(path, spmatrix=False)
        counts: Any = csr_array(read.T)
    except (*DAMAGE_ERRORS, OverflowError, StopIteration, MemoryError) as error:
        raise read_error(path, error, "not a whole Matrix Market file, perhaps cut short") from None
    if counts.shape != (len(barcodes), len(genes)):
        cells, rows = counts.shape
        swapped = " (genes and cells are swapped)" * (counts.shape == (len(genes), len(barcodes)))
        raise StudioError(
            f"{path}: {rows:,} genes x {cells:,} cells, but {genes_path.name} has {len(genes):,} "
            f"rows and {codes_path.name} {len(barcodes):,}{swapped}"
        )
    kept = np.array([len(row) < 3 or row[2] == EXPRESSION for row in genes], bool)
    notes = []
    if not kept.all():
        counts, genes = (
            counts[:, kept],
            [row for row, keep in zip(genes, kept, strict=True) if keep],
        )
        notes.append(f"{genes_path}: {(~kept).sum()} features are no genes and are left out")
    names = [row[0] for row in genes]
    matrix = CellMatrix(
        path, counts, tuple(names), tuple(row[0] for row in barcodes), {}, tuple(notes)
    )
    return _checked(matrix)


def _find_matrix(folder: Path) -> Path:
    """Returns the folder that holds the matrix, which may be below the given one."""
    found = sorted(
        Path(place)
        for place, _, files in os.walk(folder, onerror=raise_unlistable)
        if MATRIX in files or f"{MATRIX}.gz" in files
    )
    if not found:
        raise StudioError(f"{folder}: no {MATRIX} or {MATRIX}.gz in it or below")
    if len(found) > 1:
        shown = join_names([place.relative_to(folder).as_posix() for place in found])
        raise StudioError(f"{folder}: {len(found)} matrices below it, expected one: {shown}")
    return found[0]


def _read_columns(path: Path) -> list[list[str]]:
    """Reads a table without header, with cells separated by tabs."""
    refuse_pointer(path)
    try:
        with open_maybe_gzip(path) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudioError(f"{path}: not a text in UTF-8 (byte {error.start + 1})") from None
    except DAMAGE_ERRORS as error:
        raise read_error(path, error, "damaged, perhaps cut short") from None
    return [line.split("\t") for line in text.splitlines() if line.strip()]


def open_anndata(path: Path) -> "AnnData":
    """Opens an `.h5ad` file.

    Raises:
        StudioError: the package is missing, or the file is damaged.
    """
    refuse_pointer(path)
    try:
        import anndata
    except ImportError:
        raise StudioError(f"{path}: {NEEDS_ANNDATA}") from None
    try:
        with warnings.catch_warnings():
            # Of names that occur twice, which `_checked` refuses with their names.
            warnings.filterwarnings(
                "ignore", message=".*names are not unique", category=UserWarning
            )
            return anndata.read_h5ad(path)
    # anndata raises exceptions of its own and of h5py for damaged files.
    except (*DAMAGE_ERRORS, LookupError, TypeError, AttributeError, NotImplementedError) as error:
        text = " ".join(str(error).split())
        raise read_error(
            path, ValueError(text), "not a whole .h5ad file, perhaps cut short"
        ) from None


def read_anndata(path: Path, gaps: bool = False) -> CellMatrix:
    """Reads an `.h5ad` file. Genes are named by `var["gene_ids"]`, or else by `var_names`.

    Args:
        path: the file.
        gaps: whether NaN, a missing value, is accepted.

    Raises:
        StudioError: see `read_cells`.
    """
    from scipy.sparse import csr_array, issparse

    data: Any = open_anndata(path)
    if data.X is None:
        raise StudioError(f"{path}: has no X, the matrix of cells and genes")
    values: Any = data.X
    counts = csr_array(values if issparse(values) else np.asarray(values))
    ids = data.var.get("gene_ids", data.var_names)
    obs = {
        str(name): [
            "" if missing else str(value) for value, missing in zip(column, gaps, strict=True)
        ]
        for name, column in data.obs.items()
        for gaps in [column.isna()]
    }
    return _checked(
        CellMatrix(path, counts, tuple(map(str, ids)), tuple(map(str, data.obs_names)), obs), gaps
    )


def _checked(matrix: CellMatrix, gaps: bool = False) -> CellMatrix:
    """Returns the matrix after checking its names and counts."""
    for kind, names in (("barcodes", matrix.barcodes), ("genes", matrix.genes)):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise StudioError(
                f"{matrix.path}: {len(twice)} {kind} occur more than once: {join_names(twice)}"
            )
    if not matrix.barcodes or not matrix.genes:
        raise StudioError(
            f"{matrix.path}: {len(matrix.barcodes)} cells and {len(matrix.genes)} genes"
        )
    values = matrix.counts.data
    if values.dtype.kind not in "iufb":
        raise StudioError(f"{matrix.path}: holds {values.dtype}, expected numbers")
    broken = int((np.isinf(values) if gaps else ~np.isfinite(values)).sum())
    if broken:
        raise StudioError(f"{matrix.path}: {broken} values are NaN or infinite")
    return matrix
