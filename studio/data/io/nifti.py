"""Opening a NIfTI file, whatever the case of its name's ending, and faults of its orientation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from studio.data.io.slices import UnreadableError

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = ["Fault", "find_orientation_fault", "open_nifti", "orientation_notes"]

Fault = Literal["", "unknown", "contradictory"]

# The headers of NIfTI-2 and of NIfTI-1 name their format at these bytes.
FORMAT_AT = slice(4, 7), slice(344, 347)
FORMATS = b"n+2", b"n+1"
NIFTI_2 = 540  # length of the header of NIfTI-2, which is its first number


def open_nifti(path: Path) -> "SpatialImage":
    """Opens a .nii or .nii.gz file without reading its voxels.

    Raises:
        UnreadableError: an uncompressed file is shorter than its header says, or its name says that
            it is compressed.
    """
    import nibabel

    if path.name.lower().endswith(".gz"):
        _check_compression(path)
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


def find_orientation_fault(image: "SpatialImage") -> Fault:
    """Returns the fault of a file's orientation, or "".

    A header may state the directions of the axes twice (sform and qform), each with a code that is
    0 if it does not count. unknown: both codes are 0. contradictory: both count and differ in the
    directions of axes.
    """
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    if not isinstance(image, nibabel.Nifti1Pair):  # NIfTI-2 is one as well
        return ""
    try:
        sform, qform = (
            nibabel.io_orientation(affine) if code else None
            for affine, code in (image.get_sform(coded=True), image.get_qform(coded=True))
        )
    except HeaderDataError:  # of a qform that is no rotation
        return ""
    if sform is None and qform is None:
        return "unknown"
    if sform is None or qform is None or np.isnan(sform).any() or np.isnan(qform).any():
        return ""
    return "" if np.array_equal(sform, qform) else "contradictory"


def orientation_notes(faults: Sequence[Fault], unit: str = "NIfTI files") -> Iterator[str]:
    """Yields a note for each kind of fault, from the fault of every file."""
    look = "look at one with `studio data preview` and correct their headers if it is not upright"
    if count := faults.count("contradictory"):
        yield (
            f"orientation is contradictory in {count} of {len(faults)} {unit}: sform and qform "
            f"differ, and the sform is used; {look}"
        )
    if count := faults.count("unknown"):
        yield (
            f"orientation is unknown in {count} of {len(faults)} {unit}: sform_code and qform_code "
            f"are 0, so the first axis is taken to run from right to left; {look}"
        )


def _check_length(path: Path, image: "SpatialImage") -> None:
    """Refuses an uncompressed file that lacks voxels, because a slice may still be readable."""
    bytes_each = image.get_data_dtype().itemsize
    voxels = int(np.prod(image.shape, dtype=object))
    needed = int(getattr(image.dataobj, "offset", 0)) + voxels * bytes_each
    found = path.stat().st_size
    if found < needed:
        raise UnreadableError(f"is cut short: {found} bytes, expected {needed} by its header")


def _check_compression(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(FORMAT_AT[-1].stop)
    if any(start[place] in FORMATS for place in FORMAT_AT):
        right = path.name[: -len(".gz")]
        raise UnreadableError(
            f"is not compressed, although its name ends in {path.suffix}; rename it to {right}"
        )
