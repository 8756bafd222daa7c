"""Uploaded files as images of a run, read as the data set `folders` reads its files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from studio.data.folders import PERCENTILES
from studio.data.io.images import FORMATS, fit, is_image, read_image, scale_pixels
from studio.data.io.slices import PLAIN, Slice, UnreadableError, VolumeOptions
from studio.errors import StudioError

__all__ = ["MOST_BYTES", "read_upload"]

MOST_BYTES = 10 * 2**20


def read_upload(
    path: Path,
    shape: tuple[int, ...],
    window: tuple[float, float] | None = None,
    at: Slice = "middle",
    options: VolumeOptions = PLAIN,
) -> tuple[Tensor, str]:
    """Reads a file, resizes its shorter side, crops the centre and brings its values to [-1, 1].

    Args:
        path: the file.
        shape: (C, H, W) of the run's images, which are square.
        window: the values that become -1 and 1 if the file is not 8-bit, as the run's data set
            defines them. None takes them from percentiles of the file.
        at: index of the slice to take from a volume.
        options: how slices are taken from volumes, and the treatment of NaN.

    Returns:
        the image (C, H, W), and a note for the user, or "".

    Raises:
        StudioError: the file is too large, damaged or of an unknown format, or the run's images
            are neither gray nor RGB.
    """
    channels, side = shape[0], shape[-1]
    if channels not in (1, 3):
        raise StudioError(
            f"{path.name}: files are gray or RGB, but this run's images have {channels} channels"
        )
    if not is_image(path.name):
        raise StudioError(f"{path.name}: unknown file format; expected {', '.join(FORMATS)}")
    if path.stat().st_size > MOST_BYTES:
        raise StudioError(
            f"{path.name}: has {path.stat().st_size / 2**20:.1f} MB; at most "
            f"{MOST_BYTES / 2**20:g} MB are accepted"
        )
    try:
        pixels = fit(read_image(path, at, side, options=options), side, channels)
    except UnreadableError as error:
        raise StudioError(f"{path.name}: {error}") from None
    if pixels.dtype == np.uint8:
        low, high, note = 0.0, 255.0, ""
    else:
        low, high = window or np.percentile(pixels, PERCENTILES).tolist()
        note = f" · {low:.4g} to {high:.4g} shown as -1 to 1"
    if low >= high:
        raise StudioError(f"{path.name}: all pixels have the same value")
    return torch.from_numpy(scale_pixels(pixels, (low, high))), note
