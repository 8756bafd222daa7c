"""Small files in the layouts of `mice_protein` and `rna`, with planted contents."""

import csv
import gzip
import struct
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

PROTEINS = tuple(f"P{i}_N" for i in range(6))
FACTORS = {
    "Genotype": ("Control", "Ts65Dn"),
    "Treatment": ("Memantine", "Saline"),
    "Behavior": ("C/S", "S/C"),
}
HEADER = ("MouseID", *PROTEINS, *FACTORS, "class")


def mice_rows(mice: int = 4, rows: int = 3, gap: bool = True) -> list[list[str]]:
    """Returns rows of the table: all groups, the genotype in protein 0 and noise in the others."""
    rng = np.random.default_rng(5)
    table: list[list[str]] = []
    groups = list(product(*FACTORS.values()))
    for number, group in enumerate(groups):
        for mouse in range(mice):
            for row in range(1, rows + 1):
                values = rng.normal(1, 0.1, len(PROTEINS))
                values[0] += group[0] == "Ts65Dn"
                cells = [f"{value:.6f}" for value in values]
                name = f"{100 * number + mouse}_{row}"
                table.append([name, *cells, *group, "-".join(group)])
    if gap:
        table[0][2] = ""
    return table


def write_mice_csv(
    root: Path,
    rows: Sequence[Sequence[str]] | None = None,
    header: Sequence[str] = HEADER,
    separator: str = ",",
    encoding: str = "utf-8",
) -> Path:
    """Writes Data_Cortex_Nuclear.csv."""
    path = root / "Data_Cortex_Nuclear.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows([header, *(rows or mice_rows())])
    return path


def write_mice_npz(root: Path, rows: Sequence[Sequence[str]] | None = None) -> Path:
    """Writes mice_protein.npz, the packed table."""
    table = np.array(rows or mice_rows())
    numbers = np.where(table[:, 1:7] == "", "nan", table[:, 1:7]).astype(np.float32)
    path = root / "mice_protein.npz"
    mouse = [name.split("_")[0] for name in table[:, 0]]
    genotype, treatment, behavior = table[:, 7:10].T
    np.savez(
        path, x=numbers, mouse=mouse, genotype=genotype, treatment=treatment, behavior=behavior
    )
    return path


def write_mice_xls(root: Path, rows: Sequence[Sequence[str]] | None = None) -> Path:
    """Writes Data_Cortex_Nuclear.xls in BIFF2, the oldest and simplest form of a workbook."""

    def record(kind: int, body: bytes) -> bytes:
        return struct.pack("<HH", kind, len(body)) + body

    parts = [record(0x0009, struct.pack("<HH", 2, 0x10))]
    for y, row in enumerate([HEADER, *(rows or mice_rows())]):
        for x, cell in enumerate(row):
            place = struct.pack("<HH3x", y, x)
            if y and 1 <= x <= len(PROTEINS) and cell:
                parts.append(record(0x0003, place + struct.pack("<d", float(cell))))
            elif cell:
                parts.append(record(0x0004, place + bytes([len(cell)]) + cell.encode()))
    path = root / "Data_Cortex_Nuclear.xls"
    path.write_bytes(b"".join([*parts, record(0x000A, b"")]))
    return path


BACKGROUND, TARGET = ("healthy1", "healthy2"), ("pre", "post")
GENES = tuple(f"ENSG{i:03}" for i in range(12))


def counts_of(sample: str, cells: int = 30, seed: int = 0) -> np.ndarray:
    """Returns counts (cells, 12). Gene 2 is high in `post` only, and gene 5 varies everywhere."""
    rng = np.random.default_rng((seed, [*BACKGROUND, *TARGET].index(sample)))
    counts = rng.poisson(5, (cells, len(GENES)))
    counts[:, 5] += rng.integers(0, 60, cells)
    if sample == "post":
        counts[:, 2] += 50
    return counts


def write_10x(
    folder: Path,
    counts: np.ndarray,
    genes: Sequence[str] = GENES,
    barcodes: Sequence[str] | None = None,
    zipped: bool = False,
    below: str = "hg19",
) -> Path:
    """Writes a folder of 10x Genomics: features.tsv.gz if zipped, else genes.tsv."""
    place = folder / below
    place.mkdir(parents=True)
    codes = barcodes or [f"CELL{i}-1" for i in range(len(counts))]
    y, x = np.nonzero(counts.T)
    lines = [f"{a + 1} {b + 1} {counts[b, a]}" for a, b in zip(y, x, strict=True)]
    size = f"{counts.shape[1]} {counts.shape[0]} {len(lines)}"
    kind = "real" if counts.dtype.kind == "f" else "integer"
    head = f"%%MatrixMarket matrix coordinate {kind} general"
    texts = {
        "matrix.mtx": [head, "%", size, *lines],
        "barcodes.tsv": list(codes),
        "features.tsv" if zipped else "genes.tsv": [
            f"{gene}\tSYMBOL{i}" + "\tGene Expression" * zipped for i, gene in enumerate(genes)
        ],
    }
    for name, rows in texts.items():
        data = ("\n".join(rows) + "\n").encode()
        if zipped:
            (place / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (place / name).write_bytes(data)
    return place


def write_rna(root: Path, cells: int = 30) -> dict[str, object]:
    """Writes a folder per sample and returns the options of the data set."""
    for sample in (*BACKGROUND, *TARGET):
        write_10x(root / sample, counts_of(sample, cells))
    return {"background": list(BACKGROUND), "target": list(TARGET), "genes": 8}


def write_h5ad(path: Path, cells: int = 30) -> dict[str, object]:
    """Writes all samples into one file, with columns of obs, and returns the options."""
    import anndata
    import pandas

    samples = [sample for sample in (*BACKGROUND, *TARGET) for _ in range(cells)]
    counts = np.concatenate([counts_of(sample, cells) for sample in (*BACKGROUND, *TARGET)])
    obs = pandas.DataFrame(
        {
            "stage": samples,
            "kind": [("T", "B")[i % 2] for i in range(len(samples))],
            "donor": [
                f"d{samples.index(sample) // cells}_{i % 3}" for i, sample in enumerate(samples)
            ],
        },
        index=[f"c{i}" for i in range(len(samples))],
    )
    var = pandas.DataFrame(index=list(GENES))
    anndata.AnnData(X=counts.astype(np.float32), obs=obs, var=var).write_h5ad(path)
    return {
        "file": path.name,
        "column": "stage",
        "background": list(BACKGROUND),
        "target": list(TARGET),
        "genes": 8,
    }
