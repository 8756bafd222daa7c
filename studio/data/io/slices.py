"""The part of a file that is an image: one slice of a volume, channels first, upright.

All functions return views of the file's array, so the same view serves for reading and for writing.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = [
    "MOST_PIXELS",
    "NiftiSlice",
    "Slice",
    "UnavailableError",
    "UnreadableError",
    "check_size",
    "count_array_slices",
    "count_nifti_slices",
    "locate_nifti_slice",
    "select_planes",
    "verify_gzip",
]

MOST_PIXELS = 2**26  # 8192 x 8192, below the size at which Pillow itself warns
BLOCK = 1 << 20  # bytes
FEWEST_SLICES = 5  # an array with a shorter side than this has channels, not slices

Slice = int | Literal["middle"]


class UnreadableError(Exception):
    """One file cannot be used.

    The message gives the reason and continues a sentence that begins with its name.
    """


class UnavailableError(UnreadableError):
    """One file cannot be used at the moment.

    The fault is not in the file, so a later attempt may succeed.
    """


@dataclass(frozen=True)
class NiftiSlice:
    """The position of an axial slice in a NIfTI file, or of an image that is a single slice.

    Axes are those of nibabel's `as_closest_canonical`: the patient's front is at the top and their
    right on the right. In a sagittal or coronal image their head is at the top.

    Attributes:
        index: index of the slice into the stored voxels.
        spacing: height and width of a pixel in mm.
    """

    index: tuple[slice | int, ...]
    spacing: tuple[float, float]
    _orientation: np.ndarray
    _axis: int  # the canonical axis of length 1

    def upright(self, block: np.ndarray) -> np.ndarray:
        """Returns an upright view (1, H, W) of the voxels at `index`."""
        import nibabel

        plane = nibabel.apply_orientation(np.atleast_3d(block), self._orientation).squeeze(
            self._axis
        )
        return plane.T[None, ::-1]


def select_planes(array: np.ndarray, at: Slice) -> np.ndarray:
    """Returns a view (C, H, W) of an image in any order of axes, or of a slice of a volume.

    Raises:
        UnreadableError: the array has another shape, or no such slice.
    """
    shape = array.shape
    if array.ndim == 2:
        planes = array[None]
    elif array.ndim != 3:
        raise UnreadableError(f"has shape {shape}: expected two or three axes")
    elif count_array_slices(array.shape):
        planes = array[:, :, _resolve_slice(at, shape[2])][None]
    elif (shape[0] in (1, 3)) != (shape[2] in (1, 3)):
        planes = array if shape[0] in (1, 3) else np.moveaxis(array, -1, 0)
    else:
        raise UnreadableError(f"has shape {shape}: expected 1 or 3 channels, first or last")
    check_size(*planes.shape[1:])
    return planes


def count_array_slices(shape: Sequence[int]) -> int:
    """Returns the number of slices of an array of this shape, 0 for an image."""
    return shape[2] if len(shape) == 3 and min(shape) >= FEWEST_SLICES else 0


def locate_nifti_slice(image: "SpatialImage", at: Slice) -> NiftiSlice:
    """Finds an axial slice of an opened NIfTI file without reading its voxels.

    Raises:
        UnreadableError: the file is neither an image nor a single volume, its affine leaves out an
            axis, or it has no such slice.
    """
    from nibabel.affines import voxel_sizes

    orientation, shape, axis = _canonical(image)
    becomes = orientation[:, 0].astype(int)  # stored axis -> canonical axis
    number = _resolve_slice(at, shape[axis]) if shape[axis] > 1 else 0
    number = number if orientation[axis, 1] > 0 else shape[axis] - 1 - number
    check_size(*np.delete(shape, axis))
    index = [slice(number, number + 1) if i == axis else slice(None) for i in range(3)]
    across, up = np.delete(voxel_sizes(image.affine)[np.argsort(becomes)], becomes[axis])
    index = (*index, 0, 0, 0, 0)[: len(image.shape)]
    return NiftiSlice(index, (float(up), float(across)), orientation, int(becomes[axis]))


def count_nifti_slices(image: "SpatialImage") -> int:
    """Returns the number of axial slices of an opened NIfTI file, 0 for a single slice.

    Raises:
        UnreadableError: as `locate_nifti_slice`.
    """
    _, shape, axis = _canonical(image)
    return shape[axis] if shape[axis] > 1 else 0


def _canonical(image: "SpatialImage") -> tuple[np.ndarray, tuple[int, ...], int]:
    """Returns the orientation, the first three sides, and the stored axis of the slices."""
    import nibabel

    if len(image.shape) < 2 or max(image.shape[3:], default=1) > 1:
        raise UnreadableError(f"has shape {image.shape}: expected an image or one volume")
    shape = (*image.shape, 1)[:3]
    orientation = nibabel.io_orientation(image.affine)
    if np.isnan(orientation).any():
        raise UnreadableError("has an affine that leaves out an axis")
    axis = shape.index(1) if 1 in shape else int(np.flatnonzero(orientation[:, 0] == 2)[0])
    return orientation, shape, axis


def _resolve_slice(at: Slice, slices: int) -> int:
    """Returns the number of a slice, with `middle` resolved."""
    if at == "middle":
        return slices // 2
    if at >= slices:
        raise UnreadableError(f"has {slices} slices, but data.slice is {at}")
    return at


def check_size(height: int, width: int) -> None:
    """Refuses sizes that cannot be one image.

    Raises:
        UnreadableError: the image has more than `MOST_PIXELS` pixels, or none.
    """
    if not 0 < height * width <= MOST_PIXELS:
        raise UnreadableError(
            f"is {width} x {height} pixels: expected at least 1 and at most {MOST_PIXELS}"
        )


def verify_gzip(path: Path) -> None:
    """Reads a gzip file to its end, where its checksum is. Other files are not read.

    nibabel stops at the last requested voxel, and a damaged bit usually yields other voxels
    instead of an error.

    Raises:
        OSError, EOFError, zlib.error: the file is damaged.
    """
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            while file.read(BLOCK):
                pass
