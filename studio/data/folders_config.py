"""The section `data` of a config whose data set is `folders`."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator

from studio.data.splits import SplitConfig

__all__ = ["FOLDERS_LAYOUT", "FoldersConfig"]

FOLDERS_LAYOUT = (
    "ROOT/background/... and ROOT/target/... with png, jpg, npy, nii or nii.gz files; "
    "optionally ROOT/attributes.csv "
    "with a column `file`, and if you have them `split` (train or test), `subject` and any "
    "attributes"
)


def _listed(patterns: object) -> object:
    return (patterns,) if isinstance(patterns, str) else patterns


Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False), BeforeValidator(_listed)
]


class FoldersConfig(SplitConfig):
    """The section of `folders`."""

    name: Literal["folders"] = "folders"
    """Name of the data set."""

    root: str | None = Field(default=None, validate_default=True)
    """Folder with the folders `background` and `target`. It must be given."""

    resolution: int = Field(default=64, ge=6)
    """Side to which the largest square in the middle of each image is resized.

    Unit: pixels.
    """

    channels: Literal["auto", 1, 3] = "auto"
    """Number of channels, 1 for gray and 3 for RGB. auto: that of most files.

    Unit: channels.
    """

    window: Literal["auto"] | Annotated[tuple[float, float], Field(strict=False)] = "auto"
    """Lowest and highest value of images that are not 8-bit, which become -1 and 1. auto: the
    0.5th and 99.5th percentile of a sample of training images.

    Unit: values of the files.
    """

    slice: Literal["middle"] | Annotated[int, Field(ge=0)] = "middle"
    """Number of the slice to take from volumes, along their last axis. middle: the middle one.

    Unit: slices, counted from 0.
    """

    files: Patterns = ()
    """Patterns of the images to use, such as "*_T1w.nii.gz". A pattern without a slash is compared
    with the name of the file, one with a slash with its path below the root or below `background`
    and `target`, in any case. Empty: all.
    """

    exclude: Patterns = ()
    """Patterns of images to leave out, such as "*_mask.nii.gz"."""

    max_bad: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of the files that may be unusable.

    Unit: none.
    """

    memory_gb: float = Field(default=2.0, ge=0)
    """Memory for decoded images. Images beyond it are read from their files when needed.

    Unit: GB.
    """

    @field_validator("root")
    @classmethod
    def _given(cls, root: str | None) -> str:
        if not root:
            raise ValueError(f"missing: the folder with your images, laid out as {FOLDERS_LAYOUT}")
        return root

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
