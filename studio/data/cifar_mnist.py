"""`cifar_mnist`: CIFAR-10 images, half of them with an MNIST digit (Carton et al. 2024, Sec. 5).

background = 0.5 * CIFAR and target = 0.5 * CIFAR' + 0.5 * digit in [0, 1]. Both are then mapped to
[-1, 1], and nothing clips. At 64 px (Carton) CIFAR and digit are resized to the frame, bilinearly
with antialiasing. At 32 px the digit is padded with zeros, as in the code of Louiset et al.
(2024), whose papers have no CIFAR-10. Target and background share no CIFAR image. Train and test
share neither an image nor a digit, whereas the authors' code takes training digits for the
evaluation. The complete files have 5,000 test targets. Their digits are drawn at random, or equally
(`test_digits`): Carton et al. have 10,000 test images, "equally divided among the MNIST digits".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from studio.data.dataset import SPLITS, Attribute, Dataset, Labels, Split
from studio.data.indices import as_indices
from studio.data.io.files import LabelledImages, data_folder
from studio.data.item_tables import (
    ContaminationConfig,
    mark_salient,
    permute_split,
    pick,
    pick_equally,
    uniform_column,
)
from studio.data.sources.cifar import CIFAR_LAYOUT, OBJECTS, open_cifar
from studio.data.sources.mnist import MNIST_LAYOUT, open_mnist, pad_digits, resize_digits
from studio.domains import DOMAINS
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CifarMnist", "CifarMnistConfig"]

SEED = 10_2024
Opened = tuple[dict[Split, LabelledImages], list[str]]  # split -> images, and notes
AMPLITUDE = 0.5  # of either layer, Sec. 5


class CifarMnistConfig(ContaminationConfig):
    """The section of `cifar_mnist`."""

    name: Literal["cifar_mnist"] = "cifar_mnist"
    """Name of the data set."""

    resolution: Literal[32, 64] = 64
    """Side of the images.

    Unit: pixels.

    Source: 64 is that of Carton et al. (2024), Sec. 5, and 32 that of the code of
    Louiset et al. (2024).
    """

    background_amplitude: float = Field(default=AMPLITUDE, ge=0, le=AMPLITUDE)
    """Amplitude of CIFAR in the target images. In the background set it is always 0.5.

    Unit: none.

    Source: Carton et al. (2024), Sec. 5. Abid & Zou (2019), Fig. 7a, vary it.
    """

    test_digits: Literal["random", "equal"] = "random"
    """How the digits of the test targets are drawn. equal: each digit is on as many.

    Source: Carton et al. (2024), Sec. 5, have equal numbers.
    """


class CifarMnist(Dataset):
    """CIFAR-10 images (common), with an MNIST digit over them (salient) in the target set.

    Args:
        config: the data set's section.

    Raises:
        StudioError: a file of CIFAR-10 or MNIST is missing, cut short or of another kind.
    """

    Config = CifarMnistConfig
    LAYOUT = f"{CIFAR_LAYOUT}; {MNIST_LAYOUT}"
    config: CifarMnistConfig

    def __init__(self, config: CifarMnistConfig) -> None:
        super().__init__(config)
        root = data_folder(config, self.LAYOUT)
        (self._cifar, cifar_notes), (self._mnist, mnist_notes) = _both(root)
        self._notes = [*cifar_notes, *mnist_notes]
        self.shape = (3, config.resolution, config.resolution)
        digit = Attribute("salient", tuple("0123456789"), target_only=True)
        self.attributes = self._declare({"digit": digit, "object": Attribute("common", OBJECTS)})
        self._tables = {
            (split, domain): self._table(split, domain) for split in SPLITS for domain in DOMAINS
        }

    def size(self, split: Split, domain: str) -> int:
        return self._cifar[split].size // 2

    def composition(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Returns the parts of each item: column -> (n,).

        `object` is the number of the CIFAR image, `digit` the number of the MNIST digit, and
        `salient` says whether the digit is shown. Each domain takes one half of a permutation of
        CIFAR's images.
        """
        return self._tables[split, domain]

    def labels(self, split: Split, domain: str) -> Labels:
        table = self._tables[split, domain]
        labels = {"object": self._cifar[split].classes[table["object"]]}
        if domain == "background":
            return labels
        return {
            "digit": np.where(table["salient"], self._mnist[split].classes[table["digit"]], -1),
            **labels,
        }

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch
        from torch.nn.functional import interpolate

        rows = as_indices(indices, self.size(split, domain))
        table = {name: values[rows] for name, values in self._tables[split, domain].items()}
        side = self.config.resolution
        images = torch.from_numpy(self._cifar[split].take(table["object"]).astype(np.float32) / 255)
        if side != images.shape[-1]:
            images = interpolate(
                images, size=(side, side), mode="bilinear", antialias=True, align_corners=False
            )
        images *= self.config.background_amplitude if domain == "target" else AMPLITUDE
        if table["salient"].any():
            digits = self._mnist[split].take(table["digit"][table["salient"]])
            digits = pad_digits(digits, side) if side == 32 else resize_digits(digits, side)
            # The digit is the same on all three channels.
            images[torch.from_numpy(table["salient"])] += AMPLITUDE * digits[:, None]
        return images.mul_(2).sub_(1)

    def notes(self) -> list[str]:
        odd = [split for split in SPLITS if self._cifar[split].size % 2]
        spare = [
            f"one image of CIFAR-10's {split} part is left over: both domains get as many"
            for split in odd
        ]
        return [*self._notes, *spare]

    def _digits(self, split: Split, domain: str, size: int) -> np.ndarray:
        """Draws the numbers of the MNIST digits, (size,)."""
        every = np.arange(self._mnist[split].size)
        if split == "test" and self.config.test_digits == "equal":
            classes = self._mnist[split].classes
            return pick_equally(SEED, split, domain, every, classes, size)
        return pick(uniform_column(SEED, split, domain, 1, size), every)

    def _table(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Draws the columns of `composition`."""
        size, first = self.size(split, domain), self.size(split, domain) * DOMAINS.index(domain)
        return {
            "object": permute_split(SEED, split, self._cifar[split].size)[first : first + size],
            "digit": self._digits(split, domain, size),
            "salient": mark_salient(
                self.config, split, domain, uniform_column(SEED, split, domain, 2, size)
            ),
        }


def _both(root: Path) -> tuple[Opened, Opened]:
    """Opens CIFAR-10 and MNIST. If both fail, the message has both reasons."""
    found: list[Opened] = []
    faults: list[str] = []
    for opening in (open_cifar, open_mnist):
        try:
            found.append(opening(root))
        except StudioError as error:
            faults.append(str(error))
    if faults:
        raise StudioError("\n".join(faults))
    return found[0], found[1]
