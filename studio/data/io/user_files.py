"""Reading a user's file in the way in which the run's data set reads its own images.

A run must see new files as it saw its training images. For `folders` this is the largest square in
the middle, its rule of intensity, and the slice that it takes from a volume. For `brats`
with one modality it is the percentiles of each volume and the slices and crop of the data set. In
3-D it is the cube of the brain, whose halves are two items unless the background is healthy people.
The other data sets have no files of this kind. Files are read as by `folders` from 8-bit images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studio.data.brats.config import BratsConfig
from studio.data.brats.cubes import BrainOptions, read_brain, take_half
from studio.data.brats.preprocess import CuttingOptions, cut_single_volume
from studio.data.brats.volumes import brain_options
from studio.data.dataset import DataConfig
from studio.data.folders import FoldersConfig
from studio.data.intensity import Intensity, OtherTypeError, Window
from studio.data.io import images
from studio.data.io.background import find_background
from studio.data.io.cube_files import read_cube
from studio.data.io.fitting import Fit, fit
from studio.data.io.images import Picture, scale_pixels
from studio.data.io.slices import PLAIN, UnreadableError, VolumeOptions
from studio.data.io.volume_files import file_stamp
from studio.data.io.volume_slices import Slices, pick_slices, read_slices, takes_several
from studio.data.vbm.config import VbmConfig
from studio.data.vbm.dataset import cube_options
from studio.data.vbm.preprocess import Cube, CubeOptions
from studio.errors import StudioError

__all__ = ["ReadingRule", "UserFile", "read_user_file", "reading_rule"]


@dataclass(frozen=True)
class ReadingRule:
    """How files become images.

    Attributes:
        shape: shape of the images, (C, R, R), or volumes, (1, R, R, R).
        convert: whether files with another number of channels are converted.
        intensity: which values become -1 and 1. `brats` does not use it.
        chosen: slice of a volume, or `all`. None: the slices that `brats` takes.
        cutting: options of `brats`, else None.
        numbers: numbers of the slices that `brats` takes.
        options: how slices are taken from volumes, and the treatment of NaN.
        remedy: what to do about a file whose type the rule does not cover.
        fit: which part of an image becomes the square.
        cube: options of `vbm`, else None.
        brain: options of `brats` in 3-D, else None.
    """

    shape: tuple[int, ...]
    convert: bool
    intensity: Intensity
    chosen: Slices | None
    cutting: CuttingOptions | None = None
    numbers: tuple[int, ...] = ()
    options: VolumeOptions = PLAIN
    remedy: str = ""
    fit: Fit = "crop"
    cube: CubeOptions | None = None
    brain: BrainOptions | None = None

    @property
    def several(self) -> bool:
        """Whether a file may give several images."""
        halves = self.brain is not None and self.brain.halves
        return halves or self.cutting is not None or takes_several(self.chosen)


@dataclass(frozen=True, eq=False)
class UserFile:
    """A file as a model sees it.

    Attributes:
        path: the file.
        images: (n, C, R, R) float32 in [-1, 1], one per slice, or (n, 1, R, R, R), a volume or its
            two halves.
        numbers: numbers of the slices of a volume, counted as the data set counts them, (0, 1) for
            the left and the right half of a brain, or () for an image.
        window: values that -1 and 1 stand for.
        size: height and width in the file, of a volume depth, height and width.
        stamp: size in bytes and modification time in ns of the file.
        crop: side of the cropped square in voxels, or 0 for the whole shorter side.
        slices: number of slices of the volume in the file, or 0 for an image.
        background: value that means "no tissue" and stays, None if there is none. In `folders`:
            the value that fills the border, if it is outside of the image's own window.
        options: how slices are taken from volumes.
        spread: range of the values that are used, as a share of the window.
        fit: which part of the file became the image.
        spacing: height and width of a pixel. Only their ratio counts.
        converted: whether colours became gray, or gray became RGB.
        cube: the volume as a cube, None for images.
    """

    path: Path
    images: np.ndarray
    numbers: tuple[int, ...]
    window: Window
    size: tuple[int, ...]
    stamp: tuple[int, int]
    crop: int = 0
    slices: int = 0
    background: float | None = None
    options: VolumeOptions = PLAIN
    spread: float = 1.0
    converted: bool = False
    fit: Fit = "crop"
    spacing: tuple[float, float] = (1.0, 1.0)
    cube: Cube | None = None


def reading_rule(
    config: DataConfig,
    shape: tuple[int, ...],
    intensity: Intensity,
    chosen: Slices | None = None,
    remedy: str = "",
) -> ReadingRule:
    """Returns the reading rule of a run's data set.

    Args:
        config: the data set's section.
        shape: shape of the run's images.
        intensity: the run's rule of intensity.
        chosen: slice to read from volumes instead of those that the data set takes.
        remedy: what to do about a file whose type the rule does not cover, for messages.

    Raises:
        StudioError: the run does not read images that consist of one file each.
    """
    if len(shape) == 4:
        return _rule_of_volumes(config, shape, intensity, chosen, remedy)
    if len(shape) != 3:
        raise StudioError(
            f"this run reads items of shape {tuple(shape)}, "
            "but files are images of shape (channels, height, width)"
        )
    channels, height, width = shape
    if isinstance(config, BratsConfig):
        _refuse_several(config)
        numbers = tuple(range(config.slices[0], config.slices[1] + 1, config.slice_step))
        cutting = CuttingOptions(
            config.modalities,
            (),
            config.percentiles,
            config.crop,
            config.resolution,
            config.nan,
        )
        return ReadingRule((channels, height, width), False, intensity, chosen, cutting, numbers)
    if channels not in (1, 3):
        raise StudioError(f"this run reads images of {channels} channels, and files have 1 or 3")
    own = config.slice if isinstance(config, FoldersConfig) else "middle"
    convert = isinstance(config, FoldersConfig) and config.channels != "auto"
    return ReadingRule(
        (channels, height, width),
        convert,
        intensity,
        own if chosen is None else chosen,
        options=config.volumes if isinstance(config, FoldersConfig) else PLAIN,
        remedy=remedy,
        fit=config.fit if isinstance(config, FoldersConfig) else "crop",
    )


def _rule_of_volumes(
    config: DataConfig,
    shape: tuple[int, ...],
    intensity: Intensity,
    chosen: Slices | None,
    remedy: str,
) -> ReadingRule:
    """Returns the reading rule of a run on volumes."""
    if chosen is not None:
        raise StudioError("--slice: this run reads whole volumes, so it has no use")
    if isinstance(config, BratsConfig):
        _refuse_several(config)
        return ReadingRule(shape, False, intensity, None, brain=brain_options(config))
    if shape[0] != 1:
        raise StudioError(f"this run reads volumes of {shape[0]} channels, and files have 1")
    cube = cube_options(config) if isinstance(config, VbmConfig) else None
    return ReadingRule(shape, False, intensity, None, remedy=remedy, cube=cube)


def _refuse_several(config: BratsConfig) -> None:
    """Raises an error if a patient has several volumes, of which a file has one."""
    if len(config.modalities) > 1:
        each = ", ".join(config.modalities)
        raise StudioError(
            f"this run reads {len(config.modalities)} volumes per patient ({each}), "
            "and a file has one of them"
        )


def read_user_file(path: Path, rule: ReadingRule) -> UserFile:
    """Reads a file.

    Raises:
        UnreadableError: the file cannot be used, does not have the run's channels, or its type is
            not covered by the rule of intensity.
    """
    if len(rule.shape) == 4:
        return _read_cube(path, rule)
    if rule.cutting is not None:
        return _read_brats_volume(path, rule, rule.cutting)
    pictures, numbers = read_slices(
        path, rule.chosen or "middle", rule.options, rule.intensity.measures, rule.shape[1]
    )
    slices = 0 if pictures[0].place is None else pictures[0].place.slices
    alike = all(images.is_gray(picture.values) for picture in pictures)
    found = pictures[0].values.shape[0]
    if found != rule.shape[0] and not (rule.convert or alike):
        raise UnreadableError(
            f"has {found} channels, the run's images have {rule.shape[0]}: "
            f"save it as {'gray' if rule.shape[0] == 1 else 'RGB'}"
        )
    first = pictures[0].values
    pictures, window = _apply_intensity(pictures, rule)
    pixels = np.stack([fit(one, rule.shape[1], rule.shape[0], rule.fit) for one in pictures])
    around = find_background(first) if rule.intensity.rule == "per_image" else None
    outside = around is not None and not window[0] <= around <= window[1]
    return UserFile(
        path,
        scale_pixels(pixels, window),
        numbers,
        window,
        pictures[0].size,
        pictures[0].stamp,
        slices=slices,
        background=around if outside else None,
        options=rule.options,
        fit=rule.fit,
        spacing=pictures[0].spacing,
        spread=float(np.ptp(pixels)) / (window[1] - window[0]),
        converted=found != rule.shape[0] and not (alike and rule.shape[0] == 1),
    )


def _apply_intensity(
    pictures: Sequence[Picture], rule: ReadingRule
) -> tuple[list[Picture], Window]:
    """Returns the pictures of a file with the values to be resized, and their window."""
    try:
        read = [rule.intensity.read(picture) for picture in pictures]
    except OtherTypeError as error:
        raise OtherTypeError(f"{error}{rule.remedy}") from None
    except StudioError as error:
        raise UnreadableError(
            f"is not 8-bit, and the window of the run's images cannot be read ({error})"
            f"{rule.remedy}"
        ) from None
    window = read[0][1]
    if window is None:
        raise OtherTypeError(f"is not 8-bit, and all images of the run are{rule.remedy}")
    return [picture for picture, _ in read], window


def _read_cube(path: Path, rule: ReadingRule) -> UserFile:
    """Reads a whole volume."""
    with images.explain_read_errors():
        if rule.brain is None:
            cube = read_cube(path, rule.cube, rule.shape[1], rule.intensity, rule.remedy)
        else:
            cube = read_brain(path, rule.brain)
    halves = rule.brain is not None and rule.brain.halves
    parts = [take_half(cube.values, side, -1) for side in (0, 1)] if halves else [cube.values]
    return UserFile(
        path,
        np.stack(parts)[:, None],
        (0, 1) if halves else (),
        (cube.mean - cube.reach, cube.mean + cube.reach),
        cube.shape[::-1],
        file_stamp(path),
        cube=cube,
        spread=float(np.ptp(cube.values)) / 2,
    )


def _read_brats_volume(path: Path, rule: ReadingRule, cutting: CuttingOptions) -> UserFile:
    """Cuts slices from a volume as `brats` does."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise UnreadableError("is not a NIfTI volume, and the run reads no other files")

    def chosen(slices: int) -> Sequence[int]:
        if rule.chosen is None:
            return rule.numbers
        return pick_slices(rule.chosen, slices)

    cut, found = cut_single_volume(path, cutting, chosen), path.stat()
    (width, height, slices), stamp = cut.shape, (found.st_size, found.st_mtime_ns)
    return UserFile(
        path,
        cut.images,
        cut.numbers,
        cut.window,
        (height, width),
        stamp,
        cut.side,
        slices,
        cut.background,
    )
