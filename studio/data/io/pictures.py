"""Decoding pictures with Pillow: PNG, JPEG, TIFF, WebP and BMP.

A picture that Pillow would change silently, such as one with 16 bits per colour, is refused.
"""

import io
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from studio.data.io.slices import UnreadableError, check_size

__all__ = ["PICTURES", "Pixels", "decode_upright", "open_picture", "picture_type", "read_pixels"]

DECODERS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")  # endings
BITS, PHOTOMETRIC, SAMPLES = 258, 262, 339  # tags of TIFF


class Pixels(NamedTuple):
    """A decoded picture.

    Attributes:
        values: (C, H, W), uint8 or float32.
        size: height and width in the file.
        type: type of the values in the file.
        transparent: whether the picture had an alpha channel and was put on black.
    """

    values: np.ndarray
    size: tuple[int, int]
    type: str = "uint8"
    transparent: bool = False


def open_picture(file: IO[bytes]) -> Image.Image:
    """Opens a picture without decoding it.

    Args:
        file: opened for reading, at its start.

    Raises:
        UnreadableError: the picture cannot be used.
        PIL.UnidentifiedImageError: the file is none.
    """
    header = file.read(26)
    file.seek(0)
    if header.startswith(b"\x89PNG") and header[24:25] == b"\x10" and header[25:26] != b"\0":
        # Pillow silently drops the lower byte of each value. torchvision crashes on damaged files.
        raise UnreadableError("is a PNG with 16 bits per colour: save it with 8 bits, or as npy")
    # Not from a path: Pillow 12.3 would map a plain TIFF into memory, and garble one that it turns.
    image = Image.open(io.BytesIO(file.read()), formats=DECODERS)
    try:
        check_size(image.height, image.width)
        _refuse_odd(image)
    except UnreadableError:
        image.close()
        raise
    return image


def read_pixels(file: IO[bytes], least: int | None) -> Pixels:
    """Reads a picture. The size is checked before anything is decoded.

    Args:
        file: opened for reading, at its start.
        least: see `studio.data.io.images.read_image`.
    """
    with open_picture(file) as image:
        size = (image.height, image.width)
        if least is not None:
            # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster.
            # Each side keeps at least twice the pixels that the later resize returns. Compared with
            # a full decoding, 14 photographs of scikit-image at 64 px differ by 1.0 of 255 on
            # average, and the worst, a page of text, by 3.3.
            image.draft(None, (2 * least, 2 * least))
        upright = decode_upright(image)
        kind = picture_type(upright, image.format)
        unsigned = dict(getattr(image, "tag_v2", {})).get(SAMPLES, (1,))[0] == 1
    values = np.moveaxis(np.atleast_3d(np.asarray(upright)), -1, 0)
    if kind == np.int32 and unsigned and values.min() < 0:  # Pillow reads them as signed numbers
        raise UnreadableError("is a TIFF with numbers from 2**31: save it as npy")
    if kind != np.uint8:
        return Pixels(values.astype(np.float32), size, kind.name)
    if not upright.mode.endswith("A"):
        return Pixels(values, size)
    on_black = values[:-1].astype(np.float32) * (values[-1:] / np.float32(255))
    return Pixels(on_black.round().astype(np.uint8), size, transparent=True)


def picture_type(image: Image.Image, decoder: str | None) -> np.dtype:
    """Returns the type of the values of a picture that `decode_upright` returned."""
    if image.mode == "F":
        return np.dtype(np.float32)
    if image.mode == "I" and decoder != "PNG":
        return np.dtype(np.int32)
    return np.dtype(np.uint16 if image.mode.startswith("I") else np.uint8)


def decode_upright(image: Image.Image) -> Image.Image:
    """Returns an opened picture upright, in a mode without palettes or odd colour spaces.

    The modes are L, LA, RGB and RGBA, `I` or its 16-bit variants for whole numbers of more bits,
    and `F`.

    Raises:
        UnreadableError: the picture has another colour space, such as CMYK.
    """
    if image.format == "TIFF":
        image.load()  # turns it upright
    else:
        image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        return image
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise UnreadableError(f"has colours of the kind {image.mode}: convert it to gray or RGB")
    gray = image.mode in ("1", "L", "LA")
    if image.mode == "P":
        gray = not np.ptp(np.reshape(image.getpalette() or [0, 0, 0], (-1, 3)), axis=1).any()
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        return image.convert("RGBA").convert("LA" if gray else "RGBA")
    return image.convert("L" if gray else "RGB")


def _refuse_odd(image: Image.Image) -> None:
    """Refuses a TIFF or WebP of which Pillow would use a part, or change values."""
    if image.format not in ("TIFF", "WEBP"):
        return
    pages = int(getattr(image, "n_frames", 1))
    if pages != 1:
        raise UnreadableError(f"has {pages} pages: expected one image per file")
    tags = dict(getattr(image, "tag_v2", {}))
    bits = tags.get(BITS, (8,))
    bits = max(bits) if isinstance(bits, tuple) else bits
    if bits > 8 and image.mode[0] not in "IF":
        raise UnreadableError(
            f"is a TIFF with {bits} bits per colour: save it with 8 bits, or as npy"
        )
    if bits > 8 and tags.get(PHOTOMETRIC) == 0:
        raise UnreadableError(f"is a TIFF with {bits} bits in which 0 is white: save it as npy")
