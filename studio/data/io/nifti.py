"""Opening a NIfTI file, whatever the case of its name's ending."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from studio.data.io.slices import UnreadableError

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = ["open_nifti"]

NIFTI_2 = 540  # length of the header of NIfTI-2, which is its first number


def open_nifti(path: Path) -> "SpatialImage":
    """Opens a .nii or .nii.gz file without reading its voxels.

    Raises:
        UnreadableError: an uncompressed file is shorter than its header says.
    """
    import nibabel

    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.load(path)
    else:
        # nibabel's `load` changes an ending such as `.Nii.Gz` to lower case. It would then open a
        # file of that name, which is another one or does not exist.
        holder = nibabel.FileHolder(filename=str(path))
        with holder.get_prepare_fileobj("rb") as file:
            start = file.read(4)
        second = NIFTI_2 in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))
        kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        image = kind.from_file_map({"header": holder, "image": holder})
    opened = cast("SpatialImage", image)
    if not path.name.lower().endswith(".gz"):
        _check_length(path, opened)
    return opened


def _check_length(path: Path, image: "SpatialImage") -> None:
    """Refuses an uncompressed file that lacks voxels, because a slice may still be readable."""
    bytes_each = image.get_data_dtype().itemsize
    voxels = int(np.prod(image.shape, dtype=object))
    needed = int(getattr(image.dataobj, "offset", 0)) + voxels * bytes_each
    found = path.stat().st_size
    if found < needed:
        raise UnreadableError(f"is cut short: {found} bytes, expected {needed} by its header")
