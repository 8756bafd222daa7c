"""The stored voxels of a file with volumes, and writing a changed copy with the file's header."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from studio.data.io.itk import ITK_ENDINGS, write_itk
from studio.data.io.slices import UnreadableError
from studio.data.io.volume_files import is_nifti, open_volume

if TYPE_CHECKING:
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.spatialimages import SpatialImage

__all__ = ["StoredVolume", "cast_values", "open_stored", "save_stored"]


class StoredVolume(NamedTuple):
    """The voxels of a file.

    Attributes:
        image: the opened file.
        plain: whether it is NIfTI.
        voxels: as they are stored.
        read: as they are read: voxels * slope + inter.
        slope: of the scale of the voxels.
        inter: offset of the scale of the voxels.
    """

    image: "SpatialImage"
    plain: bool
    voxels: np.ndarray
    read: np.ndarray
    slope: float
    inter: float

    @property
    def scaled(self) -> bool:
        """Whether voxels are stored with a scale."""
        return (self.slope, self.inter) != (1, 0)

    def begin(self, difference: bool) -> np.ndarray:
        """Returns a copy of the voxels, or voxels that are read as 0 for a difference."""
        if not difference:
            return self.voxels.copy()
        kind = self.voxels.dtype
        return np.full_like(self.voxels, cast_values(np.array(-self.inter / self.slope), kind))

    def store(self, values: np.ndarray) -> np.ndarray:
        """Converts values in the file's units to the type and scale of its voxels."""
        values = (values.astype(np.float64) - self.inter) / self.slope if self.scaled else values
        return cast_values(values, self.voxels.dtype)


def open_stored(path: Path) -> StoredVolume:
    """Opens a file and reads all its voxels.

    Raises:
        UnreadableError: the file is no plain NIfTI file, although its name ends so.
    """
    import nibabel

    image = open_volume(path)
    plain = isinstance(image, nibabel.Nifti1Image)
    if is_nifti(path) and not plain:
        raise UnreadableError(f"is a {type(image).__name__}, expected a plain NIfTI file")
    slope, inter = 1.0, 0.0
    if plain:
        voxels = cast("ArrayProxy", image.dataobj)
        stored, slope, inter = np.array(voxels.get_unscaled()), voxels.slope, voxels.inter
    else:
        stored = np.array(image.dataobj)
        stored = _narrow(stored) if path.is_dir() else stored
    scaled = (slope, inter) != (1, 0)
    read = np.asarray(image.dataobj) if scaled else stored
    return StoredVolume(image, plain, stored, read, slope, inter)


def save_stored(path: Path, stored: StoredVolume, voxels: np.ndarray, out: Path) -> None:
    """Writes a copy of a file with other voxels. A series of DICOM becomes one NIfTI file."""
    import nibabel

    if path.name.lower().endswith(ITK_ENDINGS) and not path.is_dir():
        write_itk(path, voxels, out)
        return
    image, plain = stored.image, stored.plain
    kind = cast("type[nibabel.Nifti1Image]", type(image)) if plain else nibabel.Nifti1Image
    result = kind(voxels, image.affine, image.header if plain else None)
    if stored.scaled:
        result.header.set_slope_inter(stored.slope, stored.inter)
    content = result.to_bytes()
    out.write_bytes(
        gzip.compress(content, 6, mtime=0) if out.name.lower().endswith(".gz") else content
    )


def cast_values(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Converts values to a file's type. Integers are rounded and clipped to its range."""
    if kind.kind == "b":
        return values >= 0.5
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return values.astype(np.float64).round().clip(limits.min, limits.max).astype(kind)
    return values.astype(kind)


def _narrow(values: np.ndarray) -> np.ndarray:
    """Returns whole numbers of a series, which is read as float32, with 16 bits if they suffice."""
    limits = np.iinfo(np.int16)
    whole = values.dtype == np.float32 and bool((values == np.rint(values)).all())
    if whole and limits.min <= values.min() and values.max() <= limits.max:
        return values.astype(np.int16)
    return values
