"""One plane of the volumes of a data set, as images: what `studio score` compares."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from studio.data.dataset import Dataset, Labels, Split, describe_shape
from studio.errors import StudioError, nearest
from studio.planes import PLANES

__all__ = ["PlaneView", "view_plane"]

READ = 64  # volumes in memory at a time


class PlaneView(Dataset):
    """The middle plane of each volume, with the attributes of the volume.

    Args:
        dataset: with volumes (C, D, H, W).
        plane: axial, coronal or sagittal.

    Attributes:
        axis: axis of a batch of volumes across which the plane lies.
        number: number of the plane, counted from 0.
        name: the plane in words.
    """

    def __init__(self, dataset: Dataset, plane: str) -> None:
        super().__init__(dataset.config)
        self.dataset, self.attributes = dataset, dataset.attributes
        self.axis = 2 + PLANES.index(plane)
        sides = list(dataset.shape)
        count = sides.pop(self.axis - 1)
        self.shape, self.number = tuple(sides), count // 2
        self.name = f"{plane} plane {self.number} of {count}"

    def cut(self, volumes: Tensor) -> Tensor:
        """Returns the plane of volumes (B, C, D, H, W), (B, C, h, w)."""
        return volumes.select(self.axis, self.number)

    def size(self, split: Split, domain: str) -> int:
        return self.dataset.size(split, domain)

    def labels(self, split: Split, domain: str) -> Labels:
        return self.dataset.labels(split, domain)

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        rows = np.asarray(indices)
        parts = [
            self.cut(self.dataset.images(split, domain, rows[start : start + READ]))
            for start in range(0, max(1, len(rows)), READ)
        ]
        return torch.cat(parts)


def view_plane(dataset: Dataset, plane: str | None) -> PlaneView | None:
    """Returns a plane of volumes, axial by default, or None for images.

    Raises:
        StudioError: the items are vectors, a plane of images is asked for, or there is no such
            plane.
    """
    shape = dataset.shape
    if len(shape) == 1:
        raise StudioError(
            "expected images (channels, height, width) or volumes to score, "
            f"found {describe_shape(shape)}: FID, KID and IS compare features of pictures, "
            "which these items do not have; studio probe measures codes and reconstructions"
        )
    if len(shape) == 3:
        if plane is not None:
            raise StudioError(f"--plane {plane}: needs volumes, found {describe_shape(shape)}")
        return None
    if plane is not None and plane not in PLANES:
        raise StudioError(f"--plane {plane}: no such plane{nearest(plane, PLANES)}")
    return PlaneView(dataset, plane or PLANES[0])
