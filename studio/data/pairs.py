"""Pairs of equal halves, addressed by the number of the iteration."""

from functools import lru_cache

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from studio.data.dataset import Dataset
from studio.errors import StudioError
from studio.method import DOMAINS, Pair
from studio.seeds import seed_of

__all__ = ["PairStream"]


class PairStream(TorchDataset):
    """Item t is the Pair of iteration t: `half` background and `half` target images.

    Each domain is an endless row of seeded permutations of its training images, and iteration t takes its slice of it.
    So nothing has to be remembered to resume, the number of loader workers does not matter, both domains always give
    equally many images, and a smaller domain simply comes round more often.

    Args:
        dataset: where the images come from.
        half: images of each domain per process and iteration.
        seed: of the permutations.
        rank: this process.
        world: number of processes.

    Raises:
        StudioError: a domain has no training images.
    """

    def __init__(self, dataset: Dataset, half: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.dataset, self.half, self.seed, self.rank, self.world = dataset, half, seed, rank, world
        self.sizes = {domain: dataset.size("train", domain) for domain in DOMAINS}
        for domain, size in self.sizes.items():
            if size == 0:
                raise StudioError(f"data set {dataset.config.name!r} has no training images in its {domain} set")
        self._permutation = lru_cache(maxsize=4)(self._permutation)

    def indices(self, iteration: int, domain: str) -> np.ndarray:
        """Returns the training indices that iteration t of this process takes from a domain, shape (half,)."""
        size = self.sizes[domain]
        first = (iteration * self.world + self.rank) * self.half
        positions = np.arange(first, first + self.half)
        rounds = positions // size
        return np.concatenate([self._permutation(domain, int(r))[positions[rounds == r] % size] for r in np.unique(rounds)])

    def _permutation(self, domain: str, number: int) -> np.ndarray:
        return np.random.default_rng(seed_of("pairs", self.seed, domain, number)).permutation(self.sizes[domain])

    def __getitem__(self, iteration: int) -> Pair:
        return Pair(*(self.dataset.images("train", domain, self.indices(iteration, domain)) for domain in DOMAINS))

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != "_permutation"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._permutation = lru_cache(maxsize=4)(type(self)._permutation.__get__(self))
