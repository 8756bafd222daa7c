"""Files with volumes, whatever their format: NIfTI, ITK, and folders with a series of DICOM."""

from pathlib import Path
from typing import TYPE_CHECKING

from studio.data.io.dicom_series import dicom_files, open_series
from studio.data.io.itk import ITK_ENDINGS, open_itk
from studio.data.io.nifti import Fault, find_orientation_fault, open_nifti

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = ["NIFTI_ENDINGS", "file_stamp", "has_volumes", "is_nifti", "open_volume", "read_fault"]

NIFTI_ENDINGS = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """Returns whether a file has an ending of NIfTI."""
    return path.name.lower().endswith(NIFTI_ENDINGS)


def has_volumes(path: Path) -> bool:
    """Returns whether `open_volume` opens a file or folder."""
    return path.name.lower().endswith((*NIFTI_ENDINGS, *ITK_ENDINGS)) or path.is_dir()


def open_volume(path: Path) -> "SpatialImage":
    """Opens a volume without reading its voxels.

    Args:
        path: a .nii, .nii.gz, .nrrd or .mha file, or the folder of a DICOM series.

    Raises:
        UnreadableError: the file cannot be used, or the package that reads it is not installed.
    """
    if path.is_dir():
        return open_series(path)
    return open_nifti(path) if is_nifti(path) else open_itk(path)


def read_fault(path: Path, image: "SpatialImage") -> Fault | None:
    """Returns the fault of the orientation of a NIfTI file, or None for others."""
    return find_orientation_fault(image) if is_nifti(path) else None


def file_stamp(path: Path) -> tuple[int, int]:
    """Returns size in bytes and modification time in ns, of a series the sum and the latest.

    Raises:
        OSError: there is no such file.
    """
    found = path.stat()
    if not path.is_dir():
        return found.st_size, found.st_mtime_ns
    inside = [file.stat() for file in dicom_files(path)]
    times = [found.st_mtime_ns, *(each.st_mtime_ns for each in inside)]
    return sum(each.st_size for each in inside), max(times)
