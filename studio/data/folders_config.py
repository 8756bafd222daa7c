"""The section `data` of a config whose data set is `folders`."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from studio.data.conditions import ConditionsConfig
from studio.data.io.background import NanRule, check_nan_rule
from studio.data.io.fitting import Fit
from studio.data.io.images import KINDS
from studio.data.io.slices import Axis, VolumeOptions
from studio.data.io.volume_slices import Slices
from studio.data.splits import SplitConfig
from studio.limits import Most

__all__ = ["FOLDERS_LAYOUT", "FoldersConfig", "ImageMeasure", "Normalise"]

Normalise = Literal["auto", "range", "window", "per_image"]
ImageMeasure = Literal["percentiles", "zscore", "header"]

FOLDERS_LAYOUT = (
    f"ROOT/background/... and ROOT/target/... with {KINDS} files; optionally ROOT/attributes.csv "
    "with a column `file`, and if you have them `split` (train or test), `subject` and any "
    "attributes"
)


def _listed(patterns: object) -> object:
    return (patterns,) if isinstance(patterns, str) else patterns


Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False), BeforeValidator(_listed)
]


class FoldersConfig(SplitConfig, ConditionsConfig):
    """The section of `folders`."""

    name: Literal["folders"] = "folders"
    """Name of the data set."""

    root: str | None = Field(default=None, validate_default=True)
    """Folder with the folders `background` and `target`. It must be given."""

    resolution: int = Field(default=64, ge=6, le=Most.SIDE)
    """Side of the squares that images become, see `fit`.

    Unit: pixels.
    """

    fit: Fit = "crop"
    """How an image that is not square becomes one. crop: its largest square in the middle is used.
    pad: it is centred in the smallest square around it, and the value that fills its border, or its
    lowest one, fills the rest. squash: its sides are resized without keeping their ratio.
    """

    channels: Literal["auto", 1, 3] = "auto"
    """Number of channels, 1 for gray and 3 for RGB. auto: that of most files.

    Unit: channels.
    """

    window: Literal["auto"] | Annotated[tuple[float, float], Field(strict=False)] = "auto"
    """Lowest and highest value of the images, which become -1 and 1, in files of every type.
    auto: as `normalise` says.

    Unit: values of the files.
    """

    normalise: Normalise = "auto"
    """Values that become -1 and 1. range: the full range of the file's integer type (8 or 16 bits),
    or `window`. window: the same two values in all files, `window` or the 0.5th and 99.5th
    percentile of a sample of training images. per_image: two values of each image or whole
    volume, see `per_image`, as for scans of several scanners. auto: range if all files are 8-bit,
    window if none is or if `window` is given. 8-bit files beside others are refused until
    `window` or `normalise` is given.
    """

    per_image: ImageMeasure = "percentiles"
    """Values of an image or volume that become -1 and 1 if `normalise` is per_image. percentiles:
    its 0.5th and 99.5th percentile. zscore: its mean minus and plus three standard deviations. The
    value that fills its border, such as air, does not count. header: the window that a DICOM image
    states, and the percentiles of files without one.
    """

    slice: Slices = "middle"
    """Number of the slice to take from volumes, along `axis`. middle: the middle one. all, or
    [first, last] or [first, last, step]: these slices, each as an image of its own. All slices of a
    volume belong to one subject, and those that are empty are left out.

    Unit: slices, counted from 0.
    """

    axis: Axis = "auto"
    """Axis of volumes along which slices are counted. auto: the last one of an npy array, and from
    feet to head in other volumes, whatever their storage order. 0, 1, 2: that axis of an npy array,
    and in others from left to right, from back to front, and from feet to head.
    """

    volume: int | None = Field(default=None, ge=0, le=Most.COUNT)
    """Number of the volume to take from files with several, such as 4-D NIfTI. null: such files
    cannot be used.

    Unit: volumes, counted from 0.
    """

    nan: NanRule = None
    """Value that NaN in npy files and volumes become. background: the value that fills the border
    of the image, or its lowest one if none does. null: files with NaN cannot be used.

    Unit: values of the files.
    """

    files: Patterns = ()
    """Patterns of the images to use, such as "*_T1w.nii.gz". A pattern without a slash is compared
    with the name of the file, one with a slash with its path below the root or below `background`
    and `target`, in any case. Empty: all.
    """

    exclude: Patterns = ()
    """Patterns of images to leave out, such as "*_mask.nii.gz"."""

    show_names: bool = True
    """Whether pictures, reports and the app name files and subjects. false: they show `target 271`
    instead.
    """

    conditions: Patterns = ()
    """Folders inside of `target`, each a condition of the target set, such as a disease. They are
    the classes of the salient attribute `condition`, and do not count as subjects. Empty: one
    condition."""

    max_bad: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of the files that may be unusable.

    Unit: none.
    """

    memory_gb: float = Field(default=2.0, ge=0, le=Most.MEMORY)
    """Memory for decoded images. If they need more, they are read from the cache when needed.

    Unit: GB.
    """

    cache: str | None = None
    """Folder of the cache of decoded images, which is used if decoding takes more than a second.
    null: the folder that the environment variable STUDIO_CACHE names, else `.studio-cache` in
    `root`."""

    @field_validator("root")
    @classmethod
    def _given(cls, root: str | None) -> str:
        if not root:
            raise ValueError(f"missing: the folder with your images, laid out as {FOLDERS_LAYOUT}")
        return root

    @field_validator("conditions")
    @classmethod
    def _several(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in conditions if conditions.count(name) > 1})
        if twice:
            raise ValueError(f"found {twice[0]!r} twice, expected each folder once")
        if len(conditions) == 1:
            raise ValueError(f"found {conditions[0]!r}, expected none, or two or more folders")
        return conditions

    @field_validator("slice", mode="before")
    @classmethod
    def _number_or_several(cls, chosen: object) -> object:
        if chosen in ("middle", "all") or (type(chosen) is int and chosen >= 0):
            return chosen
        given = chosen if isinstance(chosen, list | tuple) else ()
        numbers = [number for number in given if type(number) is int and number >= 0]
        valid = len(numbers) == len(given) and len(numbers) in (2, 3) and 0 not in numbers[2:]
        if not valid or numbers[0] > numbers[1]:
            raise ValueError(
                f"found {chosen!r}, expected middle, all, a number from 0, or [first, last] or "
                "[first, last, step] with first <= last"
            )
        return tuple(numbers)

    @field_validator("axis", mode="before")
    @classmethod
    def _known_axis(cls, axis: object) -> object:
        if axis != "auto" and not (type(axis) is int and 0 <= axis <= 2):
            raise ValueError(f"found {axis!r}, expected auto, 0, 1 or 2")
        return axis

    @field_validator("nan", mode="before")
    @classmethod
    def _nan_rule(cls, rule: object) -> object:
        return check_nan_rule(rule)

    @field_validator("normalise")
    @classmethod
    def _uses_window(cls, normalise: Normalise, info: ValidationInfo) -> Normalise:
        if normalise == "per_image" and info.data.get("window", "auto") != "auto":
            raise ValueError("per_image takes its values from each image: set window: auto")
        return normalise

    @field_validator("per_image")
    @classmethod
    def _is_used(cls, measure: ImageMeasure, info: ValidationInfo) -> ImageMeasure:
        if measure != "percentiles" and info.data.get("normalise", "per_image") != "per_image":
            raise ValueError(f"{measure} needs normalise: per_image")
        return measure

    @property
    def volumes(self) -> VolumeOptions:
        """How slices are taken from volumes."""
        return VolumeOptions(self.axis, self.volume, self.nan)

    @field_validator("window", mode="before")
    @classmethod
    def _two_numbers(cls, window: object) -> object:
        numbers = (
            window
            if isinstance(window, list | tuple) and all(type(n) in (int, float) for n in window)
            else ()
        )
        if window != "auto" and not (
            len(numbers) == 2 and -np.inf < numbers[0] < numbers[1] < np.inf
        ):
            raise ValueError(f"found {window!r}, expected auto or [low, high] with low < high")
        return window
