"""Reading one image from a file of any supported format, and fitting it to a square.

Of a volume, only the chosen slice is read (`studio.data.io.slices`). The data set `folders` reads
all its files in this way. `brats` does not, it needs whole volumes (`studio.data.io.volumes`).

Importing this module silences Pillow's `DecompressionBombWarning` for the whole process, because
images beyond `MOST_PIXELS` are refused with an error of our own.
"""

import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from studio.data.io.arrays import open_array
from studio.data.io.background import fill_nan
from studio.data.io.dicom import DICOM_ENDINGS, read_dicom, read_frame
from studio.data.io.itk import ITK_ENDINGS
from studio.data.io.nifti import Fault
from studio.data.io.pictures import PICTURES, read_pixels
from studio.data.io.slices import (
    MOST_PIXELS,
    PLAIN,
    Slice,
    SlicePlace,
    UnreadableError,
    VolumeOptions,
    find_volume,
    locate_nifti_slice,
    place_array_slice,
    place_nifti_slice,
    select_planes,
    verify_gzip,
)
from studio.data.io.volume_files import (
    NIFTI_ENDINGS,
    file_stamp,
    has_volumes,
    open_volume,
    read_fault,
)
from studio.lfs import POINTER, is_pointer

__all__ = [
    "EIGHT_BIT",
    "FORMATS",
    "KINDS",
    "Picture",
    "Slice",
    "UnreadableError",
    "as_real",
    "check_finite",
    "convert_channels",
    "decode_picture",
    "explain_read_errors",
    "is_gray",
    "is_image",
    "nan_remedy",
    "read_image",
    "scale_pixels",
]

FORMATS = (*PICTURES, ".npy", *DICOM_ENDINGS, *ITK_ENDINGS, *NIFTI_ENDINGS)
KINDS = "png, jpg, tif, webp, bmp, npy, dcm, nrrd, mha, nii or nii.gz"
EIGHT_BIT = (0.0, 255.0)  # window of 8-bit images
LARGEST = 1e30  # larger values would overflow during resizing
Measure = Callable[[np.ndarray], tuple[float, float]]  # of an image or volume
NEARLY = 3  # difference of the colours of 8-bit gray that a JPEG has compressed as RGB
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in Pillow's "L"

warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Picture:
    """One image as it is on disk.

    Attributes:
        values: (C, H, W), uint8 if the file has 8 bits per channel, else float32 in the file's own
            units.
        size: height and width on disk. The values of a JPEG may be smaller, see `read_image`.
        spacing: height and width of a pixel. Only their ratio is used.
        transparent: whether the image had an alpha channel and was put on black.
        stamp: size in bytes and modification time in ns of the file.
        place: position of the slice in its volume, None for an image.
        orientation: fault of the orientation of a NIfTI file. None: the file is not NIfTI.
        filled: number of NaN that were replaced.
        type: type of the values in the file, such as uint16, after the scale of a NIfTI file.
        window: what `measure` returned, see `read_image`.
        stated: values of black and white that the header of a DICOM file states.
    """

    values: np.ndarray
    size: tuple[int, int]
    spacing: tuple[float, float] = (1.0, 1.0)
    transparent: bool = False
    stamp: tuple[int, int] = (0, 0)
    place: SlicePlace | None = None
    orientation: Fault | None = None
    filled: int = 0
    type: str = "uint8"
    window: tuple[float, float] | None = None
    stated: tuple[float, float] | None = None


def is_image(name: str) -> bool:
    """Returns whether a file name has the ending of an image and can be printed."""
    return name.lower().endswith(FORMATS) and not any(
        "\ud800" <= letter <= "\udfff" for letter in name
    )


def read_image(
    path: Path,
    at: Slice = "middle",
    least: int | None = None,
    again: bool = False,
    options: VolumeOptions = PLAIN,
    measure: Measure | None = None,
) -> Picture:
    """Reads one image.

    Args:
        path: a file in one of `FORMATS`, or the folder of a DICOM series.
        at: number of the slice to read from a volume, or `middle`.
        least: sufficient length of the shorter side in pixels. A larger JPEG is decoded at a
            fraction of its size.
        again: skip the checksum of a compressed file. The file was verified before, and the caller
            compares stamps.
        options: how slices are taken from volumes, and the treatment of NaN.
        measure: called with the values of the image, or of the whole volume. Its result is the
            picture's `window`.

    Raises:
        UnreadableError: the file is broken, too large, or of an unsupported kind.
    """
    with explain_read_errors():
        stamp = file_stamp(path)
        if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
            raise UnreadableError("is not a file")
        if stamp[0] == 0:
            raise UnreadableError("is empty (0 bytes)")
        if is_pointer(path):
            raise UnreadableError(f"is {POINTER}")
        picture = _decode(path, at, least, options, measure)
        if not again:
            verify_gzip(path)
    values, filled = fill_nan(picture.values, options.nan)
    check_finite(values)
    window = picture.window
    if measure is not None and picture.place is None:
        window = measure(values)
    return replace(picture, values=values, filled=filled, stamp=stamp, window=window)


