"""Seeded random columns that choose the parts of each item of a split and domain.

Every column has its own generator, so no column depends on another. Shares are cut off a uniform
column, so a larger share contains the smaller one.
"""

from collections.abc import Sequence

import numpy as np

from studio.data.dataset import SPLITS, DataConfig, Split
from studio.data.io.files import FilesConfig
from studio.domains import DOMAINS

__all__ = [
    "ContaminationConfig",
    "mark_salient",
    "permute_split",
    "pick",
    "pick_equally",
    "pick_in_turn",
    "uniform_column",
]


class ContaminationConfig(FilesConfig):
    """The section of a data set that applies the contamination of its training sets itself."""


def uniform_column(seed: int, split: Split, domain: str, number: int, size: int) -> np.ndarray:
    """Returns uniform numbers in [0, 1), (size,). The first n do not depend on the size."""
    return np.random.default_rng((seed, SPLITS.index(split), DOMAINS.index(domain), number)).random(
        size
    )


def pick(uniform: np.ndarray, choices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Returns one of the choices for each uniform number, with replacement."""
    return np.asarray(choices)[(uniform * len(choices)).astype(np.int64)]


def permute_split(seed: int, split: Split, size: int) -> np.ndarray:
    """Returns a permutation of the `size` files, images or latents of a split."""
    return np.random.default_rng((seed, SPLITS.index(split))).permutation(size)


def pick_in_turn(
    seed: int, split: Split, domain: str, choices: np.ndarray, size: int
) -> np.ndarray:
    """Returns `size` choices. None occurs a second time before all have occurred once."""
    shuffled = np.random.default_rng(
        (seed, SPLITS.index(split), DOMAINS.index(domain), 99)
    ).permutation(choices)
    return np.resize(shuffled, size)


def pick_equally(
    seed: int, split: Split, domain: str, choices: np.ndarray, classes: np.ndarray, size: int
) -> np.ndarray:
    """Returns `size` choices, as many of each class as of any other, or one more.

    Within a class none occurs a second time before all have occurred once.

    Args:
        seed: seed of the data set.
        split: split of the items.
        domain: domain of the items.
        choices: the choices, (k,).
        classes: class of each choice, (k,).
        size: number of items.
    """
    names = np.unique(classes)
    turn = -(-size // len(names))
    rows = [pick_in_turn(seed, split, domain, choices[classes == name], turn) for name in names]
    return np.stack(rows, 1).reshape(-1)[:size]


def mark_salient(config: DataConfig, split: Split, domain: str, uniform: np.ndarray) -> np.ndarray:
    """Returns which items show the salient content, (n,) bool.

    Without contamination these are all target items and no background item.

    Args:
        config: shares of contaminated items.
        split: split of the items. The test split is never contaminated.
        domain: domain of the items.
        uniform: one number in [0, 1) per item.
    """
    if split == "test":
        return np.full(len(uniform), domain == "target")
    if domain == "target":
        return uniform >= config.contamination_target
    return uniform < config.contamination_background
