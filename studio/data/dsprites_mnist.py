"""`dsprites_mnist`: four handwritten digits in a square, in the target set with a sprite over them
(Carton et al. 2024).

background = 0.5 * grid of the MNIST digits 1, 2 (above) and 3, 4 (below), each resized from 28 to
32 px. target = such a grid plus a dSprites sprite at full brightness, at most 1. Both are then
mapped from [0, 1] to [-1, 1]. Digit images are chosen at random, from MNIST's training part in
train and from its test part in test. Of the 737,280 sprites a random tenth is in train, as with
the authors, and 7,000 others are in test. No picture is in both splits, not even as another
orientation that looks the same.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from studio.data.dataset import SPLITS, Attribute, Dataset, Factor, Labels, Split
from studio.data.indices import as_indices
from studio.data.io.files import FilesConfig, data_folder
from studio.data.item_tables import pick, uniform_column
from studio.data.sources.dsprites import (
    COUNTS,
    DSPRITES_LAYOUT,
    FACTORS,
    FRAMES,
    SHAPES,
    canonical_factors,
    check_factors,
    open_sprites,
    orientation_phase,
)
from studio.data.sources.mnist import MNIST_LAYOUT, open_mnist, resize_digits
from studio.domains import DOMAINS
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DspritesMnist", "DspritesMnistConfig"]

SEED = 11_2024
# The authors keep each sprite for training with probability 0.1.
SIZES: dict[Split, int] = {"train": FRAMES // 10, "test": 7_000}
GRID = (1, 2, 3, 4)  # classes of the digits: top left, top right, bottom left, bottom right
DIM = 0.5  # brightness of the digits


class DspritesMnistConfig(FilesConfig):
    """The section of `dsprites_mnist`."""

    name: Literal["dsprites_mnist"] = "dsprites_mnist"
    """Name of the data set."""

    resolution: Literal[64] = 64
    """Side of the images.

    Unit: pixels.

    Source: Carton et al. (2024).
    """

    sprites: Literal["rendered", "file"] = "rendered"
    """Where the sprites come from. rendered: drawn by the studio, with no file. file: read from the
    original file."""

    digits: Literal["shown", "none"] = "shown"
    """none: sprites on black in the target set, and black images in the background set, for methods
    of one set.

    Source: Carton et al. (2024), Sec. 5, compare with InfoGAN-CR on dSprites alone.
    """


class DspritesMnist(Dataset):
    """Four digits, 1 to 4 (common), with a sprite over them (salient) in the target set.

    Attributes of the sprite:

    - `shape`: square, ellipse or heart.
    - `scale`: from 0.5 to 1.
    - `pos_x`, `pos_y`: from 0 to 1.
    - `orientation`: the cosine of the angle times the shape's symmetry (4 for the square, 2 for
      the ellipse, 1 for the heart). The angle itself would be no good target for a regression,
      because its ends meet, and because a square turned by a quarter is the same square. This
      cosine is equal for equal pictures.

    `factors` returns the plain class numbers.

    Args:
        config: the data set's section.

    Raises:
        StudioError: a file of MNIST (or of dSprites, if requested) is missing, cut short or of
            another kind.
    """

    Config = DspritesMnistConfig
    LAYOUT = f"{MNIST_LAYOUT}; sprites are rendered, or with data.sprites=file {DSPRITES_LAYOUT}"
    config: DspritesMnistConfig
    generative_factors = tuple(
        Factor(
            name, size, category=name == "shape", period=size - 1 if name == "orientation" else 0
        )
        for name, size in FACTORS.items()
    )

    def __init__(self, config: DspritesMnistConfig) -> None:
        super().__init__(config)
        root = data_folder(config, self.LAYOUT)
        self._mnist, notes = open_mnist(root)
        self._sprites, source = open_sprites(root, config.sprites)
        self._notes = [*notes, source]
        self.shape = (1, config.resolution, config.resolution)
        shape = Attribute("salient", SHAPES, target_only=True)
        number = Attribute("salient", target_only=True)
        self.attributes = self._declare(
            {name: shape if name == "shape" else number for name in FACTORS}
        )
        self._exemplars = {
            split: [self._of_class(split, digit) for digit in GRID] for split in SPLITS
        }
        self._tables = {
            (split, domain): self._grids(split, domain, SIZES[split])
            for split in SPLITS
            for domain in DOMAINS
        }

    def size(self, split: Split, domain: str) -> int:
        return SIZES[split]

    def factors(self, split: Split) -> np.ndarray:
        """Returns the class numbers of each target's sprite, (N, 5), in the order of FACTORS."""
        return np.stack(np.unravel_index(_pools()[split], COUNTS), 1)

    def composition(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Returns the parts of each item: `digits`, the numbers of its MNIST digits, (n, 4)."""
        return {"digits": self._tables[split, domain]}

    def labels(self, split: Split, domain: str) -> Labels:
        if domain == "background":
            return {}
        factors = self.factors(split)
        return {
            "shape": factors[:, 0],
            "scale": 0.5 + 0.1 * factors[:, 1],
            "orientation": np.cos(orientation_phase(factors)),
            "pos_x": factors[:, 3] / (COUNTS[3] - 1),
            "pos_y": factors[:, 4] / (COUNTS[4] - 1),
        }

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        indices = as_indices(indices, self.size(split, domain))
        images = self._draw_digits(split, self._tables[split, domain][indices])
        if domain == "target":
            images = self._with_sprites(
                images, np.stack(np.unravel_index(_pools()[split][indices], COUNTS), 1)
            )
        return images.mul_(2).sub_(1)

    def images_of(self, factors: np.ndarray, seed: int, split: Split = "test") -> "Tensor":
        """Generates target images of given sprites over random digits, as the FactorVAE score needs
        them.

        Args:
            factors: class numbers (n, 5): shape, scale, orientation, pos_x, pos_y, of any split.
            seed: seed of the choice of digits.
            split: part of MNIST from which the digits are taken.

        Returns:
            (n, 1, 64, 64) in [-1, 1].

        Raises:
            ValueError: a number is not a class of its factor.
        """
        factors = check_factors(factors)
        rng = np.random.default_rng((SEED, seed))
        grids = np.stack(
            [pick(rng.random(len(factors)), members) for members in self._exemplars[split]], 1
        )
        return self._with_sprites(self._draw_digits(split, grids), factors).mul_(2).sub_(1)

    def canonical_factors(self, factors: np.ndarray) -> np.ndarray:
        """Returns class numbers (n, 5) that are equal for sprites that look the same."""
        return canonical_factors(factors)

    def notes(self) -> list[str]:
        return list(self._notes)

    def _of_class(self, split: Split, digit: int) -> np.ndarray:
        """Returns the numbers of all images of a digit in a split of MNIST."""
        members = np.flatnonzero(self._mnist[split].classes == digit)
        if not len(members):
            raise StudioError(
                f"MNIST's {split} part in {self.config.root} has no digit {digit}, and every "
                "image shows one"
            )
        return members

    def _grids(self, split: Split, domain: str, size: int) -> np.ndarray:
        """Returns the numbers of the four digits of each item, (size, 4)."""
        exemplars = enumerate(self._exemplars[split])
        return np.stack(
            [
                pick(uniform_column(SEED, split, domain, i, size), members)
                for i, members in exemplars
            ],
            1,
        )

    def _draw_digits(self, split: Split, grids: np.ndarray) -> "Tensor":
        """Returns grids (n, 1, 64, 64) at half brightness from the numbers of digits (n, 4)."""
        half = self.config.resolution // 2
        digits = resize_digits(self._mnist[split].take(grids.reshape(-1)).reshape(-1, 28, 28), half)
        grid = digits.view(-1, 2, 2, half, half).permute(0, 1, 3, 2, 4)
        return grid.reshape(-1, *self.shape) * (DIM if self.config.digits == "shown" else 0)

    def _with_sprites(self, images: "Tensor", factors: np.ndarray) -> "Tensor":
        """Adds sprites of the class numbers (n, 5) to images in [0, 1]."""
        import torch

        frames = torch.from_numpy(self._sprites.take(factors)).float()
        return (images + frames[:, None]).clamp_(max=1)


@lru_cache(maxsize=1)
def _pools() -> dict[Split, np.ndarray]:
    """Returns the rows of dSprites in each split: (N,) numbers below 737,280."""
    shuffled = np.random.default_rng(SEED).permutation(FRAMES)
    test, rest = shuffled[: SIZES["test"]], shuffled[SIZES["test"] :]
    rest = rest[: SIZES["train"] + 2 * SIZES["test"]]  # more than the next line can remove
    rest = rest[~np.isin(_looks(rest), _looks(test))]
    return {"train": rest[: SIZES["train"]], "test": test}


def _looks(rows: np.ndarray) -> np.ndarray:
    """Returns the first row that shows the same picture as each row.

    It has the same angle modulo a full turn over the symmetry.
    """
    shape, scale, orientation, x, y = np.unravel_index(rows, COUNTS)
    # In 39ths of a circle. 39 is no multiple of 2 or 4, so squares and ellipses repeat only where
    # hearts do.
    first = orientation % (COUNTS[2] - 1)
    return np.ravel_multi_index((shape, scale, first, x, y), COUNTS)
