"""Images in [-1, 1] as pixels: 8-bit levels, visible channels and signed differences.

The functions know no library for drawing. Pictures, the page of the app and the scores use them, so
that all of them see an image in the same 256 levels.
"""

import math

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from studio.errors import StudioError
from studio.planes import draw_planes

__all__ = [
    "check_finite",
    "quantise",
    "strongest_difference",
    "to_2d",
    "to_pixels",
    "visible_channels",
]


def check_finite(images: Tensor, generated: bool) -> None:
    """Refuses images with NaN or infinite values, and names the cause.

    Args:
        images: (B, ...).
        generated: whether a model made them. Otherwise they come from a data set.

    Raises:
        StudioError: some values are NaN or infinite.
    """
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        cause = (
            "has training diverged?" if generated else "the data set has them, it is not the model"
        )
        raise StudioError(
            f"{broken} of {len(images)} images have values that are not finite: {cause}"
        )


def quantise(images: Tensor, generated: bool = True) -> Tensor:
    """Maps [-1, 1] to the levels 0 to 255, uint8 of the same shape, and clips values outside.

    A data set brings 16-bit and floating-point images to [-1, 1] by itself. They must not be
    converted by an image library, because that would turn most of their values into black or white.

    Args:
        images: (B, ...).
        generated: whether a model made them, for the message.

    Raises:
        StudioError: some values are NaN or infinite.
    """
    check_finite(images, generated)
    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_pixels(images: Tensor, generated: bool = True) -> np.ndarray:
    """Converts images to uint8 with the channels last. Values outside [-1, 1] are clipped.

    Args:
        images: (B, C, *space) with C = 1 or 3.
        generated: whether a model made them, for the message.

    Returns:
        (B, *space, C).

    Raises:
        StudioError: the images have another shape, or values that are not finite.
    """
    if images.ndim not in (3, 4, 5) or images.shape[1] not in (1, 3):
        raise StudioError(
            f"a picture needs images of shape (B, 1 or 3, H, W), found {tuple(images.shape)}"
        )
    return rearrange(quantise(images, generated).cpu(), "b c ... -> b ... c").numpy()


def visible_channels(images: Tensor) -> Tensor:
    """Returns the channels that a picture can show, (B, 1 or 3, *space).

    Gray and RGB images stay as they are. Of any other number of channels only the first is kept.
    Vectors (B, F) get one channel.
    """
    if images.ndim == 2:
        return images[:, None]
    return images if images.shape[1] in (1, 3) else images[:, :1]


def strongest_difference(a: Tensor, b: Tensor) -> Tensor:
    """Returns the signed difference a - b, (B, *space), in the channel where a pixel differs most.

    A mean over channels would hide a change of hue, because its signs cancel.

    Args:
        a: images (B, C, *space) or vectors (B, F).
        b: images or vectors of the same shape.
    """
    values = visible_channels(a) - visible_channels(b)
    return values.gather(1, values.abs().argmax(1, keepdim=True))[:, 0]


def to_2d(pixels: np.ndarray) -> np.ndarray:
    """Lays out pixels in two dimensions, (B, h, w, C). Empty places are white.

    - Images (B, H, W, C) stay as they are.
    - Volumes (B, D, H, W, C) become a drawing of three views (`studio.planes`).
    - Vectors (B, F, C) fill a square row by row.
    """
    if pixels.ndim == 4:
        return pixels
    if pixels.ndim == 3:
        side = math.isqrt(pixels.shape[1] - 1) + 1
        height = -(-pixels.shape[1] // side)
        filled = np.pad(
            pixels, ((0, 0), (0, side * height - pixels.shape[1]), (0, 0)), constant_values=255
        )
        return filled.reshape(len(pixels), height, side, -1)
    return draw_planes(pixels)
