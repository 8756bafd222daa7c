"""Several slices of one volume, which is read once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from studio.data.io import images
from studio.data.io.arrays import open_array
from studio.data.io.background import fill_nan
from studio.data.io.images import Measure, Picture
from studio.data.io.slices import (
    PLAIN,
    Slice,
    UnreadableError,
    VolumeOptions,
    count_array_slices,
    count_nifti_slices,
    locate_nifti_slice,
    place_array_slice,
    place_nifti_slice,
    select_planes,
)
from studio.data.io.volume_files import has_volumes, open_volume
from studio.data.io.volumes import check_voxel_count

__all__ = ["Slices", "VolumeMemory", "count_slices", "pick_slices", "read_slices", "takes_several"]

Slices = Slice | Literal["all"] | tuple[int, ...]  # of a volume; a tuple is first, last, step
HELD = 3  # volumes in memory, one per reading thread and one more


def takes_several(chosen: object) -> bool:
    """Returns whether a choice of slices may take several of a volume."""
    return chosen == "all" or isinstance(chosen, tuple)


def pick_slices(chosen: Slices, slices: int) -> list[int]:
    """Returns the numbers of the chosen slices of a volume with `slices` of them.

    Raises:
        UnreadableError: the volume ends before the first one.
    """
    if isinstance(chosen, tuple):
        first, last, step = (*chosen, 1)[:3]
        found = list(range(first, min(last + 1, slices), step))
        if not found:
            raise UnreadableError(f"has {slices} slices, but data.slice begins at {first}")
        return found
    if chosen == "all":
        return list(range(slices))
    return [slices // 2 if chosen == "middle" else chosen]


def count_slices(path: Path, options: VolumeOptions = PLAIN) -> int:
    """Returns the number of slices of a file from its header, 0 for an image.

    Raises:
        UnreadableError: the file cannot be read.
    """
    with images.explain_read_errors():
        if path.suffix.lower() == ".npy":
            return count_array_slices(open_array(path).shape, options)
        return count_nifti_slices(open_volume(path), options) if has_volumes(path) else 0


def read_slices(
    path: Path,
    chosen: Slices,
    options: VolumeOptions = PLAIN,
    measure: Measure | None = None,
    least: int | None = None,
) -> tuple[list[Picture], tuple[int, ...]]:
    """Reads slices of a volume, which is read once, or an image.

    Args:
        path: a file in one of `studio.data.io.images.FORMATS`, or the folder of a DICOM series.
        chosen: the slices.
        options: how slices are taken from volumes, and the treatment of NaN.
        measure: see `read_image`.
        least: see `read_image`.

    Returns:
        The pictures, and the numbers of their slices, () for an image.

    Raises:
        UnreadableError: the file is broken, too large, or of an unsupported kind, or has no such
            slice.
    """
    several = takes_several(chosen)
    # This raises if the beginning of the file is broken.
    at = 0 if isinstance(chosen, tuple) or chosen == "all" else chosen
    first = images.read_image(path, at, least, options=options, measure=measure)
    if not several:
        return [first], () if first.place is None else (first.place.number,)
    with images.explain_read_errors():
        slices = count_slices(path, options)
        if not slices:
            return [first], ()
        numbers = pick_slices(chosen, slices)
        planes, places = _read_planes(path, numbers, options)
        filled = [fill_nan(images.as_real(plane), options.nan) for plane in planes]
        pictures = [
            replace(first, values=values, filled=count, place=place)
            for (values, count), place in zip(filled, places, strict=True)
        ]
    for picture in pictures:
        images.check_finite(picture.values)
    return pictures, tuple(numbers)


def _read_planes(
    path: Path, numbers: Sequence[int], options: VolumeOptions
) -> tuple[list[np.ndarray], list]:
    """Returns the planes (C, H, W) of slices, and where they were."""
    if path.suffix.lower() == ".npy":
        array = open_array(path)
        return (
            [select_planes(array, at, options) for at in numbers],
            [place_array_slice(array.shape, at, options) for at in numbers],
        )
    image = open_volume(path)
    check_voxel_count(image.shape)
    values = np.asarray(image.dataobj)
    where = [locate_nifti_slice(image, at, options) for at in numbers]
    return (
        [place.upright(values[place.index]) for place in where],
        [place_nifti_slice(image, at, options) for at in numbers],
    )


class VolumeMemory:
    """The slices of the volumes that were read last, so that each volume is read once.

    Several threads may ask at the same time.

    Args:
        read: returns number -> slice of a volume.
    """

    def __init__(self, read: Callable[[str], dict[int, Picture]]) -> None:
        self._read = read
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {"_read": self._read}  # a copy reads the volumes again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._held: OrderedDict[str, dict[int, Picture] | UnreadableError] = OrderedDict()

    def get(self, name: str, number: int) -> Picture:
        """Returns a slice of a volume.

        Raises:
            UnreadableError: the volume cannot be read.
        """
        with self._lock:
            own = self._locks.setdefault(name, threading.Lock())
        with own:
            with self._lock:
                found = self._held.get(name)
            if found is None:
                try:
                    found = self._read(name)
                except UnreadableError as error:
                    found = error
                with self._lock:
                    self._held[name] = found
                    while len(self._held) > HELD:
                        self._locks.pop(self._held.popitem(last=False)[0], None)
        if isinstance(found, UnreadableError):
            raise UnreadableError(str(found))
        return found[number]