def _decode(
    path: Path, at: Slice, least: int | None, options: VolumeOptions, measure: Measure | None
) -> Picture:
    """Decodes a file of any format, by its ending."""
    name = path.name.lower()
    if has_volumes(path):
        return _read_volume(path, at, options, measure)
    if name.endswith(".npy"):
        return _read_array(path, at, options, measure)
    if name.endswith(DICOM_ENDINGS) or not name.endswith(PICTURES):
        values, stated, spacing = read_frame(read_dicom(path))
        kind = _type_name(values)
        return Picture(as_real(values), values.shape[1:], spacing, type=kind, stated=stated)
    with path.open("rb") as file:
        return decode_picture(file, least)


def decode_picture(file: IO[bytes], least: int | None = None) -> Picture:
    """Decodes a picture. The size is checked before anything is decoded.

    Args:
        file: opened for reading, at its start.
        least: see `read_image`.

    Raises:
        UnreadableError: the picture cannot be used, see `studio.data.io.pictures`.
        Exception: whatever Pillow raises for a damaged file, see `explain_read_errors`.
    """
    return Picture(**read_pixels(file, least)._asdict())


@contextmanager
def explain_read_errors() -> Iterator[None]:
    """Translates every error of a decoder into plain words.

    Raises:
        UnreadableError: the block raised any error.
    """
    try:
        yield
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError(f"has more than {MOST_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise UnreadableError("is no PNG, JPEG, TIFF, WebP or BMP, despite its name") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # decoders raise nearly anything: SyntaxError, zlib.error, ...
        raise UnreadableError(f"cannot be decoded: {error or type(error).__name__}") from error


def check_finite(values: np.ndarray) -> None:
    """Refuses values that cannot be resized.

    Raises:
        UnreadableError: a value is NaN, infinite or beyond `LARGEST`.
    """
    odd = np.count_nonzero(~(np.abs(values) < LARGEST))
    if odd:
        raise UnreadableError(
            f"has {odd} values that are NaN, infinite or beyond {LARGEST:g}{nan_remedy(values)}"
        )


def nan_remedy(values: np.ndarray) -> str:
    """Returns the option that replaces NaN, as the end of a message, "" if there are none."""
    missing = np.isnan(values)
    if not missing.any():
        return ""
    if missing.all():
        return " (all are NaN)"
    return " (data.nan: 0, or background, replaces NaN)"


def convert_channels(values: np.ndarray, channels: int | None) -> np.ndarray:
    """Returns an image (C, H, W) as gray (1) or RGB (3), or unchanged if `channels` is None."""
    if channels == 3 and len(values) == 1:
        return values.repeat(3, axis=0)
    if channels == 1 and is_gray(values):
        return values[len(values) // 2][None]  # of nearly gray ones green, which is closest to gray
    if channels == 1 and len(values) == 3:
        gray = np.tensordot(LUMA, values.astype(np.float32), axes=1)[None]
        return gray.round().astype(np.uint8) if values.dtype == np.uint8 else gray
    return values


def is_gray(values: np.ndarray) -> bool:
    """Returns whether an image (C, H, W) is gray, also where it is saved as RGB.

    The colours of 8-bit gray may differ by `NEARLY`.
    """
    if len(values) != 3:
        return len(values) == 1
    if values.dtype != np.uint8:
        return bool((values == values[:1]).all())
    return bool((values.max(0) - values.min(0) <= NEARLY).all())


def scale_pixels(pixels: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Maps pixels from the window to float32 in [-1, 1]."""
    low, high = window
    return ((pixels.astype(np.float32) - low) / (high - low)).clip(0, 1) * 2 - 1


def _read_array(path: Path, at: Slice, options: VolumeOptions, measure: Measure | None) -> Picture:
    """Reads an image, or a slice of a volume, from a memory map of the file."""
    array = open_array(path)
    planes = select_planes(array, at, options)
    place = place_array_slice(array.shape, at, options)
    window = None
    if measure is not None and place is not None:
        whole = array[(..., *find_volume(array.shape, options))]
        window = measure(fill_nan(as_real(whole), options.nan)[0])
    kind = _type_name(planes)
    return Picture(as_real(planes), planes.shape[1:], place=place, type=kind, window=window)


def _read_volume(path: Path, at: Slice, options: VolumeOptions, measure: Measure | None) -> Picture:
    """Reads one slice, see `locate_nifti_slice`. The others are only read to be measured."""
    image = open_volume(path)
    where = locate_nifti_slice(image, at, options)
    planes = where.upright(image.dataobj[where.index])
    place, window = place_nifti_slice(image, at, options), None
    if measure is not None and place is not None:
        whole = np.asarray(image.dataobj[(..., *find_volume(image.shape, options))])
        window = measure(fill_nan(as_real(whole), options.nan)[0])
    return Picture(
        as_real(planes),
        planes.shape[1:],
        where.spacing,
        place=place,
        orientation=read_fault(path, image),
        type=_type_name(planes),
        window=window,
    )


def _type_name(values: np.ndarray) -> str:
    """Returns the name of an array's type. Boolean arrays are read as 8-bit."""
    return "uint8" if values.dtype == bool else values.dtype.name


def as_real(values: np.ndarray) -> np.ndarray:
    """Copies an array as uint8 if it is 8-bit or boolean, else as float32.

    Raises:
        UnreadableError: the array does not hold real numbers.
    """
    if values.dtype.kind not in "buif":
        raise UnreadableError(f"holds values of the type {values.dtype}: expected real numbers")
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    # Values beyond float32 become infinite, and `check_finite` then refuses them.
    with np.errstate(over="ignore"):
        return np.array(values, np.uint8 if values.dtype == np.uint8 else np.float32)
