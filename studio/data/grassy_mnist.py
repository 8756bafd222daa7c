"""`grassy_mnist`: MNIST digits over grass, in the three published forms (28 px).

| mode | target | background | source |
|---|---|---|---|
| linear | 0.5 grass + 0.5 digit | 0.5 grass | Choudhuri et al., App. A.1, Eq. 10 |
| nonlinear | the same where grass > 0.3, else 0 | 0.5 grass | the same, Eq. 11 |
| abid | 2/3 grass + 1/3 digit, digits 0, 1, 2 | 2/3 grass | Abid & Zou (2019), Sec. 4.1 |

Grass, digit and every sum are in [0, 1]. They are then mapped to [-1, 1]. Abid & Zou give grass
twice the amplitude of the digit, and the divisor 3 keeps the sum in range. The background set
shows grass as dim as the targets do, so that brightness does not reveal the domain. Choudhuri et
al. leave it at full contrast (`dim_background: false`).

Departures from Choudhuri et al.: target images have pieces of grass of their own. By default images
are gray, whereas their Eq. 10 and 11 index the channels (`channels: 3`), and each set has 25,000
images with random digits, instead of 4,986 pieces of grass and 4,986 images of each digit
(`train_background`, `train_target`, `digits: equal`). `threshold` and `rho` are those of Eq. 10 and
11.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from studio.data.dataset import SPLITS, Attribute, Dataset, Labels, Split
from studio.data.indices import as_indices
from studio.data.io.files import data_folder
from studio.data.item_tables import (
    ContaminationConfig,
    mark_salient,
    pick_equally,
    pick_in_turn,
    uniform_column,
)
from studio.data.sources.grass import GRASS_LAYOUT, GrassFolder, GrassPhotograph
from studio.data.sources.mnist import MNIST_LAYOUT, open_mnist, pad_digits
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.limits import Most
from studio.schema import Flag

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GrassyMnist", "GrassyMnistConfig"]

SEED = 12_2024
SIDE = 28
TEST = 5_000  # images per domain
MOST = 10_000_000  # images per domain. The composition of each takes 60 bytes of memory.
SCALE = {"linear": 1.0, "nonlinear": 1.0, "abid": 2.0}  # amplitude of grass for a digit's 1
DIGITS = {"linear": 10, "nonlinear": 10, "abid": 3}


class GrassyMnistConfig(ContaminationConfig):
    """The section of `grassy_mnist`."""

    name: Literal["grassy_mnist"] = "grassy_mnist"
    """Name of the data set."""

    resolution: Literal[28] = SIDE
    """Side of the images.

    Unit: pixels.

    Source: MNIST.
    """

    mode: Literal["linear", "nonlinear", "abid"] = "linear"
    """Published form of the data set.

    Source: Choudhuri et al., App. A.1 (linear, nonlinear) and Abid & Zou (2019), Sec. 4.1 (abid).
    """

    channels: Literal[1, 3] = 1
    """Channels of an image. With 3, grass has colours if `grass_root` has. Digits are gray.

    Unit: channels.

    Source: Choudhuri et al. (2020), Eq. 10 and 11, index the channels.
    """

    threshold: float = Field(default=0.3, ge=0, le=1)
    """Grass in [0, 1] up to which a pixel of the nonlinear mode is black.

    Unit: none.

    Source: Choudhuri et al. (2020), Eq. 11, propose to vary it.
    """

    rho: float | None = Field(default=None, gt=0, lt=1)
    """Weight of grass in the targets. The digit has the rest. null: 0.5, or 2/3 for abid. The
    background set, where it is dim, has the same weight.

    Unit: none.

    Source: Choudhuri et al. (2020), Eq. 10.
    """

    digits: Literal["random", "equal"] = "random"
    """How digits are drawn. equal: each digit is on as many targets.

    Source: Choudhuri et al. (2020), App. A.1, have 4,986 of each.
    """

    grass_root: str | None = None
    """Folder with photographs of grass. null: scikit-image's photograph of grass."""

    grass_scale: float | None = Field(default=None, ge=0, le=Most.LEVEL)
    """Amplitude of grass in the targets, relative to that of a digit. null: that of the mode. The
    background set always has that of the mode.

    Unit: none.
    """

    dim_background: Flag = True
    """Whether the background set shows grass as dim as the targets do. Choudhuri et al. leave it at
    full contrast."""

    background_noise: float = Field(default=0, ge=0, le=Most.LEVEL, allow_inf_nan=False)
    """Gaussian noise on the training images of the background set. 0 adds none.

    Unit: standard deviations of the grass.

    Source: Abid & Zou (2019), Fig. 7b, vary it.
    """

    train_background: int = Field(default=25_000, ge=1, le=MOST)
    """Number of training images of the background set. Choudhuri et al. have 4,986.

    Unit: images.
    """

    train_target: int = Field(default=25_000, ge=1, le=MOST)
    """Number of training images of the target set. Choudhuri et al. have 4,986 per digit.

    Unit: images.
    """

    @model_validator(mode="after")
    def _in_range(self) -> "GrassyMnistConfig":
        if self.rho is not None and self.grass_scale is not None:
            raise ValueError("rho: grass_scale sets the same weight; expected one of the two")
        if self.grass_scale is not None and self.grass_scale > SCALE[self.mode]:
            raise ValueError(
                f"grass_scale: found {self.grass_scale}, expected at most {SCALE[self.mode]:g} "
                f"for {self.mode}"
            )
        return self


