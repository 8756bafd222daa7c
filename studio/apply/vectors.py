"""Applying a method trained on vectors to a user's tables: csv, npy and `.h5ad` files.

Each row of a file is an item. Columns are found by their names (an npy array has none, so its
columns are the features in their order). They are read by the rule of the run
(`studio.data.vectors`), and generated rows are written in the unit of the file.

| result | content |
| --- | --- |
| `OUT/codes.csv` | one row per row of the files: z, s, distance, change |
| `OUT/KIND/NAME` | the file with generated values instead of its own |
| `OUT/NAME.h5ad` | of an `.h5ad` file: a copy with the codes in `obsm["z"]` and `obsm["s"]` |
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from studio import sampling
from studio.apply.inputs import check_places
from studio.apply.options import DIFFERENCE, output_kinds
from studio.apply.results import CODES
from studio.atomic import write_file, write_text
from studio.codes_table import CodesWriter
from studio.data.io.files import check_listable, raise_unlistable
from studio.data.io.names import format_lines
from studio.data.sources.cells import ENDING
from studio.data.vector_files import FORMATS, VectorRows, read_rows, stored_rule
from studio.data.vectors import VectorRule
from studio.errors import StudioError
from studio.method import Code
from studio.progress import show_progress
from studio.runs.run import Run

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["apply_to_vectors", "refuse_options"]

EXPECTED = f"a file or a folder with {', '.join(FORMATS)} files"
LOGGED = (
    "values of generated rows are log(1 + x), where x are counts scaled to a sum of {total:,.0f} "
    "per row"
)


class _Made(NamedTuple):
    """The results of a file: its codes, kind -> generated rows, and distance and change."""

    code: Code
    generated: Mapping[str, np.ndarray]
    distance: np.ndarray
    change: np.ndarray | None


def apply_to_vectors(
    run: Run,
    source: str | Path,
    out: str | Path,
    what: Sequence[str],
    donors: str | Path | None = None,
    difference: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Encodes rows and writes codes and generated rows.

    Args:
        run: a run or an export on vectors.
        source: a file, or a folder that is read with its sub-folders.
        out: folder of the results.
        what: one or several of `encode`, `reconstruct`, `heal` and `swap`.
        donors: for `swap`, a file with one row for all, or with as many rows as each file.
        difference: also write |reconstruction - healed|.
        overwrite: replace existing files.
        progress: show progress on stderr.

    Returns:
        the report of `studio.apply.apply`. `images` is the number of rows.

    Raises:
        StudioError: an argument is invalid, no file can be used, or a result cannot be written.
    """
    out = Path(os.path.expanduser(out))
    kinds = output_kinds(what, donors, difference)
    rule = stored_rule(run.derived, run.config.data.name)
    root, names, ignored = _find(source)
    places = [Path(os.path.expanduser(path)) for path in (source, donors) if path is not None]
    tables = [out / name for name in names if name.lower().endswith(ENDING)]
    results = [out / CODES, *tables, *(out / kind / name for kind in kinds for name in names)]
    check_places(out, [out / kind for kind in kinds], results, places, overwrite)
    donor = None
    if donors is not None:
        path = Path(os.path.expanduser(donors))
        donor = read_rows(path, path.name, rule).vectors
    table, set_aside = _Table(run, kinds), []
    with show_progress("apply", len(names), "files", progress) as advance:
        for name in names:
            try:
                read = read_rows(root / name, name, rule)
                made = _make(run, read, kinds, donor)
            except StudioError as error:
                set_aside.append([name, str(error).removeprefix(f"{root / name}: ")])
            else:
                _write(out, read, made, rule)
                table.add(read, made)
            advance(1)
    if len(set_aside) == len(names):
        lines = [f"{name}: {reason}" for name, reason in set_aside]
        if len(lines) == 1:
            raise StudioError(f"{root / set_aside[0][0]}: {set_aside[0][1]}")
        raise StudioError(f"none of {len(names)} files can be used{format_lines(lines)}")
    write_text(out / CODES, table.text)
    return {
        **run.describe(),
        "out": str(out),
        "codes": str(out / CODES),
        "scores": None,
        "what": kinds,
        "files": len(names) - len(set_aside),
        "images": table.rows,
        "skipped": 0,
        "set_aside": set_aside,
        "ignored": ignored,
        "notes": _notes(rule, kinds, table),
    }


def _notes(rule: VectorRule, kinds: Sequence[str], table: "_Table") -> list[str]:
    """Returns facts about the read and written rows that a user should know."""
    values = f"of {table.rows * len(rule.features):,} values"
    notes = [LOGGED.format(total=rule.total)] if rule.total and kinds else []
    if table.fractional:
        notes.append(
            f"{table.fractional:,} values are no whole numbers, but the run expects the counts of "
            "all genes: values that are normalised already give wrong codes"
        )
    if table.filled:
        notes.append(f"{table.filled:,} {values} are missing: they are filled as in the training")
    if table.clipped:
        notes.append(
            f"{table.clipped:,} {values} lie outside of the range of the run and are clipped to it"
        )
    return notes


def refuse_options(
    chosen: object, window: object, skip_existing: bool, what: Sequence[str]
) -> None:
    """Refuses options of `studio.apply.apply` that only images have.

    Raises:
        StudioError: one is given.
    """
    given = {
        "--slice": chosen is not None,
        "--window": window is not None,
        "--skip-existing": skip_existing,
        "--what score": "score" in what,
    }
    for option, is_given in given.items():
        if is_given:
            raise StudioError(f"{option}: has no use for vectors, which are rows of tables")


