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
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from studio.data.io.background import fill_nan
from studio.data.io.nifti import Fault, find_orientation_fault, open_nifti
from studio.data.io.slices import (
    MOST_PIXELS,
    PLAIN,
    Slice,
    SlicePlace,
    UnreadableError,
    VolumeOptions,
    check_size,
    find_volume,
    locate_nifti_slice,
    place_array_slice,
    place_nifti_slice,
    select_planes,
    verify_gzip,
)
from studio.lfs import POINTER, is_pointer

__all__ = [
    "EIGHT_BIT",
    "FORMATS",
    "Picture",
    "Slice",
    "Square",
    "UnreadableError",
    "as_real",
    "centre_square",
    "check_finite",
    "convert_channels",
    "decode_picture",
    "decode_upright",
    "explain_read_errors",
    "fit",
    "is_gray",
    "is_image",
    "nan_remedy",
    "read_image",
    "scale_pixels",
]

FORMATS = (".png", ".jpg", ".jpeg", ".npy", ".nii", ".nii.gz")
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
        path: a file in one of `FORMATS`.
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
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("is not a file")
        if found.st_size == 0:
            raise UnreadableError("is empty (0 bytes)")
        if is_pointer(path):
            raise UnreadableError(f"is {POINTER}")
        if path.name.lower().endswith((".nii", ".nii.gz")):
            picture = _read_nifti(path, at, options, measure)
        else:
            picture = (
                _read_array(path, at, options, measure)
                if path.suffix.lower() == ".npy"
                else _read_pixels(path, least)
            )
        if not again:
            verify_gzip(path)
    values, filled = fill_nan(picture.values, options.nan)
    check_finite(values)
    window = picture.window
    if measure is not None and picture.place is None:
        window = measure(values)
    stamp = found.st_size, found.st_mtime_ns
    return replace(picture, values=values, filled=filled, stamp=stamp, window=window)


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
        raise UnreadableError("is neither a PNG nor a JPEG, despite its name") from None
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


class Square(NamedTuple):
    """The square in the middle of an image that is used.

    Attributes:
        top: first row, not necessarily whole.
        left: first column, not necessarily whole.
        tall: height in rows.
        wide: width in columns. It differs from `tall` if the pixels are not square.
    """

    top: float
    left: float
    tall: float
    wide: float


def centre_square(height: int, width: int, spacing: tuple[float, float] = (1.0, 1.0)) -> Square:
    """Returns the largest centred square of an image with the given spacing of pixels."""
    side = min(height * spacing[0], width * spacing[1])
    tall, wide = min(side / spacing[0], height), min(side / spacing[1], width)
    return Square((height - tall) // 2, (width - wide) // 2, tall, wide)


def fit(picture: Picture, resolution: int, channels: int | None = None) -> np.ndarray:
    """Resizes the shorter side to the resolution and crops the centre. Pixels become square.

    The interpolation is bicubic and antialiased.

    Args:
        picture: the image to resize.
        resolution: side of the result in pixels.
        channels: 1 or 3 to convert to, or None to keep the channels.

    Returns:
        (C, resolution, resolution) of the same type as the picture's values.
    """
    values = convert_channels(picture.values, channels)
    _, height, width = values.shape
    top, left, tall, wide = centre_square(height, width, picture.spacing)
    box = (left, top, left + wide, top + tall)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in values]
    sized = [
        plane.resize((resolution, resolution), Image.Resampling.BICUBIC, box) for plane in planes
    ]
    fitted = np.stack([np.asarray(plane) for plane in sized])
    return fitted.round().clip(0, 255).astype(np.uint8) if values.dtype == np.uint8 else fitted


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


def _read_pixels(path: Path, least: int | None) -> Picture:
    """Reads a PNG or JPEG."""
    with path.open("rb") as file:
        return decode_picture(file, least)


def decode_picture(file: IO[bytes], least: int | None = None) -> Picture:
    """Decodes a PNG or JPEG. The size is checked before anything is decoded.

    Args:
        file: opened for reading, at its start.
        least: see `read_image`.

    Raises:
        UnreadableError: the file has 16 bits per colour, odd colours or too many pixels.
        Exception: whatever Pillow raises for a damaged file, see `explain_read_errors`.
    """
    header = file.read(26)
    file.seek(0)
    if header.startswith(b"\x89PNG") and header[24:25] == b"\x10" and header[25:26] != b"\0":
        # Pillow silently drops the lower byte of each value. torchvision crashes on damaged files.
        raise UnreadableError("is a PNG with 16 bits per colour: save it with 8 bits, or as npy")
    with Image.open(file, formats=("PNG", "JPEG")) as image:
        size = (image.height, image.width)
        check_size(*size)
        if least is not None:
            # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster.
            # Each side keeps at least twice the pixels that the later resize returns. Compared with
            # a full decoding, 14 photographs of scikit-image at 64 px differ by 1.0 of 255 on
            # average, and the worst, a page of text, by 3.3.
            image.draft(None, (2 * least, 2 * least))
        upright = decode_upright(image)
    values = np.moveaxis(np.atleast_3d(np.asarray(upright)), -1, 0)
    if upright.mode.startswith("I"):
        return Picture(values.astype(np.float32), size, type="uint16")
    if not upright.mode.endswith("A"):
        return Picture(values, size)
    on_black = values[:-1].astype(np.float32) * (values[-1:] / np.float32(255))
    return Picture(on_black.round().astype(np.uint8), size, transparent=True)


def decode_upright(image: Image.Image) -> Image.Image:
    """Returns an opened picture upright, in a mode without palettes or odd colour spaces.

    The modes are L, LA, RGB and RGBA, and `I` or its 16-bit variants for 16-bit gray.

    Raises:
        UnreadableError: the picture has another colour space, such as CMYK.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return image
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise UnreadableError(f"has colours of the kind {image.mode}: convert it to gray or RGB")
    gray = image.mode in ("1", "L", "LA")
    if image.mode == "P":
        gray = not np.ptp(np.reshape(image.getpalette() or [0, 0, 0], (-1, 3)), axis=1).any()
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        return image.convert("RGBA").convert("LA" if gray else "RGBA")
    return image.convert("L" if gray else "RGB")


def _read_array(path: Path, at: Slice, options: VolumeOptions, measure: Measure | None) -> Picture:
    """Reads an image, or a slice of a volume, from a memory map of the file."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise UnreadableError("is an archive of arrays, not one array")
    planes = select_planes(array, at, options)
    place = place_array_slice(array.shape, at, options)
    window = None
    if measure is not None and place is not None:
        whole = array[(..., *find_volume(array.shape, options))]
        window = measure(fill_nan(as_real(whole), options.nan)[0])
    kind = _type_name(planes)
    return Picture(as_real(planes), planes.shape[1:], place=place, type=kind, window=window)


def _read_nifti(path: Path, at: Slice, options: VolumeOptions, measure: Measure | None) -> Picture:
    """Reads one slice, see `locate_nifti_slice`. The others are only read to be measured."""
    image = open_nifti(path)
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
        orientation=find_orientation_fault(image),
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