class GrassyMnist(Dataset):
    """Grass (common), with an MNIST digit over it (salient) in the target set.

    Args:
        config: the data set's section.

    Attributes:
        grass: source of the pieces of grass.

    Raises:
        StudioError: a file of MNIST is missing, cut short or of another kind, or the folder of
            grass has too few images.
    """

    Config = GrassyMnistConfig
    LAYOUT = f"{MNIST_LAYOUT}; grass comes with scikit-image, or {GRASS_LAYOUT}"
    config: GrassyMnistConfig

    def __init__(self, config: GrassyMnistConfig) -> None:
        super().__init__(config)
        self._mnist, self._notes = open_mnist(data_folder(config, self.LAYOUT))
        self.grass = (
            GrassFolder(config.grass_root, config.channels)
            if config.grass_root
            else GrassPhotograph(config.channels)
        )
        self.shape = (config.channels, SIDE, SIDE)
        classes = tuple("0123456789")[: DIGITS[config.mode]]
        self.attributes = self._declare({"digit": Attribute("salient", classes, target_only=True)})
        self._tables = {
            (split, domain): self._table(split, domain) for split in SPLITS for domain in DOMAINS
        }

    def size(self, split: Split, domain: str) -> int:
        if split == "test":
            return TEST
        return self.config.train_target if domain == "target" else self.config.train_background

    def composition(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Returns the parts of each item: column -> (n, ...).

        `where` (n, 5) are uniform numbers that choose the piece of grass, `salient` says whether
        the digit is shown, and `digit` is the number of the MNIST digit.
        """
        return self._tables[split, domain]

    def labels(self, split: Split, domain: str) -> Labels:
        if domain == "background":
            return {}
        table = self._tables[split, domain]
        return {"digit": np.where(table["salient"], self._mnist[split].classes[table["digit"]], -1)}

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch

        indices = as_indices(indices, self.size(split, domain))
        table = {name: values[indices] for name, values in self._tables[split, domain].items()}
        grass = torch.from_numpy(self.grass.take(split, domain, table["where"]))
        grass = grass.reshape(len(indices), *self.shape)
        salient = torch.from_numpy(table["salient"])[:, None, None, None]
        weight, unit = self._grass_weight(), 1 - self._grass_weight()  # of grass, and of a digit
        scale = self.config.grass_scale
        digits = unit * pad_digits(self._mnist[split].take(table["digit"]), SIDE)[:, None]
        background = grass * self._background_amplitude()
        if split == "train" and domain == "background" and self.config.background_noise:
            background = background + torch.from_numpy(self._noise(indices))[:, None]
        over = grass * (weight if scale is None else unit * scale) + digits
        if self.config.mode == "nonlinear":
            over = over * (grass > self.config.threshold)
        # Only noise can leave the range. `notes` reports its share.
        return torch.where(salient, over, background).clamp(0, 1) * 2 - 1

    def notes(self) -> list[str]:
        clipped = []
        if self.config.background_noise:
            grass = self.grass.take(
                "train", "background", self._tables["train", "background"]["where"][:200]
            )
            grass = grass.reshape(len(grass), *self.shape)
            noise = self._noise(np.arange(len(grass)))[:, None]
            noisy = grass * self._background_amplitude() + noise
            share = ((noisy < 0) | (noisy > 1)).mean()
            clipped = [
                f"background_noise takes {share:.1%} of the training background's pixels "
                "beyond black or white"
            ]
        return [*self._notes, *self._repetitions(), *self.grass.notes(), *clipped]

    def _repetitions(self) -> Iterator[str]:
        for split in SPLITS:
            size, digits = self.size(split, "target"), len(self._digits_of(split))
            if size > digits:
                yield (
                    f"{size} {split} targets show {digits} digits of MNIST, {size / digits:.3g} "
                    "times each on average"
                )

    def _grass_weight(self) -> float:
        scale = SCALE[self.config.mode]
        return scale / (1 + scale) if self.config.rho is None else self.config.rho

    def _background_amplitude(self) -> float:
        return self._grass_weight() if self.config.dim_background else 1.0

    def _noise(self, indices: np.ndarray) -> np.ndarray:
        """Returns each item's own noise (n, 28, 28) float32."""
        std = self.config.background_noise * self._background_amplitude() * self.grass.std
        drawn = [
            np.random.default_rng((SEED, 7, int(i))).standard_normal((SIDE, SIDE), np.float32)
            for i in indices
        ]
        return np.reshape(drawn, (-1, SIDE, SIDE)).astype(np.float32) * std

    def _digits_of(self, split: Split) -> np.ndarray:
        """Returns the numbers of the digit images that the mode shows."""
        digits = np.flatnonzero(self._mnist[split].classes < DIGITS[self.config.mode])
        if not len(digits):
            raise StudioError(
                f"MNIST's {split} part in {self.config.root} has none of the digits of mode "
                f"{self.config.mode}"
            )
        return digits

    def _draw_digits(self, split: Split, domain: str, size: int) -> np.ndarray:
        choices = self._digits_of(split)
        if self.config.digits == "random":
            return pick_in_turn(SEED, split, domain, choices, size)
        classes = self._mnist[split].classes[choices]
        return pick_equally(SEED, split, domain, choices, classes, size)

    def _table(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Draws the columns of `composition`."""
        size = self.size(split, domain)
        return {
            "where": np.stack([uniform_column(SEED, split, domain, i, size) for i in range(5)], 1),
            "salient": mark_salient(
                self.config, split, domain, uniform_column(SEED, split, domain, 5, size)
            ),
            "digit": self._draw_digits(split, domain, size),
        }
