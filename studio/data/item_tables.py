"""Seeded tables: what item i of a split and domain shows, the same for ever.

Every column has a generator of its own, so that none depends on another, and shares are cut off a uniform column, so
that a larger share contains the smaller one.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from studio.data.dataset import SPLITS, Split
from studio.data.io.files import FilesConfig
from studio.domains import DOMAINS

__all__ = [
    "ContaminationConfig",
    "mark_salient",
    "permute_split",
    "pick",
    "pick_in_turn",
    "uniform_column",
]


class ContaminationConfig(FilesConfig):
    """A set whose training domains can be made impure (Abid & Zou 2019, App. G); the test split stays as it is."""

    contamination_background: float = Field(
        default=0, ge=0, le=1
    )  # share of background images with the salient content
    contamination_target: float = Field(default=0, ge=0, le=1)  # share of target images without it


def uniform_column(seed: int, split: Split, domain: str, number: int, size: int) -> np.ndarray:
    """Returns a column of uniform numbers in [0, 1), (size,); the first n do not depend on the size."""
    return np.random.default_rng((seed, SPLITS.index(split), DOMAINS.index(domain), number)).random(
        size
    )


def pick(uniform: np.ndarray, choices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Returns a choice for each uniform number, with replacement."""
    return np.asarray(choices)[(uniform * len(choices)).astype(np.int64)]


def permute_split(seed: int, split: Split, size: int) -> np.ndarray:
    """Returns a permutation of a split's `size` files, images or latents."""
    return np.random.default_rng((seed, SPLITS.index(split))).permutation(size)


def pick_in_turn(
    seed: int, split: Split, domain: str, choices: np.ndarray, size: int
) -> np.ndarray:
    """Returns `size` choices, none of them twice before all have been taken."""
    shuffled = np.random.default_rng(
        (seed, SPLITS.index(split), DOMAINS.index(domain), 99)
    ).permutation(choices)
    return np.resize(shuffled, size)


def mark_salient(
    config: ContaminationConfig, split: Split, domain: str, uniform: np.ndarray
) -> np.ndarray:
    """Returns which items have the salient content: all targets and no background, but for the contamination."""
    if split == "test":
        return np.full(len(uniform), domain == "target")
    if domain == "target":
        return uniform >= config.contamination_target
    return uniform < config.contamination_background
