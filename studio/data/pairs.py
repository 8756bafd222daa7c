"""Pairs of equally many background and target images, addressed by the number of the iteration."""

from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from studio.data.dataset import Dataset
from studio.data.training_set import TrainingSet
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest
from studio.method import Pair
from studio.seeds import seed_of

__all__ = ["PairStream"]


class PairStream(TorchDataset):
    """The training data: item t is the Pair of iteration t, `half` background and `half` target
    images.

    Each domain is an endless sequence of seeded permutations of its training set, and iteration
    t takes its slice of it. Resuming therefore needs no stored state, the number of loader workers
    does not matter, both domains always give equally many images, and the images of a smaller
    domain simply repeat more often.

    Args:
        dataset: source of the images.
        half: images of each domain per process and iteration.
        seed: seed of the permutations.
        rank: number of this process.
        world: number of processes.
        severity: attribute of the target images that the pairs contain, or None.

    Attributes:
        training: the items from which the pairs are drawn.

    Raises:
        StudioError: a domain has no training images, the attribute does not exist, its values
            are not numbers in [0, 1], or `data.bias` does not fit the data or leaves fewer images
            than a batch needs.
    """

    def __init__(
        self,
        dataset: Dataset,
        half: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        severity: str | None = None,
    ) -> None:
        self.dataset, self.half, self.seed, self.rank, self.world = dataset, half, seed, rank, world
        for domain in DOMAINS:
            if dataset.size("train", domain) == 0:
                raise StudioError(
                    f"data set {dataset.config.name!r} has no training images in its {domain} set"
                )
        self.training = TrainingSet(dataset)
        self.training.require(half * world)
        self.severity = None
        if severity is not None:
            column = _load_severity(dataset, severity)
            self.severity = self.training.values("target", column)
        self._permutation = lru_cache(maxsize=4)(self._permutation)

    def positions(self, iteration: int, domain: str) -> np.ndarray:
        """Returns the positions in the training set of this process in an iteration, (half,)."""
        size = self.training.size(domain)
        first = (iteration * self.world + self.rank) * self.half
        positions = np.arange(first, first + self.half)
        rounds = positions // size
        return np.concatenate(
            [
                self._permutation(domain, int(r))[positions[rounds == r] % size]
                for r in np.unique(rounds)
            ]
        )

    def indices(self, iteration: int, domain: str) -> np.ndarray:
        """Returns the items of this process in an iteration, (half,), see `TrainingSet.items`."""
        return self.training.items[domain][self.positions(iteration, domain)]

    def _permutation(self, domain: str, number: int) -> np.ndarray:
        return np.random.default_rng(seed_of("pairs", self.seed, domain, number)).permutation(
            self.training.size(domain)
        )

    def __getitem__(self, iteration: int) -> Pair:
        places = [self.positions(iteration, domain) for domain in DOMAINS]
        x, y = (
            self.training.images(domain, rows) for domain, rows in zip(DOMAINS, places, strict=True)
        )
        return Pair(
            x, y, None if self.severity is None else torch.from_numpy(self.severity[places[1]])
        )

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != "_permutation"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._permutation = lru_cache(maxsize=4)(type(self)._permutation.__get__(self))


def _load_severity(dataset: Dataset, name: str) -> np.ndarray:
    """Returns an attribute of the training targets, (n,) float32 in [0, 1], NaN if unknown."""
    labels = dataset.labels("train", "target")
    if name not in labels:
        where = f"{dataset.config.name} has no attribute {name!r} of its targets"
        raise StudioError(f"method.severity: {where}{nearest(name, labels)}")
    if dataset.attributes[name].classes:
        raise StudioError(
            f"method.severity: {name} is a category of {dataset.config.name}, expected a number"
        )
    values = labels[name].astype(np.float32)
    known = values[np.isfinite(values)]
    if len(known) and (known.min() < 0 or known.max() > 1):
        raise StudioError(
            f"method.severity: {name} runs from {known.min():g} to {known.max():g}, expected 0 "
            "(none) to 1"
        )
    return values
