"""The training items from which pairs are drawn, after `data.bias` and contamination.

Both leave the data set as it is: probes, scores and pictures see every item with its true label.
They only choose the items that training sees. The choice depends on nothing but the config and the
data, so it is the same for every seed of the training, on every machine and after every resume.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from studio.data.data_config import BiasConfig
from studio.data.dataset import Dataset, is_known
from studio.data.io.names import join_names
from studio.data.item_tables import (
    ContaminationConfig,
    mark_salient,
    pick_in_turn,
    uniform_column,
)
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TrainingSet"]

SEED = 22_2026
BIAS, WRONG = 1, 2  # numbers of the random columns
BACKGROUND, TARGET = DOMAINS
OTHER = {BACKGROUND: TARGET, TARGET: BACKGROUND}
FIELD = "data.bias"


class TrainingSet:
    """The items of both domains from which training draws.

    Without bias and contamination they are the training items of the data set in their order. A
    larger bias keeps a subset of the items that a smaller one keeps, and a larger contamination
    contains a smaller one. Contamination takes items of the other domain's training set after its
    bias.

    Args:
        dataset: source of the images.

    Attributes:
        items: domain -> numbers of the data set's training items, (n,). With N training items in
            the domain, N + i is item i of the other domain.
        kept: domain -> how many items of each domain the bias leaves.

    Raises:
        StudioError: the attribute of the bias does not exist, is not an attribute of both sets, has
            one value, or has no such classes, or a domain has no item left.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._sizes = {domain: dataset.size("train", domain) for domain in DOMAINS}
        self._bias = dataset.config.bias
        self._halves = None if self._bias is None else _split_values(dataset, self._bias)
        kept = {domain: self._keep(domain) for domain in DOMAINS}
        self.kept = {domain: len(rows) for domain, rows in kept.items()}
        self.items = {domain: self._mix(domain, kept) for domain in DOMAINS}

    def size(self, domain: str) -> int:
        """Returns the number of items of a domain."""
        return len(self.items[domain])

    def images(self, domain: str, positions: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns the images at some positions of `items`, (len(positions), *shape)."""
        items, size = self.items[domain][np.asarray(positions, np.int64)], self._sizes[domain]
        own = items < size
        if own.all():
            return self.dataset.images("train", domain, items)
        import torch

        images = torch.empty((len(items), *self.dataset.shape))
        images[torch.from_numpy(own)] = self.dataset.images("train", domain, items[own])
        others = self.dataset.images("train", OTHER[domain], items[~own] - size)
        images[torch.from_numpy(~own)] = others
        return images

    def values(self, domain: str, column: np.ndarray) -> np.ndarray:
        """Returns a float column of the domain's training items for `items`, NaN for items of the
        other domain."""
        items = self.items[domain]
        own = items < len(column)
        return np.where(own, column[np.where(own, items, 0)], np.nan).astype(column.dtype)

    def require(self, batch: int) -> None:
        """Checks that the bias leaves at least a batch of each domain.

        Args:
            batch: images of each domain in a batch.

        Raises:
            StudioError: a domain has fewer items, and the bias left out some of them.
        """
        for domain, size in self._sizes.items():
            kept = self.kept[domain]
            if kept < size and kept < batch:
                raise StudioError(
                    f"{FIELD}.strength: leaves {kept:,} of {size:,} {domain} training images, "
                    f"expected at least {batch:,}, half of train.batch; lower it"
                )

    def notes(self) -> Iterator[str]:
        """Yields a line on each choice that differs from all training items."""
        bias, halves = self._bias, self._halves
        if bias is not None and halves is not None:
            shares = ", ".join(f"{self._share(domain):.1%} of {domain}" for domain in DOMAINS)
            left = ", ".join(
                f"{self.kept[domain]:,} of {self._sizes[domain]:,} {domain}" for domain in DOMAINS
            )
            yield (
                f"{FIELD} {bias.strength:g}: {bias.attribute} {halves.words} in {shares}; "
                f"{left} training images are left"
            )
            unknown = {d: int((~halves.known[d]).sum()) for d in DOMAINS}
            if bias.strength and any(unknown.values()):
                found = " and ".join(f"{n:,} {domain}" for domain, n in unknown.items() if n)
                yield f"{FIELD}: {found} training images have no {bias.attribute}: left out"
        for domain in DOMAINS:
            wrong = int((self.items[domain] >= self._sizes[domain]).sum())
            if wrong:
                yield (
                    f"data.contamination_{domain}: {wrong:,} of {self.size(domain):,} {domain} "
                    f"training images come from the {OTHER[domain]} set"
                )

    def _keep(self, domain: str) -> np.ndarray:
        """Returns the numbers of a domain's items that the bias leaves."""
        size, bias, halves = self._sizes[domain], self._bias, self._halves
        if bias is None or halves is None or not bias.strength:
            return np.arange(size)
        fits = halves.upper[domain] if domain == TARGET else ~halves.upper[domain]
        spared = uniform_column(SEED, "train", domain, BIAS, size) >= bias.strength
        rows = np.flatnonzero(halves.known[domain] & (fits | spared))
        if not len(rows):
            wanted = halves.words if domain == TARGET else "the other values"
            raise StudioError(
                f"{FIELD}: leaves no {domain} training image, because none has {wanted} of "
                f"{bias.attribute}; expected a lower strength or other values"
            )
        return rows

    def _mix(self, domain: str, kept: dict[str, np.ndarray]) -> np.ndarray:
        """Returns a domain's items, some of them replaced by those of the other domain."""
        config, own, others = self.dataset.config, kept[domain], kept[OTHER[domain]]
        if isinstance(config, ContaminationConfig):
            return own
        uniform = uniform_column(SEED, "train", domain, WRONG, len(own))
        wrong = mark_salient(config, "train", domain, uniform) != (domain == TARGET)
        mixed = own.copy()
        mixed[wrong] = self._sizes[domain] + pick_in_turn(
            SEED, "train", domain, others, int(wrong.sum())
        )
        return mixed

    def _share(self, domain: str) -> float:
        """Returns the share of the favoured values among the known ones that the bias leaves."""
        assert self._halves is not None
        rows = self._keep(domain)
        rows = rows[self._halves.known[domain][rows]]
        return float(self._halves.upper[domain][rows].mean()) if len(rows) else 0.0


class _Halves(NamedTuple):
    """The values of an attribute that the bias divides.

    Attributes:
        known: domain -> which training items have a value, (N,) bool.
        upper: domain -> which training items have a value that targets keep, (N,) bool.
        words: description of those values.
    """

    known: dict[str, np.ndarray]
    upper: dict[str, np.ndarray]
    words: str


def _split_values(dataset: Dataset, bias: BiasConfig) -> _Halves:
    """Divides the values of an attribute on the training items of both sets.

    Raises:
        StudioError: see `TrainingSet`.
    """
    labels = {domain: dataset.labels("train", domain) for domain in DOMAINS}
    both = [name for name in labels[TARGET] if name in labels[BACKGROUND]]
    if bias.attribute not in both:
        raise StudioError(_name_fault(dataset, bias.attribute, both))
    columns = {domain: labels[domain][bias.attribute] for domain in DOMAINS}
    known = {domain: is_known(column) for domain, column in columns.items()}
    values = np.concatenate([columns[domain][known[domain]] for domain in DOMAINS])
    if len(np.unique(values)) < 2:
        raise StudioError(
            f"{FIELD}.attribute: {bias.attribute} has "
            f"{'one value' if len(values) else 'no value'} on all training images, expected two or "
            "more"
        )
    classes = dataset.attributes[bias.attribute].classes
    if classes:
        chosen = _choose_classes(bias, classes)
        upper = {domain: known[domain] & np.isin(columns[domain], chosen) for domain in DOMAINS}
        words = f"is {join_names([classes[i] for i in chosen])}"
    else:
        if bias.values:
            raise StudioError(
                f"{FIELD}.values: {bias.attribute} is a number, which is divided at its median; "
                "leave it out"
            )
        middle = float(np.median(values))
        if middle == values.max():  # more than half of the values are the largest one
            middle = float(values[values < middle].max())
        upper = {domain: known[domain] & (columns[domain] > middle) for domain in DOMAINS}
        words = f"is above {middle:.4g}"
    found = sum(int(mask.sum()) for mask in upper.values())
    if found in (0, len(values)):
        raise StudioError(
            f"{FIELD}.values: {'no' if found == 0 else 'every'} training image has a "
            f"{bias.attribute} that {words}; expected values that some images have and others not"
        )
    return _Halves(known, upper, words)


def _name_fault(dataset: Dataset, name: str, both: Sequence[str]) -> str:
    """Returns the message for an attribute that cannot be biased."""
    set_name = dataset.config.name
    if not both:
        return f"{FIELD}.attribute: {set_name} has no attribute of both sets"
    if name in dataset.attributes:
        return (
            f"{FIELD}.attribute: only one of the two sets of {set_name} has {name!r}, expected an "
            f"attribute of both: {join_names(both)}"
        )
    return f"{FIELD}.attribute: {set_name} has no attribute {name!r}{nearest(name, both)}"


def _choose_classes(bias: BiasConfig, classes: Sequence[str]) -> list[int]:
    """Returns the numbers of the classes that targets keep."""
    if not bias.values:
        return list(range((len(classes) + 1) // 2, len(classes)))
    for value in bias.values:
        if value not in classes:
            raise StudioError(
                f"{FIELD}.values: {bias.attribute} has no class {value!r}{nearest(value, classes)}"
            )
    return [i for i, name in enumerate(classes) if name in bias.values]
