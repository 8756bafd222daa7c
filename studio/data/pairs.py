"""Pairs of equally many background and target images, addressed by the number of the iteration."""

from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from studio.data.dataset import Dataset
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest
from studio.method import Pair
from studio.seeds import seed_of

__all__ = ["PairStream"]


class PairStream(TorchDataset):
    """The training data: item t is the Pair of iteration t, `half` background and `half` target
    images.

    Each domain is an endless sequence of seeded permutations of its training images, and iteration
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

    Raises:
        StudioError: a domain has no training images, the attribute does not exist, or its values
            are not numbers in [0, 1].
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
        self.severity = None if severity is None else _load_severity(dataset, severity)
        self.sizes = {domain: dataset.size("train", domain) for domain in DOMAINS}
        for domain, size in self.sizes.items():
            if size == 0:
                raise StudioError(
                    f"data set {dataset.config.name!r} has no training images in its {domain} set"
                )
        self._permutation = lru_cache(maxsize=4)(self._permutation)

    def indices(self, iteration: int, domain: str) -> np.ndarray:
        """Returns the training indices of this process in an iteration, (half,)."""
        size = self.sizes[domain]
        first = (iteration * self.world + self.rank) * self.half
        positions = np.arange(first, first + self.half)
        rounds = positions // size
        return np.concatenate(
            [
                self._permutation(domain, int(r))[positions[rounds == r] % size]
                for r in np.unique(rounds)
            ]
        )

    def _permutation(self, domain: str, number: int) -> np.ndarray:
        return np.random.default_rng(seed_of("pairs", self.seed, domain, number)).permutation(
            self.sizes[domain]
        )

    def __getitem__(self, iteration: int) -> Pair:
        indices = [self.indices(iteration, domain) for domain in DOMAINS]
        x, y = (
            self.dataset.images("train", domain, rows)
            for domain, rows in zip(DOMAINS, indices, strict=True)
        )
        return Pair(
            x, y, None if self.severity is None else torch.from_numpy(self.severity[indices[1]])
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
