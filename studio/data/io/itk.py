"""Volumes of ITK (.nrrd and .mha, with SimpleITK), with the axes of NIfTI."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from studio.data.io.slices import UnreadableError

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = ["ITK_ENDINGS", "open_itk", "write_itk"]

ITK_ENDINGS = (".nrrd", ".mha")
MISSING = "needs SimpleITK: pip install 'contrastive-studio[itk]'"


class ItkVoxels:
    """The voxels of a file, which are read at their first use.

    Attributes:
        shape: (x, y, z), and more if the file has more axes.
        dtype: type of the voxels.
        ndim: number of axes.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.shape, self.dtype, self.ndim = path, shape, dtype, len(shape)
        self._values: np.ndarray | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401 - any type of numpy
        return np.asarray(self[...], dtype)

    def __getitem__(self, index: Any) -> np.ndarray:  # noqa: ANN401 - any index of numpy
        if self._values is None:
            itk = _itk()
            values = itk.GetArrayFromImage(_call(lambda: itk.ReadImage(str(self.path))))
            self._values = np.reshape(values.T, self.shape)
        return cast("np.ndarray", self._values)[index]


def open_itk(path: Path) -> "SpatialImage":
    """Opens a .nrrd or .mha file without reading its voxels.

    Raises:
        UnreadableError: SimpleITK is not installed, the file cannot be read, or has several values
            per voxel.
    """
    from nibabel.spatialimages import SpatialImage

    itk = _itk()
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    _call(reader.ReadImageInformation)
    if reader.GetNumberOfComponents() != 1:
        raise UnreadableError(
            f"has {reader.GetNumberOfComponents()} values per voxel: expected one (gray)"
        )
    size, axes = reader.GetSize(), reader.GetDimension()
    shape = (*size, 1)[: max(3, axes)]
    affine, used = np.eye(4), min(3, axes)
    direction = np.reshape(reader.GetDirection(), (axes, axes))[:used, :used]
    affine[:used, :used] = direction * np.array(reader.GetSpacing())[:used]
    affine[:used, 3] = reader.GetOrigin()[:used]
    # The type is not known before a voxel is read.
    dtype = itk.GetArrayViewFromImage(itk.Image([1] * axes, reader.GetPixelID())).dtype
    voxels = ItkVoxels(path, shape, dtype)
    return SpatialImage(cast("Any", voxels), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def write_itk(path: Path, values: np.ndarray, out: Path) -> None:
    """Writes a copy of a file with other voxels.

    Args:
        path: the file.
        values: voxels (x, y, z) of the type of the file.
        out: the file to write. Its ending decides the format.
    """
    itk = _itk()
    source = _call(lambda: itk.ReadImage(str(path)))
    shape = source.GetSize()
    image = itk.GetImageFromArray(np.ascontiguousarray(values.reshape(shape).T), isVector=False)
    image.CopyInformation(source)
    for key in source.GetMetaDataKeys():
        if not key.startswith(("ITK_", "NRRD_")):
            image.SetMetaData(key, source.GetMetaData(key))
    itk.WriteImage(image, str(out), True)


def _itk() -> Any:  # noqa: ANN401 - an optional module
    try:
        import SimpleITK
    except ImportError:
        raise UnreadableError(MISSING) from None
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def _call(read: Any) -> Any:  # noqa: ANN401 - functions of SimpleITK
    """Calls a function of SimpleITK, whose errors have many lines."""
    try:
        return read()
    except RuntimeError as error:
        raise UnreadableError(f"cannot be read: {str(error).strip().splitlines()[-1]}") from None
