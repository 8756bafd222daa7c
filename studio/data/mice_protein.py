"""`mice_protein`: levels of 77 proteins in the cortex of mice (UCI 342), the small classic set of
contrastive analysis.

Abid et al. (2018) look for the genotype (control, or Ts65Dn as a model of Down syndrome) among
shocked mice, with control mice as the background. Two published descriptions contradict each other.
The code of contrastive PCA takes S/C (shock, then context) for the targets and C/S for the
background. Its text speaks of mice that have learnt with shocks, which are C/S in UCI's words.
`target_behavior` chooses, and its default is that of the code.

Departures from the published code: gaps are filled with the mean of the training rows instead of 0,
and proteins are standardised by the training rows of both sets. Mice are split, never rows.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from studio.data.dataset import Attribute
from studio.data.io.files import data_folder
from studio.data.io.names import join_names
from studio.data.sources.mice import FACTORS, MICE_LAYOUT, MiceTable, read_mice
from studio.data.vectors import RULE, VectorConfig, VectorItems, VectorRule, Vectors, split_strata
from studio.errors import StudioError
from studio.limits import Most

__all__ = ["MiceProtein", "MiceProteinConfig"]

GENOTYPES = FACTORS["Genotype"]


class MiceProteinConfig(VectorConfig):
    """The section of `mice_protein`."""

    name: Literal["mice_protein"] = "mice_protein"
    """Name of the data set."""

    target_behavior: Literal["S/C", "C/S"] = "S/C"
    """Behaviour of the target mice. The background mice have the other one.

    Source: S/C is that of the code of Abid et al. (2018), C/S fits the description of the table.
    """

    treatment: Literal["Saline", "Memantine"] = "Saline"
    """Treatment of all mice.

    Source: Saline is that of the code of Abid et al. (2018).
    """

    spread: float = Field(default=4.0, ge=1, le=Most.LEVEL)
    """Distance from the mean that becomes 1, for each protein. Values farther away are clipped, and
    `data check` counts them.

    Unit: standard deviations of the training rows.
    """


class MiceProtein(Vectors):
    """Protein levels of mice. The genotype (salient) varies in the target set, whose mice were
    shocked.

    Args:
        config: the data set's section.
        derived: the result of `derived` when a run was trained, to be used again.

    Raises:
        StudioError: the table is missing, damaged, or lacks a group of mice.
    """

    Config = MiceProteinConfig
    LAYOUT = MICE_LAYOUT
    config: MiceProteinConfig

    def __init__(self, config: MiceProteinConfig, derived: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        stored = derived or {}
        table = read_mice(data_folder(config, self.LAYOUT))
        self.attributes = self._declare(
            {"genotype": Attribute("salient", GENOTYPES, target_only=True)}
        )
        self.condition = "genotype"
        groups = {name: self._rows_of(table, *name) for name in self._groups()}
        for (behavior, genotype), rows in groups.items():
            if not len(rows):
                raise StudioError(
                    f"{table.path}: no mouse with Behavior {behavior}, Genotype {genotype} and "
                    f"Treatment {config.treatment}"
                )
        chosen = np.concatenate([*groups.values()])
        mice = [table.mice[row] for row in chosen]
        members = {
            ", ".join(name): sorted({table.mice[row] for row in rows})
            for name, rows in groups.items()
        }
        splits = split_strata(members, config, stored.get("split", {}))
        training = np.array([splits[mouse] == "train" for mouse in mice])
        values = table.values[chosen]
        rule = (
            VectorRule.from_json(stored[RULE])
            if RULE in stored
            else standardise(table, values[training], config.spread)
        )
        domains = [
            "target" if table.factors["Behavior"][row] == config.target_behavior else "background"
            for row in chosen
        ]
        labels = np.array([GENOTYPES.index(table.factors["Genotype"][row]) for row in chosen])
        self._fill(
            VectorItems(
                [table.rows[row] for row in chosen],
                domains,
                mice,
                rule.scale(values),
                {"genotype": labels.astype(np.int64)},
                splits,
            ),
            rule,
        )
        self._notes = [*table.notes, *self._value_notes(values, rule), self._split_note()]

    def _groups(self) -> list[tuple[str, str]]:
        """Returns behaviour and genotype of the background and of both kinds of targets."""
        target = self.config.target_behavior
        other = next(name for name in FACTORS["Behavior"] if name != target)
        return [(other, "Control"), *((target, genotype) for genotype in GENOTYPES)]

    def _rows_of(self, table: MiceTable, behavior: str, genotype: str) -> np.ndarray:
        wanted = (genotype, self.config.treatment, behavior)
        return np.flatnonzero(
            np.all([table.factors[k] == v for k, v in zip(FACTORS, wanted, strict=True)], 0)
        )

    def _value_notes(self, values: np.ndarray, rule: VectorRule) -> list[str]:
        gaps, outside = int(np.isnan(values).sum()), rule.count_outside(values)
        notes = []
        if gaps:
            notes.append(
                f"{gaps:,} of {values.size:,} values are missing: they are filled with the mean of "
                "the training rows"
            )
        if outside:
            notes.append(
                f"{outside:,} of {values.size:,} values are more than {self.config.spread:g} "
                "standard deviations from the mean and are clipped (data.spread)"
            )
        return notes

    def _split_note(self) -> str:
        test = sorted({name for name, split in self._items.splits.items() if split == "test"})
        count = len(self._items.splits)
        return f"{len(test)} of {count} mice are in the test split: {join_names(test)}"


def standardise(table: MiceTable, training: np.ndarray, spread: float) -> VectorRule:
    """Returns the rule that standardises by training rows (n, F) and fills gaps with their mean.

    Raises:
        StudioError: a protein has no value in the training rows, or always the same.
    """
    known = ~np.isnan(training)
    count = known.sum(0)
    mean = np.where(known, training, 0).sum(0) / np.maximum(count, 1)
    deviation = np.sqrt(np.where(known, (training - mean) ** 2, 0).sum(0) / np.maximum(count, 1))
    idle = [name for name, sd in zip(table.proteins, deviation, strict=True) if not sd > 0]
    if idle:
        raise StudioError(
            f"{table.path}: {len(idle)} proteins have no value or always the same in the training "
            f"rows: {join_names(idle)}; delete their columns"
        )
    reach = spread * deviation
    return VectorRule(table.proteins, mean - reach, mean + reach, mean)
