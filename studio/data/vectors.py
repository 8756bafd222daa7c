"""Vectors: the rule by which rows of numbers become vectors in [-1, 1], and the data sets of them.

A data set of vectors has the shape (features,) and no resolution. Its rule is stored with a run,
so that new rows are read as the training rows were, and results are written in their unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from studio.data.dataset import SPLITS, Dataset, Labels, Split
from studio.data.indices import as_indices
from studio.data.io.files import FilesConfig
from studio.data.io.names import join_names
from studio.data.splits import ShareConfig, choose_test
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RULE", "VectorConfig", "VectorItems", "VectorRule", "Vectors", "split_strata"]

RULE = "vectors"  # key of the rule among the facts that a run stores


class VectorConfig(FilesConfig, ShareConfig):
    """The fields that data sets of vectors share."""

    split_rule: Literal["quotas"] = "quotas"
    """Each group gets its share of test subjects, at least one."""


@dataclass(frozen=True, eq=False)
class VectorRule:
    """How rows of numbers become vectors in [-1, 1].

    Attributes:
        features: name of each number.
        low: value that becomes -1, (F,).
        high: value that becomes 1, (F,).
        fill: value that a gap becomes, (F,), or None if gaps are refused.
        total: if it is not 0, rows are counts. They are divided by the sum of the row and
            multiplied by the total, and x becomes log(1 + x).
    """

    features: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    fill: np.ndarray | None = None
    total: float = 0.0

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Maps values (n, F), after the logarithm if there is one, to [-1, 1] float32.

        Gaps are filled, and values beyond -1 and 1 are clipped (`count_outside`).
        """
        filled = values if self.fill is None else np.where(np.isnan(values), self.fill, values)
        scaled = 2 * (filled - self.low) / (self.high - self.low) - 1
        return scaled.clip(-1, 1).astype(np.float32)

    def count_outside(self, values: np.ndarray) -> int:
        """Returns how many values (n, F) `scale` clips."""
        slack = 1e-6 * (self.high - self.low)
        return int(np.sum((values < self.low - slack) | (values > self.high + slack)))

    def restore(self, scaled: np.ndarray) -> np.ndarray:
        """Maps vectors (n, F) in [-1, 1] to values, log(1 + x) if rows are counts. float64."""
        return self.low + (np.asarray(scaled, np.float64) + 1) / 2 * (self.high - self.low)

    def pick(self, values: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        """Returns the features of rows of a user's file, (n, F), in the unit that `scale` takes.

        Args:
            values: (n, any number) with NaN where there is no value.
            names: name of each column, in any order. None: the columns are the features.

        Raises:
            StudioError: features are missing, or a value cannot be used. The message is the end of
                a sentence that begins with the file.
        """
        if names is None:
            if self.total:
                raise StudioError("has no names of genes, and the sum of all counts is not known")
            if values.shape[1] != len(self.features):
                raise StudioError(
                    f"has {values.shape[1]} numbers per row, expected the {len(self.features)} "
                    "features of the run in their order"
                )
            picked = values
        else:
            picked = values[:, self._places(names)]
        self._refuse_values(values if self.total else picked)
        if self.total:
            picked = log_counts(picked, values.sum(1), self.total)
        return picked

    def _places(self, names: Sequence[str]) -> list[int]:
        places = {name: i for i, name in enumerate(names)}
        if len(places) < len(names):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            if set(twice) & set(self.features):
                raise StudioError(f"has several columns called {join_names(twice)}")
        missing = [name for name in self.features if name not in places]
        if missing:
            raise StudioError(
                f"has no column for {len(missing)} of {len(self.features)} features: "
                f"{join_names(missing)}{nearest(missing[0], names)}"
            )
        return [places[name] for name in self.features]

    def _refuse_values(self, values: np.ndarray) -> None:
        broken = np.isinf(values) if self.fill is not None else ~np.isfinite(values)
        if broken.any():
            raise StudioError(f"has {int(broken.sum())} values that are NaN or infinite")
        if self.total and (values < 0).any():
            raise StudioError(f"has {int((values < 0).sum())} negative counts")

    def to_json(self) -> dict[str, Any]:
        """Returns the rule as an object for a JSON file."""
        return {
            "features": list(self.features),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "fill": None if self.fill is None else self.fill.tolist(),
            "total": self.total,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "VectorRule":
        """Returns the rule that `to_json` has returned."""
        fill = stored["fill"]
        return cls(
            tuple(stored["features"]),
            np.asarray(stored["low"], np.float64),
            np.asarray(stored["high"], np.float64),
            None if fill is None else np.asarray(fill, np.float64),
            float(stored["total"]),
        )


def log_counts(counts: np.ndarray, sums: np.ndarray, total: float) -> np.ndarray:
    """Returns log(1 + total * counts / sum of the row), (n, F) float64. Empty rows become 0."""
    return np.log1p(counts * (total / np.maximum(sums, 1e-12))[:, None])


class VectorItems(NamedTuple):
    """The rows of a data set.

    Attributes:
        names: name of each row.
        domains: domain of each row.
        subjects: subject of each row.
        vectors: (n, F) float32 in [-1, 1].
        labels: attribute -> one value per row.
        splits: subject -> split.
    """

    names: Sequence[str]
    domains: Sequence[str]
    subjects: Sequence[str]
    vectors: np.ndarray
    labels: Labels
    splits: Mapping[str, Split]


class Vectors(Dataset):
    """Base of the data sets of vectors. A subclass calls `_fill` in `__init__`.

    Args:
        config: the data set's section.
    """

    FREEZES = True
    rule: VectorRule

    def __init__(self, config: VectorConfig) -> None:
        super().__init__(config)
        self._notes: list[str] = []

    def _fill(self, items: VectorItems, rule: VectorRule) -> None:
        """Takes the rows, and the rule that made them.

        Raises:
            StudioError: a split of a domain has no row.
        """
        self.rule, self._items, self.shape = rule, items, (len(rule.features),)
        sides = [items.splits[subject] for subject in items.subjects]
        places = list(zip(sides, items.domains, strict=True))
        self._rows: dict[tuple[Split, str], np.ndarray] = {
            place: np.flatnonzero([found == place for found in places])
            for place in product(SPLITS, DOMAINS)
        }
        for (split, domain), rows in self._rows.items():
            if not len(rows):
                raise StudioError(
                    f"{self.config.root}: no {domain} row is in the {split} split: change "
                    "data.test_share"
                )

    def size(self, split: Split, domain: str) -> int:
        return len(self._rows[split, domain])

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch

        rows = self._rows[split, domain]
        return torch.from_numpy(self._items.vectors[rows[as_indices(indices, len(rows))]])

    def labels(self, split: Split, domain: str) -> Labels:
        return {
            name: self._items.labels[name][self._rows[split, domain]]
            for name, attribute in self.attributes.items()
            if domain == "target" or not attribute.target_only
        }

    def notes(self) -> list[str]:
        return list(self._notes)

    def item_names(self, split: Split, domain: str) -> list[str]:
        """Returns the name of each row."""
        return [self._items.names[int(row)] for row in self._rows[split, domain]]

    def item_subjects(self, split: Split, domain: str) -> list[str]:
        """Returns the subject of each row."""
        return [self._items.subjects[int(row)] for row in self._rows[split, domain]]

    def derived(self) -> dict[str, Any]:
        return {RULE: self.rule.to_json(), "split": dict(self._items.splits)}


def split_strata(
    groups: Mapping[str, Sequence[str]], config: ShareConfig, stored: Mapping[str, Split]
) -> dict[str, Split]:
    """Assigns subjects to splits, so that each group has its share of test subjects.

    Args:
        groups: name of a group -> its subjects. No subject is in two groups.
        config: the rule.
        stored: subject -> split in a run that is opened again, which stays.

    Raises:
        StudioError: a group has too few subjects.
    """
    splits: dict[str, Split] = {}
    for name, members in groups.items():
        needed = 2 if config.fold is None else config.folds
        if len(members) < needed:
            raise StudioError(
                f"{config.name}: {len(members)} subjects of {name}, expected at least {needed}: "
                "each group needs subjects for training and for testing"
            )
        # Each subject counts for both domains, so that the group is divided as a whole.
        test = choose_test({member: set(DOMAINS) for member in members}, {}, config)
        splits |= {member: "test" if member in test else "train" for member in members}
    return {subject: stored.get(subject, split) for subject, split in splits.items()}
