"""The part of a file that is an image: one slice of a volume, channels first, upright.

`folders`, `studio apply` and the app read single slices with this module, through
`studio.data.io.images`. `brats` reads whole volumes, see `studio.data.io.volumes`.

All functions return views of the file's array, so the same view serves for reading and for writing.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from studio.data.io.background import NanRule

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = [
    "MOST_PIXELS",
    "PLAIN",
    "Axis",
    "NiftiSlice",
    "Slice",
    "SlicePlace",
    "UnavailableError",
    "UnreadableError",
    "VolumeOptions",
    "check_size",
    "count_array_slices",
    "count_nifti_slices",
    "find_orientation",
    "find_volume",
    "locate_nifti_slice",
    "place_array_slice",
    "place_nifti_slice",
    "select_planes",
    "verify_gzip",
]

MOST_PIXELS = 2**26  # 8192 x 8192, below the size at which Pillow itself warns
BLOCK = 1 << 20  # bytes
FEWEST_SLICES = 5  # an array with a shorter side than this has channels, not slices

AXES = ("the first axis", "the second axis", "the last axis")
DIRECTIONS = ("from left to right", "from back to front", "from feet to head")  # of NIfTI

Axis = Literal["auto", 0, 1, 2]
Slice = int | Literal["middle"]


@dataclass(frozen=True)
class VolumeOptions:
    """How slices are taken from files with volumes.

    Attributes:
        axis: axis along which slices are counted. auto: the last one of an array, and from feet to
            head in NIfTI. 0, 1, 2: an axis of an array, and in NIfTI from left to right, from back
            to front, and from feet to head.
        volume: number of the volume to take from a file with several.
        nan: the value that NaN become, see `studio.data.io.background.fill_nan`.
    """

    axis: Axis = "auto"
    volume: int | None = None
    nan: NanRule = None


PLAIN = VolumeOptions()


@dataclass(frozen=True)
class SlicePlace:
    """Where a slice was in its file.

    Attributes:
        shape: sides of the volume, in the order of its axes.
        number: number of the slice, counted from 0.
        slices: number of slices.
        along: axis along which slices are counted, in words.
        volume: number of the volume.
        volumes: number of volumes in the file.
    """

    shape: tuple[int, ...]
    number: int
    slices: int
    along: str
    volume: int = 0
    volumes: int = 1


class UnreadableError(Exception):
    """One file cannot be used.

    The message gives the reason and continues a sentence that begins with its name.
    """


class UnavailableError(UnreadableError):
    """One file cannot be used at the moment.

    The fault is not in the file, so a later attempt may succeed.
    """


@dataclass(frozen=True)
class NiftiSlice:
    """The position of a slice in a NIfTI file, or of an image that is a single slice.

    Axes are those of nibabel's `as_closest_canonical`: the patient's front is at the top and their
    right on the right. In a sagittal or coronal image their head is at the top.

    Attributes:
        index: index of the slice into the stored voxels.
        spacing: height and width of a pixel in mm.
    """

    index: tuple[slice | int, ...]
    spacing: tuple[float, float]
    _orientation: np.ndarray
    _axis: int  # the canonical axis of length 1

    def upright(self, block: np.ndarray) -> np.ndarray:
        """Returns an upright view (1, H, W) of the voxels at `index`."""
        import nibabel

        plane = nibabel.apply_orientation(np.atleast_3d(block), self._orientation).squeeze(
            self._axis
        )
        return plane.T[None, ::-1]


def select_planes(array: np.ndarray, at: Slice, options: VolumeOptions = PLAIN) -> np.ndarray:
    """Returns a view (C, H, W) of an image in any order of axes, or of a slice of a volume.

    Raises:
        UnreadableError: the array has another shape, or no such slice.
    """
    if array.ndim == 4:
        array = array[..., find_volume(array.shape, options)[0]]
    shape = array.shape
    if array.ndim == 2:
        planes = array[None]
    elif array.ndim != 3:
        raise UnreadableError(f"has shape {shape}: expected two or three axes")
    elif slices := count_array_slices(shape, options):
        axis = _array_axis(options)
        planes = np.moveaxis(array, axis, 0)[_resolve_slice(at, slices)][None]
    elif (shape[0] in (1, 3)) != (shape[2] in (1, 3)):
        planes = array if shape[0] in (1, 3) else np.moveaxis(array, -1, 0)
    else:
        raise UnreadableError(
            f"has shape {shape}: expected 1 or 3 channels, first or last, "
            "or data.axis for the axis of slices"
        )
    check_size(*planes.shape[1:])
    return planes


def place_array_slice(
    shape: Sequence[int], at: Slice, options: VolumeOptions = PLAIN
) -> SlicePlace | None:
    """Returns where `select_planes` takes a slice from, None for an image."""
    slices = count_array_slices(shape, options)
    if not slices:
        return None
    volumes = shape[3] if len(shape) == 4 else 1
    return SlicePlace(
        (*shape[:3],),
        _resolve_slice(at, slices),
        slices,
        AXES[_array_axis(options)],
        options.volume or 0,
        volumes,
    )


def count_array_slices(shape: Sequence[int], options: VolumeOptions = PLAIN) -> int:
    """Returns the number of slices of an array of this shape, 0 for an image."""
    if len(shape) not in (3, 4):
        return 0
    sides = shape[:3]
    coloured = sides[0] in (1, 3) or sides[2] in (1, 3)
    if min(sides) < FEWEST_SLICES and (options.axis == "auto" or coloured):
        return 0
    return sides[_array_axis(options)]


def _array_axis(options: VolumeOptions) -> int:
    """Returns the axis of an array along which slices are counted."""
    return 2 if options.axis == "auto" else options.axis


def find_volume(shape: Sequence[int], options: VolumeOptions = PLAIN) -> tuple[int, ...]:
    """Returns the index of the chosen volume in the axes after the third.

    Raises:
        UnreadableError: there are several volumes and none is chosen, or there is no such volume.
    """
    further = shape[3:]
    several = [length for length in further if length != 1]
    if len(several) > 1:
        raise UnreadableError(f"has shape {tuple(shape)}: expected at most four axes")
    volumes = several[0] if several else 1
    if options.volume is None and volumes != 1:
        last = f": data.volume: 0 to {volumes - 1} takes one of them" if volumes else ""
        raise UnreadableError(f"has shape {tuple(shape)}, which is {volumes} volumes{last}")
    chosen = options.volume or 0
    if chosen >= volumes:
        plural = "s" * (volumes != 1)
        raise UnreadableError(f"has {volumes} volume{plural}, but data.volume is {chosen}")
    return tuple(0 if length == 1 else chosen for length in further)


def locate_nifti_slice(
    image: "SpatialImage", at: Slice, options: VolumeOptions = PLAIN
) -> NiftiSlice:
    """Finds a slice of an opened NIfTI file without reading its voxels. It is axial by default.

    Raises:
        UnreadableError: the file has several volumes and none is chosen, its affine leaves out an
            axis, or it has no such slice.
    """
    from nibabel.affines import voxel_sizes

    orientation, shape, axis = _canonical(image, options)
    becomes = orientation[:, 0].astype(int)  # stored axis -> canonical axis
    number = _resolve_slice(at, shape[axis]) if shape[axis] > 1 else 0
    number = number if orientation[axis, 1] > 0 else shape[axis] - 1 - number
    check_size(*np.delete(shape, axis))
    index = [slice(number, number + 1) if i == axis else slice(None) for i in range(3)]
    across, up = np.delete(voxel_sizes(image.affine)[np.argsort(becomes)], becomes[axis])
    index = (*index, *find_volume(image.shape, options))[: len(image.shape)]
    return NiftiSlice(index, (float(up), float(across)), orientation, int(becomes[axis]))


def place_nifti_slice(
    image: "SpatialImage", at: Slice, options: VolumeOptions = PLAIN
) -> SlicePlace | None:
    """Returns where `locate_nifti_slice` finds a slice, None for a single slice."""
    orientation, shape, axis = _canonical(image, options)
    if shape[axis] == 1:
        return None
    return SlicePlace(
        shape,
        _resolve_slice(at, shape[axis]),
        shape[axis],
        DIRECTIONS[int(orientation[axis, 0])],
        options.volume or 0,
        max(image.shape[3:], default=1),
    )


def count_nifti_slices(image: "SpatialImage", options: VolumeOptions = PLAIN) -> int:
    """Returns the number of slices of an opened NIfTI file, 0 for a single slice.

    Raises:
        UnreadableError: as `locate_nifti_slice`.
    """
    _, shape, axis = _canonical(image, options)
    return shape[axis] if shape[axis] > 1 else 0


def _canonical(
    image: "SpatialImage", options: VolumeOptions
) -> tuple[np.ndarray, tuple[int, ...], int]:
    """Returns the orientation, the first three sides, and the stored axis of the slices."""
    if len(image.shape) < 2:
        raise UnreadableError(f"has shape {image.shape}: expected an image or a volume")
    find_volume(image.shape, options)
    shape = (*image.shape, 1)[:3]
    orientation = find_orientation(image)
    wanted = 2 if options.axis == "auto" else options.axis
    axis = shape.index(1) if 1 in shape else int(np.flatnonzero(orientation[:, 0] == wanted)[0])
    return orientation, shape, axis


def find_orientation(image: "SpatialImage") -> np.ndarray:
    """Returns the orientation of the stored axes, as nibabel states it.

    Raises:
        UnreadableError: the affine has NaN or infinity, or leaves out an axis.
    """
    import nibabel

    if not np.isfinite(np.asarray(image.affine, np.float64)).all():
        raise UnreadableError("has an affine with NaN or infinity")
    orientation = nibabel.io_orientation(image.affine)
    if np.isnan(orientation).any():
        raise UnreadableError("has an affine that leaves out an axis")
    return orientation


def _resolve_slice(at: Slice, slices: int) -> int:
    """Returns the number of a slice, with `middle` resolved."""
    if at == "middle":
        return slices // 2
    if at >= slices:
        raise UnreadableError(
            f"has {slices} slices, but data.slice is {at}: expected middle or 0 to {slices - 1}"
        )
    return at


def check_size(height: int, width: int) -> None:
    """Refuses sizes that cannot be one image.

    Raises:
        UnreadableError: the image has more than `MOST_PIXELS` pixels, or none.
    """
    if not 0 < height * width <= MOST_PIXELS:
        raise UnreadableError(
            f"is {width} x {height} pixels: expected at least 1 and at most {MOST_PIXELS}"
        )


def verify_gzip(path: Path) -> None:
    """Reads a gzip file to its end, where its checksum is. Other files are not read.

    nibabel stops at the last requested voxel, and a damaged bit usually yields other voxels
    instead of an error.

    Raises:
        OSError, EOFError, zlib.error: the file is damaged.
    """
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            while file.read(BLOCK):
                pass
