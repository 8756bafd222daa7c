"""Files of the same kind as those that were read, with other images in the place of their own.

What was read of a file is written back: the square in the middle, the chosen slices, values between the ends of the window.
All else of the file stays as it was, so that its size, shape, type, affine and header do. An image of the model's resolution
is brought to the square's size by bicubic interpolation.

Three kinds of PNG come out as another one, since theirs cannot hold what a model makes: two colours as 8-bit gray, a palette
as gray or RGB, and what was transparent is opaque in the square (on black, as in training). A JPEG is compressed anew.
"""

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from studio.data.io.images import (
    Square,
    centre_square,
    convert_channels,
    decode_upright,
    explain_read_errors,
)
from studio.data.io.slices import UnreadableError, locate_nifti_slice, select_planes
from studio.data.io.user_files import UserFile

__all__ = ["write_back"]

QUALITY = 95  # of a JPEG


class Patch(NamedTuple):
    """New values (C, h, w), float32 in a file's units, and where they belong in its planes (C, H, W)."""

    where: tuple[slice, slice, slice]
    values: np.ndarray


def write_back(sheet: UserFile, made: np.ndarray, out: Path, difference: bool = False) -> None:
    """Writes a file like the one that was read, with images made by a model in the place of its own.

    Args:
        sheet: what was read.
        made: one image per image of the sheet, (n, C, R, R) in [-1, 1].
        out: the file to write, under any name.
        difference: `made` are absolute differences, in [0, 2], and what the model did not see is 0.

    Raises:
        UnreadableError: the file that was read has changed or gone.
        OSError: `out` cannot be written.
    """
    with explain_read_errors():
        found = sheet.path.stat()
    if (found.st_size, found.st_mtime_ns) != sheet.stamp:
        raise UnreadableError("has changed since it was read")
    low, high = np.array(sheet.window, np.float32)
    values = made / 2 * (high - low) if difference else (made + 1) / 2 * (high - low) + low
    name = sheet.path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        _write_nifti(sheet, values, out, difference)
    elif name.endswith(".npy"):
        _write_array(sheet, values, out, difference)
    else:
        _write_pixels(sheet, values[0], out, difference)


def _fit_into(
    sheet: UserFile, image: np.ndarray, own: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> Patch:
    """Brings an image (C', R, R) to the square of a file's own planes (C, H, W): every pixel whose centre is in it."""
    height, width = own.shape[1:]
    square = centre_square(height, width, spacing)
    if sheet.crop:
        square = Square(
            (height - sheet.crop) // 2, (width - sheet.crop) // 2, sheet.crop, sheet.crop
        )
    (across, left, right), (down, top, bottom) = (
        _span(start, length, image.shape[-1])
        for start, length in ((square.left, square.wide), (square.top, square.tall))
    )
    size = across.stop - across.start, down.stop - down.start
    planes = [
        Image.fromarray(plane) for plane in convert_channels(image, len(own)).astype(np.float32)
    ]
    fitted = [
        np.asarray(plane.resize(size, Image.Resampling.BICUBIC, (left, top, right, bottom)))
        for plane in planes
    ]
    where = slice(None), down, across
    values = np.stack(fitted)
    return Patch(
        where, np.where(own[where] == 0, np.float32(0), values) if sheet.masked else values
    )


def _span(start: float, length: float, resolution: int) -> tuple[slice, float, float]:
    """Returns the pixels of a side of the square, and the part of the image's side that covers them.

    Where a side is not whole, half a pixel may lie beyond it, for which the image has nothing: its edge is moved there.
    """
    first, last = int(np.ceil(start - 0.5)), int(np.ceil(start + length - 0.5))
    ends = [
        min(max((edge - start) / length * resolution, 0.0), float(resolution))
        for edge in (first, last)
    ]
    return slice(first, last), ends[0], ends[1]


def _write_pixels(sheet: UserFile, image: np.ndarray, out: Path, difference: bool) -> None:
    with explain_read_errors(), Image.open(sheet.path, formats=("PNG", "JPEG")) as file:
        kind, upright = file.format, decode_upright(file)
    deep = upright.mode.startswith("I")
    planes = np.moveaxis(np.atleast_3d(np.asarray(upright)), -1, 0).astype(
        np.uint16 if deep else np.uint8
    )
    colours = len(planes) - upright.mode.endswith("A")
    where, values = _fit_into(sheet, image, planes[:colours])
    if difference:
        planes[:colours] = 0
    planes[:colours][where] = _cast(values, planes.dtype)
    planes[colours:][slice(None) if difference else where] = 255
    pixels = np.moveaxis(planes, 0, -1)
    written = Image.fromarray(np.ascontiguousarray(pixels if len(planes) > 1 else pixels[:, :, 0]))
    written.save(
        out, format=kind, **({"quality": QUALITY, "subsampling": 0} if kind == "JPEG" else {})
    )


def _write_array(sheet: UserFile, images: np.ndarray, out: Path, difference: bool) -> None:
    with explain_read_errors():
        array = np.load(sheet.path, allow_pickle=False)
    new = np.zeros_like(array) if difference else array.copy()
    unit = 255 if array.dtype.kind == "b" else 1  # what is true was read as 255
    for number, image in zip(sheet.numbers or (0,), images, strict=True):
        where, values = _fit_into(sheet, image, select_planes(array, number))
        select_planes(new, number)[where] = _cast(values / unit, array.dtype)
    with out.open("wb") as file:
        np.save(file, new, allow_pickle=False)


def _write_nifti(sheet: UserFile, images: np.ndarray, out: Path, difference: bool) -> None:
    """Changes stored voxels, so that all others stay the same to the last bit, and the scale by which they are read."""
    import nibabel

    with explain_read_errors():
        image: Any = nibabel.load(sheet.path)
        if not isinstance(image, nibabel.Nifti1Image):
            raise UnreadableError(f"is a {type(image).__name__}, expected a plain NIfTI file")
        voxels: Any = image.dataobj
        stored, slope, inter = np.array(voxels.get_unscaled()), voxels.slope, voxels.inter
    scaled = (slope, inter) != (1, 0)
    new = (
        np.full_like(stored, _cast(np.array(-inter / slope), stored.dtype))
        if difference
        else stored.copy()
    )
    for number, made in zip(sheet.numbers or (0,), images, strict=True):
        place = locate_nifti_slice(image, number)
        own = place.upright(stored[place.index])
        where, values = _fit_into(
            sheet, made, own * slope + inter if scaled else own, place.spacing
        )
        values = (values.astype(np.float64) - inter) / slope if scaled else values
        place.upright(new[place.index])[where] = _cast(values, stored.dtype)
    result = type(image)(new, image.affine, image.header)
    if scaled:
        result.header.set_slope_inter(slope, inter)
    content = result.to_bytes()
    out.write_bytes(
        gzip.compress(content, 6, mtime=0) if sheet.path.name.lower().endswith(".gz") else content
    )


def _cast(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Converts to a file's type: whole numbers are rounded and kept within its range."""
    if kind.kind == "b":
        return values >= 0.5
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return values.astype(np.float64).round().clip(limits.min, limits.max).astype(kind)
    return values.astype(kind)
