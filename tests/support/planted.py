"""Data sets with planted attributes."""

import numpy as np
import torch
from torch import Tensor

from studio.data import Attribute, DataConfig, Dataset
from studio.method import Code, Method, MethodConfig

N = 600


class Planted(Dataset):
    """Images of 2x4 pixels of noise with planted attributes.

    A category is in the lower row, a number and a shared category are in the upper row.
    """

    def __init__(self) -> None:
        super().__init__(DataConfig(name="planted"))
        self.shape = (1, 2, 4)
        self.attributes = {
            "kind": Attribute("salient", ("a", "b", "c"), target_only=True),
            "size": Attribute("common"),
            "place": Attribute("common", ("left", "right")),
        }

    def size(self, split: str, domain: str) -> int:
        return N

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([split == "test", domain == "target"])
        labels = {
            "size": rng.normal(size=N),
            "place": rng.integers(2, size=N),
            "kind": rng.integers(3, size=N),
        }
        labels["size"][:5] = np.nan
        if domain == "background":
            del labels["kind"]
        return labels

    def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
        rng = np.random.default_rng([7, split == "test", domain == "target"])
        images, labels = rng.normal(size=(N, 1, 2, 4)) * 0.3, Planted.labels(self, split, domain)
        images[:, 0, 0, 0] = np.nan_to_num(labels["size"])
        images[:, 0, 0, 1] += 3 * labels["place"]
        if domain == "target":
            for kind in range(3):
                images[:, 0, 1, kind] += 3 * (labels["kind"] == kind)
        return torch.from_numpy(images[np.asarray(indices)]).float()


class Rows(Method):
    """A method whose z is the upper row of an image and whose s is the lower row."""

    def __init__(self) -> None:
        super().__init__(MethodConfig(name="rows", z=4, s=4))
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def encode(self, images: Tensor) -> Code:
        return Code(images[:, 0, 0], images[:, 0, 1])

    def decode(self, code: Code) -> Tensor:
        return torch.stack(code, 1)[:, None]

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, 4)


class Sparse(Planted):
    """Labels that few images have.

    Each split has one image of the third kind, eight images with a size, and places on targets
    only.
    """

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        labels = super().labels(split, domain)
        labels["size"][8:], labels["size"][:8] = np.nan, np.arange(8)
        if domain == "background":
            del labels["place"]
            labels["size"][:] = np.nan
        else:
            labels["kind"] = np.where(np.arange(N) == 4, 2, np.minimum(labels["kind"], 1))
            labels["kind"][100:] = -1
        return labels
