"""Reading whole NIfTI volumes into one orientation, whatever their storage order."""

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studio.data.io.images import LARGEST, UnreadableError
from studio.data.io.nifti import open_nifti
from studio.data.io.slices import UnavailableError, verify_gzip
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
    """

    values: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]


def read_volume(path: Path) -> Volume:
    """Reads a .nii or .nii.gz file.

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
        volume = _read(path)
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
    odd = np.count_nonzero(~(np.abs(volume.values) < LARGEST))
    if odd:
        raise UnreadableError(f"has {odd} voxels that are NaN, infinite or beyond {LARGEST:g}")
    return volume


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


def _read(path: Path) -> Volume:
    import nibabel
    from nibabel.affines import voxel_sizes

    image = open_nifti(path)
    if len(image.shape) < 3 or max(image.shape[3:], default=1) > 1:
        raise UnreadableError(f"has shape {image.shape}: expected one volume of three axes")
    kind = image.get_data_dtype()
    if kind.kind not in "buif":
        raise UnreadableError(f"holds values of the type {kind}: expected real numbers")
    check_voxel_count(image.shape)
    orientation = nibabel.io_orientation(image.affine)
    if np.isnan(orientation).any():
        raise UnreadableError("has an affine that leaves out an axis")
    # Values beyond float32 become infinite, and `read_volume` then refuses them.
    with np.errstate(over="ignore"):
        stored = np.asarray(image.dataobj).reshape(image.shape[:3]).astype(np.float32)
    values = nibabel.apply_orientation(stored, orientation)
    affine = image.affine @ nibabel.orientations.inv_ornt_aff(orientation, image.shape[:3])
    return Volume(values, tuple(voxel_sizes(affine).tolist()), tuple(affine[:3, 3].tolist()))
