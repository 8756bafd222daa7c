"""A method with known images, and data sets of images that it can reproduce."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from studio.data import Attribute, DataConfig, Dataset
from studio.data.dataset import Labels, Transplant
from studio.method import Code, Domain, Method, MethodConfig

Z, S, SIDE, BLANK = 2, 3, 6, -0.5


class Painter(Method):
    """Paints z[k] into row 0, column k, and s[k] into the first k + 1 pixels of row 1 + k.

    It encodes an image by reading these pixels.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__(MethodConfig(name="painter", z=Z, s=S))
        self.nothing = torch.nn.Parameter(torch.full((S,), BLANK))
        self.channels = channels

    def encode(self, images: Tensor) -> Code:
        return Code(images[:, 0, 0, :Z], images[:, 0, 1 : 1 + S, 0])

    def decode(self, code: Code) -> Tensor:
        image = torch.zeros(len(code.z), self.channels, SIDE, SIDE)
        image[:, :, 0, :Z] = code.z[:, None]
        for k in range(S):
            image[:, :, 1 + k, : k + 1] = code.s[:, k, None, None]
        return image

    def prior(self, n: int, domain: Domain) -> Code:
        return Code(torch.rand(n, Z), self.blank(n) if domain == "background" else torch.rand(n, S))

    def blank(self, n: int) -> Tensor:
        return self.nothing.expand(n, -1)


class Painted(Dataset):
    """Images of the Painter: background images with a blank s, target images with any s."""

    def __init__(
        self,
        size: int = 40,
        attributes: dict[str, Attribute] | None = None,
        labels: Labels | None = None,
    ) -> None:
        super().__init__(DataConfig(name="painted"))
        self.shape = (1, SIDE, SIDE)
        self.n, self.attributes, self.known = size, attributes or {}, labels or {}

    def size(self, split: str, domain: str) -> int:
        return self.n if split == "test" else 0

    def labels(self, split: str, domain: str) -> Labels:
        here = {
            name
            for name, attribute in self.attributes.items()
            if domain == "target" or not attribute.target_only
        }
        return {name: column for name, column in self.known.items() if name in here}

    def code(self, domain: str, indices: Sequence[int] | np.ndarray) -> Code:
        codes = np.random.default_rng(domain == "target").uniform(-1, 1, (self.n, Z + S))[
            np.asarray(indices)
        ]
        z, s = torch.from_numpy(codes).float().split([Z, S], 1)
        return Code(z, s if domain == "target" else torch.full_like(s, BLANK))

    def images(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        return Painter(self.shape[0]).decode(self.code(domain, indices)).detach()

    def masks(self, split: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        masks = torch.zeros(len(indices), SIDE, SIDE, dtype=torch.bool)
        masks[:, 1 : 1 + S] = True
        return masks


class Healable(Painted):
    """Painted images with their true healthy counterparts."""

    def healthy(self, split: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        z = self.code("target", indices).z
        return Painter(self.shape[0]).decode(Code(z, torch.full((len(z), S), BLANK))).detach()

    def transplant(
        self, split: str, a: Sequence[int] | np.ndarray, b: Sequence[int] | np.ndarray
    ) -> Transplant:
        raise NotImplementedError


def levels(numbers: Tensor | Sequence[float]) -> list[int]:
    return ((torch.as_tensor(numbers) + 1) * 127.5).round().clamp(0, 255).int().tolist()


def read_codes(cell: np.ndarray) -> tuple[list[int], list[int]]:
    """Returns the levels of z and s in a cell of a picture."""
    return cell[0, :Z, 0].tolist(), cell[1 : 1 + S, 0, 0].tolist()


def codes_of(name: str, dataset: Painted) -> tuple[list[int], list[int]]:
    """Returns the levels of the codes of an image by its name, e.g. `target 12`."""
    domain, index = name.split()
    code = dataset.code(domain, [int(index)])
    return levels(code.z[0]), levels(code.s[0])