def _find(source: str | Path) -> tuple[Path, list[str], int]:
    """Returns the folder of a source, the tables in it, and the number of other files."""
    path = Path(os.path.expanduser(source))
    if path.is_file():
        if not path.name.lower().endswith(FORMATS):
            raise StudioError(
                f"IN {path}: this run is of vectors: expected a name that ends in "
                f"{', '.join(FORMATS)}"
            )
        return path.parent, [path.name], 0
    if not path.exists():
        raise StudioError(f"IN {path}: no such file or folder; expected {EXPECTED}")
    check_listable(str(source), "IN", EXPECTED)
    found = sorted(
        (Path(place) / name).relative_to(path).as_posix()
        for place, _, files in os.walk(path, onerror=raise_unlistable)
        for name in files
    )
    names = [name for name in found if name.lower().endswith(FORMATS)]
    if not names:
        raise StudioError(f"IN {path}: no tables in it ({len(found)} files); expected {EXPECTED}")
    return path, names, len(found) - len(names)


def _make(run: Run, rows: VectorRows, kinds: Sequence[str], donor: np.ndarray | None) -> _Made:
    """Encodes rows and generates the results."""
    method = run.method
    code = sampling.encode(method, torch.from_numpy(rows.vectors))
    if not all(torch.isfinite(part).all() for part in code):
        raise StudioError(f"{rows.name}: a code holds NaN or infinity")
    blank = sampling.blank(method, len(code.s))
    made: dict[str, torch.Tensor] = {}
    change = None
    if donor is not None:
        if len(donor) not in (1, len(code.s)):
            raise StudioError(f"has {len(code.s)} rows, and --with has {len(donor)}")
        salient = sampling.encode(method, torch.from_numpy(donor)).s
        made["swap"] = sampling.decode(method, Code(code.z, salient.expand(len(code.s), -1)))
    made["reconstruct"] = sampling.decode(method, code)
    if {"heal", DIFFERENCE}.intersection(kinds):
        made["heal"] = sampling.decode(method, Code(code.z, blank))
        made[DIFFERENCE] = (made["reconstruct"] - made["heal"]).abs()
        change = made[DIFFERENCE].mean(1).numpy()
    distance = torch.linalg.vector_norm(code.s - blank, dim=1).numpy()
    generated = {kind: made[kind].numpy() for kind in kinds}
    return _Made(code, generated, distance, change)


class _Table:
    """The rows of `codes.csv`.

    Attributes:
        rows: how many there are.
        clipped: how many values of the files were clipped.
        filled: how many were missing.
        fractional: how many were no whole numbers, though the run expects counts.
    """

    def __init__(self, run: Run, kinds: Sequence[str]) -> None:
        self.rows = self.clipped = self.filled = self.fractional = 0
        self._text = io.StringIO()
        changed = bool({"heal", DIFFERENCE}.intersection(kinds))
        self._writer = CodesWriter(
            self._text,
            run.config.method.z,
            run.config.method.s,
            ["file", "row"],
            further=["distance", *["change"] * changed],
        )

    @property
    def text(self) -> str:
        """The whole table."""
        return self._text.getvalue()

    def add(self, rows: VectorRows, made: _Made) -> None:
        """Adds the rows of a file."""
        self.rows += len(rows.vectors)
        self.clipped += rows.clipped
        self.filled += rows.filled
        self.fractional += rows.fractional
        codes = made.code.z.tolist(), made.code.s.tolist()
        for i, (label, z, s) in enumerate(zip(rows.labels, *codes, strict=True)):
            numbers = [part[i] for part in (made.distance, made.change) if part is not None]
            self._writer.write([rows.name, label], z, s, [f"{number:.6g}" for number in numbers])


def _write(out: Path, rows: VectorRows, made: _Made, rule: VectorRule) -> None:
    """Writes the generated copies of a file."""
    if rows.data is not None:
        data = rows.data.copy()
        _attach(data, made)
        write_file(out / rows.name, data.write_h5ad)
    for kind, vectors in made.generated.items():
        # A difference has no origin: only the width of the range counts.
        scale = (rule.high - rule.low) / 2
        values = vectors * scale if kind == DIFFERENCE else rule.restore(vectors)
        path = out / kind / rows.name
        if rows.data is not None:
            made_data = _features_only(rows.data, rule, values)
            _attach(made_data, made)
            write_file(path, made_data.write_h5ad)
        elif rows.header:
            write_text(path, _csv_text(rows, rule, values))
        else:
            write_file(path, lambda partial, values=values: np.save(partial, values))


def _attach(data: "AnnData", made: _Made) -> None:
    """Adds the codes to an AnnData."""
    data.obsm["z"], data.obsm["s"] = made.code.z.numpy(), made.code.s.numpy()
    data.obs["distance"] = made.distance
    if made.change is not None:
        data.obs["change"] = made.change


def _features_only(data: "AnnData", rule: VectorRule, values: np.ndarray) -> "AnnData":
    """Returns an AnnData of generated values, (rows, features)."""
    import anndata

    made = anndata.AnnData(values.astype(np.float32))
    made.var_names, made.obs_names = list(rule.features), list(data.obs_names)
    for name, column in data.obs.items():
        made.obs[name] = column
    return made


def _csv_text(rows: VectorRows, rule: VectorRule, values: np.ndarray) -> str:
    """Returns a csv file with generated values in the columns of the features.

    If rows are counts, only the name of the row and the features are kept, because the other genes
    are in another unit.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    places = {name: i for i, name in enumerate(rule.features)}
    kept = [i for i, name in enumerate(rows.header) if name in places or not rule.total or i == 0]
    writer.writerow([rows.header[i] for i in kept])
    for cells, made in zip(rows.cells, values, strict=True):
        writer.writerow(
            [
                f"{made[places[rows.header[i]]]:.9g}" if rows.header[i] in places else cells[i]
                for i in kept
            ]
        )
    return text.getvalue()
