"""`rna`: expression of genes in single cells, from folders of 10x Genomics or `.h5ad` files.

Abid and Zou (2019, Sec. 4.1) take cells of a leukaemia patient before and after a transplant as
targets and cells of healthy people as the background (Zheng et al. 2017), with 500 genes. Which
genes, and how they are scaled, is not printed. Here they are the genes with the highest ratio of
variance to mean over the training cells of the target set, as in the code of Weinberger et al.
(2022). Counts of a cell are scaled to a sum of 10,000, and x becomes log(1 + x). The range from 0
to log(1 + 10,000) becomes -1 to 1, so that no value of any cell is clipped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from studio.data.conditions import Conditions, ConditionsConfig
from studio.data.dataset import Attribute, AttributeConfig, Labels, Split, is_known
from studio.data.io.attribute_table import encode_column
from studio.data.io.files import data_folder
from studio.data.io.names import join_names
from studio.data.sources.cells import CELLS_LAYOUT, ENDING, CellMatrix, read_anndata, read_cells
from studio.data.splits import choose_test
from studio.data.vectors import RULE, VectorConfig, VectorItems, VectorRule, Vectors, split_strata
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest
from studio.limits import Most

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Rna", "RnaConfig"]

TOTAL = 10_000.0  # counts of a cell after scaling, usual in the field
SAMPLE = "sample"  # attribute: the entry of data.target that a cell is from
Entries = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)
]


class RnaConfig(VectorConfig, ConditionsConfig):
    """The section of `rna`."""

    name: Literal["rna"] = "rna"
    """Name of the data set."""

    background: Entries = ("Frozen_BMMCs_HealthyControl1", "Frozen_BMMCs_HealthyControl2")
    """Samples of the background set: folders or `.h5ad` files below `root`, or values of `column`.

    Source: Zheng et al. (2017), as in Abid and Zou (2019), Sec. 4.1.
    """

    target: Entries = ("AML027_pretransplant_BMMCs", "AML027_posttransplant_BMMCs")
    """Samples of the target set. With two or more, they are the classes of the salient attribute
    `sample`.

    Source: Zheng et al. (2017), as in Abid and Zou (2019), Sec. 4.1.
    """

    file: str | None = None
    """An `.h5ad` file below `root` with the cells of all samples. It needs `column`."""

    column: str | None = None
    """Column of `obs` whose values are the samples in `background` and `target`."""

    subject: str | None = None
    """Column of `obs` with the donor of each cell. No donor is in both splits. null: cells are
    divided one by one, within each sample."""

    genes: int = Field(default=500, ge=2, le=Most.CHANNELS)
    """Number of genes, those with the highest ratio of variance to mean.

    Unit: genes.

    Source: Abid and Zou (2019), App. E.
    """

    normalise: Literal["log", "given"] = "log"
    """log: counts of a cell are scaled to a sum of 10,000, and x becomes log(1 + x). given: values
    stay, and the range of the training cells becomes -1 to 1."""

    @model_validator(mode="after")
    def _check_samples(self) -> Self:
        if (self.file is None) != (self.column is None):
            given, missing = ("file", "column") if self.column is None else ("column", "file")
            raise ValueError(f"{missing}: missing, but {given} is given; expected both or none")
        entries = [*self.background, *self.target]
        twice = sorted({entry for entry in entries if entries.count(entry) > 1})
        if twice:
            raise ValueError(f"background and target: {twice[0]!r} occurs twice")
        return self


class _Cells(NamedTuple):
    """All cells of the data set.

    Attributes:
        names: name of each cell: sample and barcode.
        samples: sample of each cell.
        domains: domain of each cell.
        values: (cells, shared genes), after the logarithm if there is one, sparse.
        genes: the genes that all samples have.
        obs: column -> text of each cell.
    """

    names: list[str]
    samples: list[str]
    domains: list[str]
    values: "csr_array"
    genes: list[str]
    obs: dict[str, list[str]]


class Rna(Vectors):
    """Gene expression of single cells: samples of patients (target), whose state is salient, and
    healthy ones (background).

    Args:
        config: the data set's section.
        derived: the result of `derived` when a run was trained, to be used again.

    Raises:
        StudioError: a sample is missing or damaged, samples have no gene in common, a count is
            negative or NaN, or a column of `obs` is missing.
    """

    Config = RnaConfig
    LAYOUT = CELLS_LAYOUT
    config: RnaConfig

    def __init__(self, config: RnaConfig, derived: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        stored = derived or {}
        root = data_folder(config, self.LAYOUT)
        cells = self._join(self._read(root))
        splits = self._split(cells, stored.get("split", {}))
        subjects = cells.names if config.subject is None else cells.obs[config.subject]
        training = np.array([splits[subject] == "train" for subject in subjects])
        rule, columns = (
            self._stored_rule(cells, stored[RULE])
            if RULE in stored
            else self._choose_rule(cells, training)
        )
        values = cells.values[:, columns].toarray()
        self._count_outside(values, rule)
        declared, labels = self._read_labels(cells)
        self.attributes = self._declare(declared)
        items = VectorItems(
            cells.names, cells.domains, subjects, rule.scale(values), labels, splits
        )
        self._fill(items, rule)

    def _read(self, root: Path) -> dict[str, CellMatrix]:
        """Returns sample -> its cells, without those that have no count."""
        config = self.config
        entries = [*config.background, *config.target]
        if config.file is None:
            found = {entry: read_cells(root / entry) for entry in entries}
        else:
            found = self._divide(read_anndata(root / config.file), entries)
        kept = {}
        for entry, matrix in found.items():
            self._notes += matrix.notes
            values = matrix.counts.data
            if config.normalise == "log":
                if (values < 0).any():
                    raise StudioError(
                        f"{matrix.path}: {int((values < 0).sum()):,} negative counts; values that "
                        "are no counts need data.normalise: given"
                    )
                if np.any(values != np.round(values)):
                    self._notes.append(
                        f"{entry}: some counts are no whole numbers; if they are normalised "
                        "already, set data.normalise: given"
                    )
            full = np.flatnonzero(np.asarray(abs(matrix.counts).sum(1)).ravel() > 0)
            empty = len(matrix.barcodes) - len(full)
            if empty:
                self._notes.append(f"{entry}: {empty:,} cells without any count are left out")
            if not len(full):
                raise StudioError(f"{matrix.path}: no cell of {entry} has a count")
            kept[entry] = matrix.take(full)
        return kept

    def _divide(self, matrix: CellMatrix, entries: Sequence[str]) -> dict[str, CellMatrix]:
        """Returns sample -> its cells, of a file that holds all."""
        column = str(self.config.column)
        texts = np.array(_column_of(matrix, column, "data.column"))
        present = sorted({*texts.tolist()} - {""})
        for entry in entries:
            if entry not in present:
                field = "background" if entry in self.config.background else "target"
                raise StudioError(
                    f"data.{field}: no cell of {matrix.path} has {entry!r} in the column "
                    f"{column}{nearest(entry, present)}"
                )
        spare = [name for name in present if name not in entries]
        if spare:
            count = int(np.isin(texts, spare).sum())
            self._notes.append(
                f"{count:,} cells belong to neither set: {column} is {join_names(spare)}"
            )
        return {entry: matrix.take(np.flatnonzero(texts == entry)) for entry in entries}

    def _join(self, samples: Mapping[str, CellMatrix]) -> _Cells:
        """Returns the cells of all samples with the genes that all have."""
        from scipy.sparse import csr_array, vstack

        first, *others = samples.values()
        shared = set(first.genes).intersection(*(matrix.genes for matrix in others))
        genes = [gene for gene in first.genes if gene in shared]
        if len(genes) < 2:
            known = set(first.genes)
            other = min(others, key=lambda matrix: len(known.intersection(matrix.genes)))
            raise StudioError(
                f"{len(genes)} genes are in all samples: {first.path} has {first.genes[0]}, ..., "
                f"{other.path} has {other.genes[0]}, ...; expected the same identifiers"
            )
        most = max(len(matrix.genes) for matrix in samples.values())
        if len(genes) < most:
            self._notes.append(
                f"{len(genes):,} genes are in all samples and are used, of up to {most:,}"
            )
        parts = []
        for matrix in samples.values():
            counts = csr_array(matrix.counts, dtype=np.float64)
            if self.config.normalise == "log":
                sums = np.asarray(counts.sum(1)).ravel()
                counts = counts.multiply(TOTAL / sums[:, None]).tocsr()
                counts.data = np.log1p(counts.data)
            places = {gene: i for i, gene in enumerate(matrix.genes)}
            parts.append(counts[:, [places[gene] for gene in genes]])
        wanted = [
            name
            for name in (self.config.subject, *self.config.attributes)
            if name is not None and name != SAMPLE
        ]
        obs = {
            name: [text for matrix in samples.values() for text in _column_of(matrix, name)]
            for name in wanted
        }
        owners = [entry for entry, matrix in samples.items() for _ in matrix.barcodes]
        return _Cells(
            [f"{entry}/{code}" for entry, matrix in samples.items() for code in matrix.barcodes],
            owners,
            ["target" if entry in self.config.target else "background" for entry in owners],
            csr_array(vstack(parts, format="csr")),
            genes,
            obs,
        )

    def _split(self, cells: _Cells, stored: Mapping[str, Split]) -> dict[str, Split]:
        """Returns cell or donor -> split."""
        if self.config.subject is None:
            groups: dict[str, list[str]] = {}
            for name, sample in zip(cells.names, cells.samples, strict=True):
                groups.setdefault(sample, []).append(name)
            return split_strata(groups, self.config, stored)
        domains: dict[str, set[str]] = {}
        for subject, domain in zip(cells.obs[self.config.subject], cells.domains, strict=True):
            if not subject:
                raise StudioError(
                    f"data.subject: some cells have no value in the column {self.config.subject}"
                )
            domains.setdefault(subject, set()).add(domain)
        for domain in DOMAINS:
            count = sum(domain in found for found in domains.values())
            if count < 2:
                raise StudioError(
                    f"data.subject: {count} subjects in the {domain} set, expected at least 2: "
                    "one for training and one for testing"
                )
        test = choose_test(domains, {}, self.config)
        return {name: stored.get(name, "test" if name in test else "train") for name in domains}

    def _choose_rule(self, cells: _Cells, training: np.ndarray) -> tuple[VectorRule, list[int]]:
        """Chooses the genes on training cells of the target set, and their range."""
        targets = training & (np.array(cells.domains) == "target")
        rows = cells.values[np.flatnonzero(targets)]
        mean = np.asarray(rows.mean(0)).ravel()
        variance = np.asarray(rows.multiply(rows).mean(0)).ravel() - mean**2
        ratio = np.where(mean != 0, variance / np.where(mean == 0, 1, np.abs(mean)), 0)
        usable = int((ratio > 0).sum())
        count = min(self.config.genes, usable)
        if count < 2:
            raise StudioError(f"{usable} genes vary on the training cells of the target set")
        if count < self.config.genes:
            self._notes.append(
                f"only {count:,} genes vary on the training targets; data.genes is "
                f"{self.config.genes:,}"
            )
        columns = sorted(np.argsort(-ratio, kind="stable")[:count].tolist())
        low, high, total = 0.0, float(np.log1p(TOTAL)), TOTAL
        if self.config.normalise == "given":
            seen = cells.values[np.flatnonzero(training)][:, columns]
            low, high, total = float(seen.min()), float(seen.max()), 0.0
        features = tuple(cells.genes[column] for column in columns)
        ends = (np.full(count, low), np.full(count, high))
        return VectorRule(features, *ends, total=total), columns

    def _stored_rule(
        self, cells: _Cells, stored: Mapping[str, Any]
    ) -> tuple[VectorRule, list[int]]:
        """Returns the rule of a run, and the places of its genes.

        Raises:
            StudioError: a gene of the run is missing.
        """
        rule = VectorRule.from_json(stored)
        places = {gene: i for i, gene in enumerate(cells.genes)}
        missing = [gene for gene in rule.features if gene not in places]
        if missing:
            raise StudioError(
                f"{self.config.root}: {len(missing)} of the run's {len(rule.features)} genes are "
                f"not in all samples: {join_names(missing)}"
            )
        return rule, [places[gene] for gene in rule.features]

    def _count_outside(self, values: np.ndarray, rule: VectorRule) -> None:
        outside = rule.count_outside(values)
        if outside:
            self._notes.append(
                f"{outside:,} of {values.size:,} values lie outside of the range of the training "
                "cells and are clipped"
            )

    def _read_labels(self, cells: _Cells) -> tuple[dict[str, Attribute], Labels]:
        """Returns the attributes and one value per cell for each."""
        declared: dict[str, Attribute] = {}
        labels: Labels = {}
        target = self.config.target
        conditions = Conditions(SAMPLE, target, self.config.each_condition)
        self.condition = conditions.main
        others = {*self.config.attributes} - {SAMPLE}  # its code may be declared
        declared |= conditions.attributes(others)
        places = {entry: i for i, entry in enumerate(target)}
        numbers = np.array([places.get(entry, -1) for entry in cells.samples], np.int64)
        labels |= conditions.columns(numbers)
        background = np.array(cells.domains) == "background"
        for name, choice in self.config.attributes.items():
            if name == SAMPLE:
                continue
            kind = choice.kind if isinstance(choice, AttributeConfig) else "auto"
            try:
                classes, labels[name] = encode_column(cells.obs[name], kind)
            except StudioError as error:
                raise StudioError(f"data.attributes.{name}: {error}") from None
            known = is_known(labels[name])
            if not known[~background].any():
                raise StudioError(f"data.attributes.{name}: no target cell has a value")
            belongs = self.config.belongs_of(name)
            declared[name] = Attribute(belongs, classes, not known[background].any())
        return declared, labels


def _column_of(matrix: CellMatrix, name: str, field: str = "") -> Sequence[str]:
    """Returns a column of `obs`.

    Raises:
        StudioError: there is no such column. Folders have none.
    """
    if name not in matrix.obs:
        field = field or f"data.attributes.{name} or data.subject"
        reason = (
            f"has no such column of obs{nearest(name, matrix.obs)}"
            if matrix.path.suffix.lower() == ENDING
            else f"is no {ENDING} file, so it has no columns"
        )
        raise StudioError(f"{field}: {name!r}: {matrix.path} {reason}")
    return matrix.obs[name]
