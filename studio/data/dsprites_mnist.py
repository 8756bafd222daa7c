"""`dsprites_mnist`: four handwritten digits in a square, in the target set with a sprite over them (Carton et al. 2024).

background = 0.5 * grid of MNIST digits 1, 2 (above) and 3, 4 (below), each resized from 28 to 32 px; target = such a grid
with a dSprites sprite at full brightness, at most 1; then 2 * that - 1. Random exemplars of the digits; training digits
in train, test digits in test. Of the 737,280 sprites a random tenth is in train, as with the authors, and 7,000 others
are in test; no picture is in both, nor anything that looks the same because the last orientation is the first again.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from studio.data.dataset import SPLITS, Attribute, Dataset, Factor, Labels, Split
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
SIZES: dict[Split, int] = {
    "train": FRAMES // 10,
    "test": 7_000,
}  # the authors keep each sprite with probability 0.1
GRID = (1, 2, 3, 4)  # classes of the digits: top left, top right, bottom left, bottom right
DIM = 0.5  # brightness of the digits


class DspritesMnistConfig(FilesConfig):
    """The data set's section."""

    name: Literal["dsprites_mnist"] = "dsprites_mnist"
    resolution: Literal[64] = 64
    # The same items on every machine, whatever files are there; `file` reads the original file.
    sprites: Literal["rendered", "file"] = "rendered"


class DspritesMnist(Dataset):
    """Four digits, 1 to 4 (common), with a sprite over them (salient) in the target set.

    Attributes of the sprite: `shape`; `scale` from 0.5 to 1; `pos_x` and `pos_y` from 0 to 1; and `orientation`, the
    cosine of the angle times the shape's symmetry (4 for the square, 2 for the ellipse, 1 for the heart). An angle is
    no number, since its ends meet, and a square turned by a quarter is the same square: only such a cosine is equal
    for equal pictures. `factors` has the plain class numbers.

    Args:
        config: the data set's section.

    Raises:
        StudioError: a file of MNIST (or of dSprites, where asked for) is missing, cut short or of another kind.
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
        """Returns the sprite of each target image as class numbers (N, 5): shape, scale, orientation, pos_x, pos_y."""
        return np.stack(np.unravel_index(_pools()[split], COUNTS), 1)

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
        indices = np.asarray(indices)
        images = self._draw_digits(split, self._tables[split, domain][indices])
        if domain == "target":
            images = self._with_sprites(
                images, np.stack(np.unravel_index(_pools()[split][indices], COUNTS), 1)
            )
        return images.mul_(2).sub_(1)

    def images_of(self, factors: np.ndarray, seed: int, split: Split = "test") -> "Tensor":
        """Makes target images of given sprites over random digits, as the FactorVAE score needs them.

        Args:
            factors: class numbers (n, 5): shape, scale, orientation, pos_x, pos_y; none is refused for its split.
            seed: of the digits.
            split: the part of MNIST that the digits come from.

        Returns:
            (n, 1, 64, 64) in [-1, 1].

        Raises:
            ValueError: a number is none of its factor's classes.
        """
        factors = check_factors(factors)
        rng = np.random.default_rng((SEED, seed))
        grids = np.stack(
            [pick(rng.random(len(factors)), members) for members in self._exemplars[split]], 1
        )
        return self._with_sprites(self._draw_digits(split, grids), factors).mul_(2).sub_(1)

    def canonical_factors(self, factors: np.ndarray) -> np.ndarray:
        """Returns class numbers (n, 5) by which sprites that look the same are the same: see `dsprites.canonical_factors`."""
        return canonical_factors(factors)

    def notes(self) -> list[str]:
        return list(self._notes)

    def _of_class(self, split: Split, digit: int) -> np.ndarray:
        members = np.flatnonzero(self._mnist[split].classes == digit)
        if not len(members):
            raise StudioError(
                f"MNIST's {split} part in {self.config.root} has no digit {digit}, and every image shows one"
            )
        return members

    def _grids(self, split: Split, domain: str, size: int) -> np.ndarray:
        """Returns which four digits each item shows, (size, 4)."""
        exemplars = enumerate(self._exemplars[split])
        return np.stack(
            [
                pick(uniform_column(SEED, split, domain, i, size), members)
                for i, members in exemplars
            ],
            1,
        )

    def _draw_digits(self, split: Split, grids: np.ndarray) -> "Tensor":
        """Returns grids of digits (n, 1, 64, 64) at half brightness from the numbers of the digits (n, 4)."""
        half = self.config.resolution // 2
        digits = resize_digits(self._mnist[split].take(grids.reshape(-1)).reshape(-1, 28, 28), half)
        grid = digits.view(-1, 2, 2, half, half).permute(0, 1, 3, 2, 4)
        return grid.reshape(-1, *self.shape) * DIM

    def _with_sprites(self, images: "Tensor", factors: np.ndarray) -> "Tensor":
        import torch

        frames = torch.from_numpy(self._sprites.take(factors)).float()
        return (images + frames[:, None]).clamp_(max=1)


@lru_cache(maxsize=1)
def _pools() -> dict[Split, np.ndarray]:
    """Returns the rows of dSprites in each split: (N,) numbers below 737,280."""
    shuffled = np.random.default_rng(SEED).permutation(FRAMES)
    test, rest = shuffled[: SIZES["test"]], shuffled[SIZES["test"] :]
    rest = rest[: SIZES["train"] + 2 * SIZES["test"]]  # more than can be lost on the next line
    rest = rest[~np.isin(_looks(rest), _looks(test))]
    return {"train": rest[: SIZES["train"]], "test": test}


def _looks(rows: np.ndarray) -> np.ndarray:
    """Returns the first row that shows the same as each row: a turn by a full circle, over the symmetry, is none."""
    shape, scale, orientation, x, y = np.unravel_index(rows, COUNTS)
    # In 39ths of a circle; 39 is no multiple of 2 or 4, so that squares and ellipses repeat where hearts do.
    first = orientation % (COUNTS[2] - 1)
    return np.ravel_multi_index((shape, scale, first, x, y), COUNTS)
