"""A data set of images, volumes or vectors."""

import numpy as np
import torch
from torch import Tensor

from studio.data import DataConfig, Dataset

SHAPES = {"colour": (3, 12, 12), "volume": (1, 8, 8, 8), "vector": (20,)}


class Blobs(Dataset):
    """Noise. The first channel, or the first number of a vector, is brighter in target images."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(DataConfig(name="blobs"))
        self.shape = shape
        self.attributes = {}

    def size(self, split: str, domain: str) -> int:
        return 200

    def labels(self, split: str, domain: str) -> dict:
        return {}

    def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
        rows = [
            np.random.default_rng((int(i), domain == "target")).uniform(-0.5, 0.5, self.shape)
            for i in indices
        ]
        images = torch.from_numpy(np.stack(rows)).float()
        images[:, 0] += 0.5 * (domain == "target")
        return images.clamp(-1, 1)
