"""`textured_digits`: real handwritten digits over real photographs, all bundled with scikit-learn
and scikit-image.

The construction is that of CIFAR-10-MNIST (Carton et al. 2024, Sec. 5): background = 0.5 *
photograph, target = 0.5 * photograph + 0.5 * digit, with the digit resized to the frame. Nothing
is downloaded.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from studio.data.dataset import Attribute, DataConfig, Dataset, Labels, Split
from studio.data.indices import as_indices
from studio.data.sources.bundled import load_digit_images, load_photograph
from studio.domains import DOMAINS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "TexturedDigits",
    "TexturedDigitsConfig",
    "digit_images",
    "digit_numbers",
    "photograph_windows",
]

SIDE = 64  # pixels of photograph per image. At resolution 32 they are averaged two by two.
SIZES: dict[Split, int] = {"train": 25_000, "test": 5_000}  # per domain, as in CIFAR-10-MNIST
DIGITS, TEST_DIGITS = 1797, 449  # digit images, and how many of them are in the test split
TEST_SHARE = 0.3  # share of each photograph's width that belongs to the test split
PHOTOGRAPHS = ("brick", "coins", "grass", "gravel")


class TexturedDigitsConfig(DataConfig):
    """The section of `textured_digits`."""

    name: Literal["textured_digits"] = "textured_digits"
    """Name of the data set."""

    root: None = None
    """Not used: the images are bundled."""

    resolution: Literal[32, 64] = 32
    """Side of the images.

    Unit: pixels.

    Source: 64 is that of CIFAR-10-MNIST (Carton et al. 2024, Sec. 5).
    """

    photographs: list[Literal["brick", "camera", "coins", "grass", "gravel", "moon"]] = Field(
        default=list(PHOTOGRAPHS), min_length=2
    )
    """Names of the photographs of scikit-image, each a class of `texture`."""


class TexturedDigits(Dataset):
    """Digits (salient) over textures (common). Train and test share neither a digit image nor a
    region of a photograph.

    Item i of a split shows the same digit on the same piece of photograph at either resolution.

    Args:
        config: the data set's section.
    """

    Config = TexturedDigitsConfig
    config: TexturedDigitsConfig

    def __init__(self, config: TexturedDigitsConfig) -> None:
        super().__init__(config)
        self.shape = (1, config.resolution, config.resolution)
        self.attributes = self._declare(
            {
                "digit": Attribute("salient", tuple("0123456789"), target_only=True),
                "texture": Attribute("common", tuple(config.photographs)),
            }
        )
        self._classes = load_digit_images()[1]
        self._tables = {
            (split, domain): self._table(split, domain) for split in SIZES for domain in DOMAINS
        }

    def size(self, split: Split, domain: str) -> int:
        return SIZES[split]

    def composition(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Returns the parts of each item: column -> (n,).

        `texture` is the number of the photograph, `y` and `x` are uniform positions in it in [0,
        1), `flip` says whether the piece is mirrored, and `digit` is the number of the digit image
        (targets show it).
        """
        return self._tables[split, domain]

    def labels(self, split: Split, domain: str) -> Labels:
        table = self._tables[split, domain]
        labels = {"texture": table["texture"]}
        return {**labels, "digit": self._classes[table["digit"]]} if domain == "target" else labels

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch

        items = as_indices(indices, self.size(split, domain))
        table = {name: column[items] for name, column in self._tables[split, domain].items()}
        side = self.config.resolution
        photographs = np.empty((len(table["texture"]), side, side), np.float32)
        for texture in np.unique(table["texture"]):
            rows = table["texture"] == texture
            windows = self._windows[texture][split]
            height, width = windows.shape[:2]
            photographs[rows] = windows[
                (table["y"][rows] * height).astype(int), (table["x"][rows] * width).astype(int)
            ]
        photographs = np.where(table["flip"][:, None, None], photographs[:, :, ::-1], photographs)
        images = torch.from_numpy(photographs)
        if domain == "target":
            images = images + self._digits[table["digit"]]
        return images[:, None] - 1  # = 2 * (0.5 photograph + 0.5 digit) - 1

    # Pixels are prepared for the first image, so that `studio data check` needs no torch.

    @cached_property
    def _digits(self) -> "Tensor":
        return digit_images(self.config.resolution)

    @cached_property
    def _windows(self) -> list[dict[str, np.ndarray]]:
        return [
            photograph_windows(name, self.config.resolution) for name in self.config.photographs
        ]

    def _table(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Draws the columns of `composition`.

        Every column has its own generator, so none depends on another.
        """
        columns = ("texture", "y", "x", "flip", "digit")
        which = (list(SIZES).index(split), DOMAINS.index(domain))
        drawn = {
            name: np.random.default_rng((2024, *which, i)).random(SIZES[split])
            for i, name in enumerate(columns)
        }
        members = digit_numbers(split)
        return {
            "texture": (drawn["texture"] * len(self.config.photographs)).astype(np.int64),
            "digit": members[(drawn["digit"] * len(members)).astype(np.int64)],
            "y": drawn["y"],
            "x": drawn["x"],
            "flip": drawn["flip"] < 0.5,
        }


def digit_images(resolution: int) -> "Tensor":
    """Returns all digits in [0, 1], resized to the frame, (1797, side, side)."""
    import torch
    from torch.nn.functional import interpolate

    small = torch.from_numpy(load_digit_images()[0][:, None] / 16).float()
    resized = interpolate(small, size=(resolution, resolution), mode="bicubic", align_corners=False)
    return resized.clamp(0, 1)[:, 0]


def digit_numbers(split: Split) -> np.ndarray:
    """Returns the numbers of the digit images of a split."""
    order = np.random.default_rng(2024).permutation(DIGITS)
    return order[:TEST_DIGITS] if split == "test" else order[TEST_DIGITS:]


def photograph_windows(name: str, resolution: int) -> dict[str, np.ndarray]:
    """Returns all windows of a photograph's two regions, (rows, columns, side, side) in [0, 1]."""
    import torch
    from torch.nn.functional import avg_pool2d

    whole = torch.from_numpy(load_photograph(name) / 255).float()
    factor = SIDE // resolution
    whole = avg_pool2d(whole[None], factor)[0].numpy() if factor > 1 else whole.numpy()
    edge = int(whole.shape[1] * (1 - TEST_SHARE))
    regions = {"train": whole[:, :edge], "test": whole[:, edge:]}
    return {
        split: sliding_window_view(region, (resolution, resolution))
        for split, region in regions.items()
    }
