"""A series of DICOM files in one folder as a volume, with the axes of NIfTI.

The place of each slice comes from its header (ImagePositionPatient and ImageOrientationPatient,
DICOM PS3.3 C.7.6.2), never from its file name or its number. DICOM counts to the patient's left and
back, NIfTI to the right and front, so the first two axes of the affine change their sign.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from studio.data.io.dicom import DICOM_ENDINGS, is_dicom, read_dicom, read_frame
from studio.data.io.names import join_names
from studio.data.io.slices import UnreadableError

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage
    from pydicom import Dataset

__all__ = ["dicom_files", "is_series", "open_series"]

TAGS = [
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
    *("SamplesPerPixel", "PhotometricInterpretation"),
]
SLICED = ("CT", "MR", "PT", "NM")  # modalities whose series are volumes
CLOSE = 1e-3  # mm, and tolerance of directions
GAP = 1.5  # a distance of slices that is larger than the usual one by this factor lacks a slice


class SeriesVoxels:
    """The voxels of a series, which are read slice by slice.

    Args:
        files: the files in the order of the slices.
        shape: (columns, rows, slices).

    Attributes:
        shape: (columns, rows, slices).
        dtype: type of the voxels.
        ndim: number of axes.
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, files: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self.files, self.shape = files, shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401 - any type of numpy
        return self[...].astype(dtype or self.dtype)

    def __getitem__(self, index: Any) -> np.ndarray:  # noqa: ANN401 - any index of numpy
        index = index if isinstance(index, tuple) else (index,)
        if len(index) < 3 or Ellipsis in index or isinstance(index[2], int):
            return self._read(range(len(self.files)))[index]
        block = self._read(range(len(self.files))[index[2]])
        return block[index[0], index[1]]

    def _read(self, numbers: Sequence[int]) -> np.ndarray:
        """Returns slices (columns, rows, n)."""
        block = np.empty((*self.shape[:2], len(numbers)), self.dtype)
        for place, number in enumerate(numbers):
            try:
                block[..., place] = read_frame(read_dicom(self.files[number])).values[0].T
            except UnreadableError as error:
                raise UnreadableError(f"has {self.files[number].name}, which {error}") from None
        return block


def dicom_files(folder: Path) -> list[Path]:
    """Returns the DICOM files directly in a folder, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and (path.name.lower().endswith(DICOM_ENDINGS) or is_dicom(path))
    )


def is_series(files: Sequence[Path]) -> bool:
    """Returns whether the DICOM files of a folder are slices, not images on their own.

    They are if several of them belong to one series and have places in space. Whether they make
    exactly one volume is found out by `open_series`.
    """
    if len(files) < 2:
        return False
    headers = []
    for path in files:
        with suppress(Exception):  # `open_series`, or the file itself, will say what is wrong
            headers.append(_header(path))
    counts = Counter(header.get("SeriesInstanceUID") for header in headers)
    return any(
        counts[header.get("SeriesInstanceUID")] > 1
        and ("ImagePositionPatient" in header or header.get("Modality") in SLICED)
        for header in headers
        if "SeriesInstanceUID" in header
    )


def open_series(folder: Path) -> "SpatialImage":
    """Opens the series of a folder without reading its pixels.

    Raises:
        UnreadableError: the folder has several series, or images that make no volume: in colour, of
            several frames, without a place, of several sizes or directions, at the same place, or
            with missing slices.
    """
    from nibabel.spatialimages import SpatialImage

    files = dicom_files(folder)
    headers = [_header(path) for path in files]
    _refuse_mixture(headers)
    first = headers[0]
    across, down = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    places = np.array([header.ImagePositionPatient for header in headers], float)
    heights = places @ np.cross(across, down)
    order = np.argsort(heights)
    gaps = np.diff(heights[order])
    if gaps.min() < CLOSE:
        raise UnreadableError(
            f"has {int((gaps < CLOSE).sum()) + 1} or more images at the same place (echoes, phases "
            "or copies): keep one image per place"
        )
    if gaps.max() > GAP * np.median(gaps):
        raise UnreadableError(
            f"lacks slices: they are {gaps.min():.4g} to {gaps.max():.4g} mm apart"
        )
    row, column = (float(part) for part in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * column, down * row
    affine[:3, 2] = (places[order[-1]] - places[order[0]]) / (len(files) - 1)
    affine[:3, 3] = places[order[0]]
    shape = int(first.Columns), int(first.Rows), len(files)
    voxels = SeriesVoxels([files[number] for number in order], shape)
    return SpatialImage(cast("Any", voxels), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _header(path: Path) -> "Dataset":
    try:
        return read_dicom(path, stop_before_pixels=True, specific_tags=TAGS)
    except UnreadableError as error:
        raise UnreadableError(f"has {path.name}, which {error}") from None


def _refuse_mixture(headers: "Sequence[Dataset]") -> None:
    """Refuses files that are not the slices of one volume."""
    series = Counter(str(header.get("SeriesInstanceUID")) for header in headers)
    if len(series) > 1:
        names = {str(header.get("SeriesInstanceUID")): _series_name(header) for header in headers}
        counts = [f"{names[key]} ({count} of the files)" for key, count in series.most_common()]
        raise UnreadableError(
            f"is a folder of {len(series)} DICOM series: {join_names(counts)}; give each its own"
        )
    if any(int(header.get("SamplesPerPixel") or 1) != 1 for header in headers):
        raise UnreadableError("is a DICOM series in colour (RGB): expected gray slices")
    if any(int(header.get("NumberOfFrames") or 1) != 1 for header in headers):
        raise UnreadableError("is a DICOM series of several frames per file: expected one")
    for name, words in (
        ("ImagePositionPatient", "places"),
        ("ImageOrientationPatient", "directions"),
        ("PixelSpacing", "sizes of pixels"),
    ):
        lacking = sum(header.get(name) is None for header in headers)
        if lacking:
            raise UnreadableError(
                f"is a DICOM series without {words} in {lacking} of {len(headers)} files ({name})"
            )
    for name, words in (
        ("ImageOrientationPatient", "directions"),
        ("PixelSpacing", "sizes of pixels"),
        ("Rows", "heights"),
        ("Columns", "widths"),
    ):
        values = np.array([np.ravel(header.get(name)).astype(float) for header in headers])
        if np.ptp(values, axis=0).max() > CLOSE:
            raise UnreadableError(f"is a DICOM series with slices of several {words} ({name})")


def _series_name(header: "Dataset") -> str:
    named = header.get("SeriesDescription") or header.get("Modality") or "without a name"
    number = header.get("SeriesNumber")
    return f"{named}" if number is None else f"{number} {named}"
