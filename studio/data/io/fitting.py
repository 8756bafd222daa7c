"""Fitting an image of any size to a square: by cropping, padding or squashing it."""

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from studio.data.io.background import find_background
from studio.data.io.images import Picture, convert_channels

__all__ = ["Fit", "Square", "fit", "place_square"]

Fit = Literal["crop", "pad", "squash"]


class Square(NamedTuple):
    """The part of an image that becomes the square. With padding it is larger than the image.

    Attributes:
        top: first row, not necessarily whole. Negative above the image.
        left: first column, not necessarily whole.
        tall: height in rows.
        wide: width in columns. It differs from `tall` if the pixels are not square, or if the
            image is squashed.
    """

    top: float
    left: float
    tall: float
    wide: float


def place_square(
    height: int, width: int, spacing: tuple[float, float] = (1.0, 1.0), how: Fit = "crop"
) -> Square:
    """Returns the part of an image that becomes the square.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        spacing: height and width of a pixel.
        how: crop: the largest centred square. pad: the smallest centred square around the image.
            squash: the image.
    """
    if how == "squash":
        return Square(0, 0, height, width)
    if how == "pad":
        side = max(height * spacing[0], width * spacing[1])
        tall, wide = max(side / spacing[0], height), max(side / spacing[1], width)
    else:
        side = min(height * spacing[0], width * spacing[1])
        tall, wide = min(side / spacing[0], height), min(side / spacing[1], width)
    return Square((height - tall) // 2, (width - wide) // 2, tall, wide)


def fit(
    picture: Picture, resolution: int, channels: int | None = None, how: Fit = "crop"
) -> np.ndarray:
    """Resizes the part of an image that `place_square` finds. Pixels become square.

    The interpolation is bicubic and antialiased. What is outside of the image gets the value that
    fills its border, or its lowest value.

    Args:
        picture: the image to resize.
        resolution: side of the result in pixels.
        channels: 1 or 3 to convert to, or None to keep the channels.
        how: which part is used.

    Returns:
        (C, resolution, resolution) of the same type as the picture's values.
    """
    values = convert_channels(picture.values, channels)
    _, height, width = values.shape
    square = place_square(height, width, picture.spacing, how)
    values, (top, left, tall, wide) = _surround(values, square)
    box = (left, top, left + wide, top + tall)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in values]
    sized = [
        plane.resize((resolution, resolution), Image.Resampling.BICUBIC, box) for plane in planes
    ]
    fitted = np.stack([np.asarray(plane) for plane in sized])
    return fitted.round().clip(0, 255).astype(np.uint8) if values.dtype == np.uint8 else fitted


def _surround(values: np.ndarray, square: Square) -> tuple[np.ndarray, Square]:
    """Returns an image (C, H, W) that contains the square, and the square's place in it."""
    _, height, width = values.shape
    above, before = (int(np.ceil(max(0, -start))) for start in (square.top, square.left))
    below, behind = (
        int(np.ceil(max(0, end)))
        for end in (square.top + square.tall - height, square.left + square.wide - width)
    )
    if not any((above, before, below, behind)):
        return values, square
    planes = []
    for plane in values:
        around = find_background(plane)
        value = plane.min() if around is None else plane.dtype.type(around)
        planes.append(np.pad(plane, ((above, below), (before, behind)), constant_values=value))
    return np.stack(planes), square._replace(top=square.top + above, left=square.left + before)
