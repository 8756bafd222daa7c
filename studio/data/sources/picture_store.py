"""Pictures in a folder or in a zip archive, addressed by name, cut and resized when they are read.

Opening lists names only. A file that is cut short is found by the mark at its end, because decoding
every picture of a large data set would take minutes. Where the mark is not found, the picture is
decoded to be sure.
"""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from studio.data.io.files import DAMAGE_ERRORS, raise_unlistable, read_error
from studio.data.io.fitting import place_square
from studio.data.io.images import (
    Picture,
    UnreadableError,
    convert_channels,
    decode_picture,
    explain_read_errors,
    read_image,
)
from studio.lfs import POINTER, is_pointer

__all__ = ["PICTURES", "Box", "PictureStore", "cut_square", "squash"]

PICTURES = (".jpg", ".jpeg", ".png")
ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # first bytes -> mark at the end
TAIL = 1024  # bytes at the end in which the mark is looked for; some programs append a few
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Cut = Callable[[np.ndarray], np.ndarray]


class PictureStore:
    """The pictures of a folder and its sub-folders, or of a zip archive.

    Args:
        place: the folder or the archive.

    Attributes:
        names: names of the pictures, relative to the place, sorted.
        others: names of other files.

    Raises:
        StudioError: the folder cannot be listed, or the archive is damaged.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.zipped = place.is_file()
        self._archive: zipfile.ZipFile | None = None
        found = self._members() if self.zipped else _walk(place)
        self.names = sorted(name for name in found if name.lower().endswith(PICTURES))
        self.others = sorted(name for name in found if not name.lower().endswith(PICTURES))

    def fault(self, name: str) -> str | None:
        """Returns why a picture cannot be used, as far as this shows without decoding it."""
        if self.zipped:
            empty = self._opened().getinfo(name).file_size == 0
            return "is empty (0 bytes)" if empty else None
        path = self.place / name
        try:
            with path.open("rb") as file:
                start = file.read(8)
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL))
                tail = file.read()
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if not size:
            return "is empty (0 bytes)"
        if is_pointer(path):
            return f"is {POINTER}"
        if (end := ENDS.get(start[:2])) and end in tail:
            return None
        try:
            read_image(path)
        except UnreadableError as error:
            return str(error)
        return None

    def read(self, name: str, least: int | None = None) -> Picture:
        """Decodes a picture.

        Args:
            name: one of `names`.
            least: see `studio.data.io.images.read_image`.

        Raises:
            UnreadableError: it cannot be decoded.
        """
        if not self.zipped:
            return read_image(self.place / name, least=least)
        with explain_read_errors():
            return decode_picture(io.BytesIO(self._opened().read(name)), least)

    def _members(self) -> list[str]:
        return [
            entry.filename
            for entry in self._opened().infolist()
            if not entry.is_dir() and "__MACOSX" not in entry.filename
        ]

    def _opened(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self.place)
            except DAMAGE_ERRORS as error:
                fault = "not a whole zip archive, perhaps cut short"
                raise read_error(self.place, error, fault) from None
        return self._archive

    def __getstate__(self) -> dict:
        # Each process opens the archive itself, because processes would share its position.
        return {**self.__dict__, "_archive": None}


def _walk(root: Path) -> list[str]:
    """Returns all files below a folder, except for hidden ones and those of systems."""
    found = []
    for here, inside, files in os.walk(root, onerror=raise_unlistable):
        inside[:] = sorted(n for n in inside if not n.startswith(".") and n != "__MACOSX")
        place = os.path.relpath(here, root)
        prefix = "" if place == "." else place.replace(os.sep, "/") + "/"
        found += [prefix + name for name in files if not name.startswith(".")]
    return found


def cut_square(
    picture: Picture, resolution: int, channels: int, box: Box | int | None = None
) -> np.ndarray:
    """Cuts a square from a picture and resizes it bilinearly, with antialiasing.

    Args:
        picture: an 8-bit picture.
        resolution: side of the result.
        channels: 1 or 3.
        box: the square, or the side of a square in the middle. None: the largest one in the middle.

    Returns:
        (channels, resolution, resolution) uint8.

    Raises:
        UnreadableError: the picture is smaller than the square, or has not 8 bits.
    """
    values = _eight_bit(picture, channels)
    height, width = values.shape[1:]
    if box is None:
        top, left, tall, wide = place_square(height, width)
        box = (left, top, left + wide, top + tall)
    elif isinstance(box, int):
        if box > min(height, width):
            raise UnreadableError(
                f"has {width} x {height} pixels, expected at least {box} x {box} (data.crop)"
            )
        left, top = (width - box) // 2, (height - box) // 2
        box = (left, top, left + box, top + box)
    return _resize(values, resolution, box, "bilinear")


def squash(picture: Picture, resolution: int, channels: int) -> np.ndarray:
    """Resizes a picture to a square, whatever its proportions, averaging its pixels.

    Returns:
        (channels, resolution, resolution) uint8.

    Raises:
        UnreadableError: the picture has not 8 bits.
    """
    return _resize(_eight_bit(picture, channels), resolution, None, "box")


def _eight_bit(picture: Picture, channels: int) -> np.ndarray:
    if picture.values.dtype != np.uint8:
        raise UnreadableError(f"has {picture.type} values, expected 8 bits per colour")
    return convert_channels(picture.values, channels)


def _resize(
    values: np.ndarray, resolution: int, box: Box | None, how: Literal["bilinear", "box"]
) -> np.ndarray:
    kind = Image.Resampling.BILINEAR if how == "bilinear" else Image.Resampling.BOX
    if box is not None and all(float(side).is_integer() for side in box):
        # Cut first, so that the result equals that of cropping and resizing one after the other.
        left, top, right, bottom = map(int, box)
        values, box = values[:, top:bottom, left:right], None
    planes = values[0] if len(values) == 1 else values.transpose(1, 2, 0)
    sized = Image.fromarray(np.ascontiguousarray(planes)).resize(
        (resolution, resolution), kind, box
    )
    found = np.asarray(sized)
    return found[None].copy() if found.ndim == 2 else found.transpose(2, 0, 1).copy()
