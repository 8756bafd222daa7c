"""Reading whole NIfTI volumes into one orientation, whatever their storage order.

The data set `brats` reads its scans and masks with this module, because the window of a scan
depends on all its voxels. `folders` reads single slices instead (`studio.data.io.images`).
"""

import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from studio.data.io.background import NanRule, fill_nan
from studio.data.io.images import LARGEST, UnreadableError, nan_remedy
from studio.data.io.nifti import Fault, find_orientation_fault, open_nifti
from studio.data.io.slices import (
    UnavailableError,
    VolumeOptions,
    find_orientation,
    find_volume,
    verify_gzip,
)
from studio.lfs import POINTER, is_pointer

__all__ = ["Volume", "axial_slice", "check_voxel_count", "read_volume"]

MOST_VOXELS = 2**28  # 645 along each side (a head at 1 mm has 2**23)


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume with nibabel's canonical axes: to the patient's right, front and head.

    Attributes:
        values: (X, Y, Z) float32, in the file's own units.
        spacing: size of a voxel along these axes in mm.
        origin: position of the first voxel in mm.
        affine: (4, 4) from numbers of voxels along these axes to mm. The axes may lie obliquely.
        orientation: fault of the file's orientation, or "".
        filled: number of NaN that were replaced.
        axes: directions of the axes as they are stored, such as LAS.
    """

    values: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    affine: np.ndarray
    orientation: Fault = ""
    filled: int = 0
    axes: str = "RAS"


def read_volume(path: Path, volume: int | None = None, nan: NanRule = None) -> Volume:
    """Reads a .nii or .nii.gz file.

    Args:
        path: the file.
        volume: number of the volume to take from a file with several.
        nan: the value that NaN become, see `studio.data.io.background.fill_nan`.

    Raises:
        UnavailableError: the system fails (no permission, a disk error, too little memory).
        UnreadableError: the file is broken, cut short, too large, not a single volume of real
            numbers, or has values that are not finite. The message continues a sentence that
            begins with the file's name.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("is not a file")
        if found.st_size == 0:
            raise UnreadableError("is empty (0 bytes)")
        if is_pointer(path):
            raise UnreadableError(f"is {POINTER}")
        with path.open("rb") as file:
            file.read(1)  # because nibabel hides the reason if it cannot
        read = _read(path, volume)
        verify_gzip(path)
    except UnreadableError:
        raise
    except MemoryError as error:
        raise UnavailableError(f"does not fit into memory: {error}") from error
    except OSError as error:
        # Errors of a damaged file have no error number of the system.
        kind = UnavailableError if error.errno else UnreadableError
        raise kind(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # nibabel, gzip and zlib raise nearly anything for broken files
        raise UnreadableError(f"cannot be decoded: {error or type(error).__name__}") from error
    values, filled = fill_nan(read.values, nan)
    odd = np.count_nonzero(~(np.abs(values) < LARGEST))
    if odd:
        raise UnreadableError(
            f"has {odd} voxels that are NaN, infinite or beyond {LARGEST:g}{nan_remedy(values)}"
        )
    return replace(read, values=values, filled=filled)


def axial_slice(values: np.ndarray, number: int) -> np.ndarray:
    """Returns an axial slice (H, W) of canonical values (X, Y, Z).

    The patient's front is at the top and their right on the right.
    """
    return values[:, :, number].T[::-1]


def check_voxel_count(shape: Sequence[int]) -> None:
    """Refuses a volume that is too large to be held in memory.

    Raises:
        UnreadableError: the volume has more than `MOST_VOXELS` voxels, or none.
    """
    if not 0 < np.prod(shape, dtype=np.int64) <= MOST_VOXELS:
        raise UnreadableError(f"has shape {tuple(shape)}: expected at most {MOST_VOXELS} voxels")


def _read(path: Path, number: int | None) -> Volume:
    import nibabel
    from nibabel.affines import voxel_sizes

    image = open_nifti(path)
    if len(image.shape) < 3 or (number is None and max(image.shape[3:], default=1) > 1):
        raise UnreadableError(f"has shape {image.shape}: expected one volume of three axes")
    kind = image.get_data_dtype()
    if kind.kind not in "buif":
        raise UnreadableError(f"holds values of the type {kind}: expected real numbers")
    check_voxel_count(image.shape[:3])
    chosen = (..., *find_volume(image.shape, VolumeOptions(volume=number)))
    orientation = find_orientation(image)
    # Values beyond float32 become infinite, and `read_volume` then refuses them.
    with np.errstate(over="ignore"):
        stored = np.asarray(image.dataobj[chosen]).reshape(image.shape[:3]).astype(np.float32)
    values = nibabel.apply_orientation(stored, orientation)
    affine = image.affine @ nibabel.orientations.inv_ornt_aff(orientation, image.shape[:3])
    return Volume(
        values,
        tuple(voxel_sizes(affine).tolist()),
        tuple(affine[:3, 3].tolist()),
        affine,
        find_orientation_fault(image),
        axes="".join(nibabel.aff2axcodes(image.affine)),
    )
