"""Writing a generated image into a copy of the file that was read.

The part that was read is replaced: the square in the middle, the chosen slices, the values within
the window. Everything else stays unchanged, so size, shape, type, affine and header are those of
the original. An image of the model's resolution is resized to the square by bicubic interpolation.
A cube is resampled to the voxels of the file (`studio.data.io.cube_files`).

Three kinds of PNG change their type, because theirs cannot hold generated values: two colours
become 8-bit gray, a palette becomes gray or RGB, and transparent pixels become opaque in the
square (on black, as in training). A JPEG is compressed again, and a WebP is saved without loss.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from studio.data.brats.cubes import join_halves
from studio.data.io.arrays import open_array
from studio.data.io.cube_files import write_cube
from studio.data.io.dicom import write_dicom
from studio.data.io.fitting import Square, place_square
from studio.data.io.images import convert_channels, explain_read_errors
from studio.data.io.pictures import PICTURES, decode_upright, open_picture, picture_type
from studio.data.io.slices import UnreadableError, locate_nifti_slice, select_planes
from studio.data.io.stored_volume import cast_values, open_stored, save_stored
from studio.data.io.user_files import UserFile
from studio.data.io.volume_files import file_stamp, has_volumes

__all__ = ["result_name", "write_back"]

SAVED = {  # options of Pillow
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
LOSSLESS = ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")


class Patch(NamedTuple):
    """New values for a part of a file.

    Attributes:
        where: position in the planes (C, H, W) of the file.
        values: (C, h, w) float32 in the file's units.
    """

    where: tuple[slice, slice, slice]
    values: np.ndarray


def write_back(source: UserFile, images: np.ndarray, out: Path, difference: bool = False) -> None:
    """Writes a copy of a file with generated images in it.

    Args:
        source: the file as it was read.
        images: one image per image of the source, (n, C, R, R) in [-1, 1].
        out: the file to write. Its name is not used to choose the format.
        difference: whether `images` are absolute differences in [0, 2]. The part that the model
            did not see becomes 0.

    Raises:
        UnreadableError: the source has changed or is gone.
        OSError: `out` cannot be written.
    """
    with explain_read_errors():
        stamp = file_stamp(source.path)
    if stamp != source.stamp:
        raise UnreadableError("has changed since it was read")
    if source.cube is not None:
        with explain_read_errors():
            cubes = images[:, 0]
            whole = join_halves(cubes[0], cubes[1]) if len(cubes) == 2 else cubes[0]
            write_cube(source.path, source.cube, whole, out, difference)
        return
    low, high = np.array(source.window, np.float32)
    values = images / 2 * (high - low) if difference else (images + 1) / 2 * (high - low) + low
    name = source.path.name.lower()
    if has_volumes(source.path):
        _write_volume(source, values, out, difference)
    elif name.endswith(".npy"):
        _write_array(source, values, out, difference)
    elif name.endswith(PICTURES):
        _write_pixels(source, values[0], out, difference)
    else:
        _write_dicom(source, values[0], out, difference)


def result_name(name: str, path: Path) -> str:
    """Returns the name of the copy of a file: its own, and NAME.nii.gz of a DICOM series."""
    return f"{name}.nii.gz" if path.is_dir() else name


def _fit_into(
    source: UserFile,
    image: np.ndarray,
    own: np.ndarray,
    difference: bool,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Patch:
    """Resizes an image (C', R, R) to the pixels (C, H, W) of a file with a centre in the square.

    NaN and the background of the file stay, or become 0 in a difference.
    """
    height, width = own.shape[1:]
    square = place_square(height, width, spacing, source.fit)
    if source.crop:
        square = Square(
            (height - source.crop) // 2, (width - source.crop) // 2, source.crop, source.crop
        )
    (across, left, right), (down, top, bottom) = (
        _span(start, length, image.shape[-1], limit)
        for start, length, limit in (
            (square.left, square.wide, width),
            (square.top, square.tall, height),
        )
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
    before = own[where].astype(np.float32)
    kept = np.isnan(before)
    if source.background is not None:
        kept |= before == np.float32(source.background)
    values = np.where(kept, np.float32(0) if difference else before, np.stack(fitted))
    return Patch(where, values)


def _span(start: float, length: float, resolution: int, limit: int) -> tuple[slice, float, float]:
    """Returns the pixels of one side of the square, and the part of the image that covers them.

    If the length of the side is not whole, half a pixel may lie beyond the image. The end is then
    moved to the image's edge. A square that is larger than the file ends with it.
    """
    first = max(0, int(np.ceil(start - 0.5)))
    last = min(limit, int(np.ceil(start + length - 0.5)))
    ends = [
        min(max((edge - start) / length * resolution, 0.0), float(resolution))
        for edge in (first, last)
    ]
    return slice(first, last), ends[0], ends[1]


def _write_pixels(source: UserFile, image: np.ndarray, out: Path, difference: bool) -> None:
    with (
        explain_read_errors(),
        source.path.open("rb") as opened,
        open_picture(opened) as file,
    ):
        kind, upright = str(file.format), decode_upright(file)
        packed = file.info.get("compression", "raw")
    planes = np.moveaxis(np.atleast_3d(np.asarray(upright)), -1, 0).astype(
        picture_type(upright, kind)
    )
    colours = len(planes) - upright.mode.endswith("A")
    where, values = _fit_into(source, image, planes[:colours], difference)
    if difference:
        planes[:colours] = 0
    planes[:colours][where] = cast_values(values, planes.dtype)
    planes[colours:][slice(None) if difference else where] = 255
    pixels = np.moveaxis(planes, 0, -1)
    written = Image.fromarray(np.ascontiguousarray(pixels if len(planes) > 1 else pixels[:, :, 0]))
    options = dict(SAVED.get(kind, {}))
    if kind == "TIFF" and packed in LOSSLESS:
        options["compression"] = packed
    written.save(out, format=kind, **options)


def _write_array(source: UserFile, images: np.ndarray, out: Path, difference: bool) -> None:
    with explain_read_errors():
        array = np.array(open_array(source.path))
    new = np.zeros_like(array) if difference else array.copy()
    options = source.options
    unit = 255 if array.dtype.kind == "b" else 1  # True was read as 255
    for number, image in zip(source.numbers or (0,), images, strict=True):
        own = select_planes(array, number, options)
        where, values = _fit_into(source, image, own, difference)
        select_planes(new, number, options)[where] = cast_values(values / unit, array.dtype)
    with out.open("wb") as file:
        np.save(file, new, allow_pickle=False)


def _write_dicom(source: UserFile, image: np.ndarray, out: Path, difference: bool) -> None:
    def change(own: np.ndarray) -> np.ndarray:
        where, values = _fit_into(source, image, own, difference, source.spacing)
        new = np.zeros(own.shape, np.float64) if difference else own.astype(np.float64)
        new[where] = values
        return new

    with explain_read_errors():
        write_dicom(source.path, out, change)


def _write_volume(source: UserFile, images: np.ndarray, out: Path, difference: bool) -> None:
    """Changes stored voxels and keeps their scale, so all others stay bit for bit the same.

    A series of DICOM becomes one NIfTI file.
    """
    with explain_read_errors():
        stored = open_stored(source.path)
    new = stored.begin(difference)
    for number, generated in zip(source.numbers or (0,), images, strict=True):
        place = locate_nifti_slice(stored.image, number, source.options)
        own = place.upright(stored.read[place.index])
        where, values = _fit_into(source, generated, own, difference, place.spacing)
        place.upright(new[place.index])[where] = stored.store(values)
    save_stored(source.path, stored, new, out)
