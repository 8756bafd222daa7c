"""The rule of intensity of a data set: which values of its files become -1 and 1.

A data set has one rule for all its files, whatever their types, and a run keeps it:

- `range`: the full range of the integer type, 0 and 255 in 8-bit files.
- `window`: the same two values in every file, given or taken from the training images.
- `per_image`: two values of each image, or of the whole volume from which a slice is taken.
- `per_file`: the rule of runs before `data.normalise`. 8-bit files have the range 0 to 255, others
  the window. It cannot be chosen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from studio.data.folders_config import FoldersConfig, ImageMeasure
from studio.data.io.background import find_background
from studio.data.io.images import EIGHT_BIT, Picture
from studio.data.io.names import join_names
from studio.data.io.slices import UnreadableError

__all__ = [
    "EIGHT_BIT_RANGE",
    "PERCENTILES",
    "RANGES",
    "SAME",
    "Intensity",
    "OtherTypeError",
    "Window",
    "kept_intensity",
    "measure_image",
    "stated_intensity",
]

PERCENTILES = (0.5, 99.5)  # become -1 and 1
SAME = "has the same value everywhere"
DEVIATIONS = 3  # standard deviations on each side of the mean that become -1 and 1
MOST_MEASURED = 2**20  # values of an image or volume from which its window is taken

Window = tuple[float, float]
Rule = Literal["range", "window", "per_image", "per_file"]

RANGES: dict[str, Window] = {  # type of a file -> its full range; other types have no useful one
    "uint8": EIGHT_BIT,
    "int8": (-128.0, 127.0),
    "uint16": (0.0, 65535.0),
    "int16": (-32768.0, 32767.0),
}


class OtherTypeError(UnreadableError):
    """The rule of intensity does not cover a file's type."""


@dataclass(frozen=True)
class Intensity:
    """The rule of intensity of a data set.

    Attributes:
        rule: the rule.
        window: the values that become -1 and 1, for `window` and `per_file`. None: not known yet,
            or no file has needed it.
        ranges: type of a file -> its range, for `range`.
        measure: which two values of an image become -1 and 1, for `per_image`.
        find_window: returns the window when a file needs it and `window` is None.
    """

    rule: Rule
    window: Window | None = None
    ranges: Mapping[str, Window] = field(default_factory=dict)
    measure: ImageMeasure = "percentiles"
    find_window: Callable[[], Window | None] | None = None

    @property
    def measures(self) -> Callable[[np.ndarray], Window] | None:
        """Returns the window of an image or volume if each has its own, else None."""
        if self.rule != "per_image":
            return None
        return lambda values: measure_image(values, self.measure)

    def read(self, picture: Picture) -> tuple[Picture, Window | None]:
        """Returns a picture with the values to be resized, and its window.

        8-bit values stay 8-bit where they have their full range. Elsewhere they are resized without
        rounding, as those of other types are.

        Raises:
            OtherTypeError: the rule does not cover files of this type.
            UnreadableError: the image has the same value everywhere.
        """
        if self.rule == "range":
            return self._read_range(picture)
        if self.rule == "per_file" and picture.values.dtype == np.uint8:
            return picture, EIGHT_BIT
        plain = replace(picture, values=picture.values.astype(np.float32))
        if self.rule == "per_image":
            if self.measure == "header" and picture.stated is not None:
                return plain, picture.stated
            return plain, picture.window or measure_image(picture.values, self.measure)
        return plain, self.window or (self.find_window and self.find_window())

    def _read_range(self, picture: Picture) -> tuple[Picture, Window]:
        """Reads a file by the range of its type.

        If the data set has one type, whole numbers within its range are read alike in any type.
        """
        if picture.type in self.ranges:
            return picture, self.ranges[picture.type]
        values = picture.values
        span = f"values from {values.min():g} to {values.max():g}"
        if len(self.ranges) > 1:
            raise OtherTypeError(
                f"is {picture.type} with {span}: data.normalise: range needs integers of "
                "8 or 16 bits, data.window states another range"
            )
        [(kind, (low, high))] = self.ranges.items()
        if values.min() < low or values.max() > high or (values != np.rint(values)).any():
            name = "8-bit" if kind == "uint8" else kind
            raise OtherTypeError(
                f"is not {name} as the images of the data set but {picture.type} with {span}"
            )
        same = values.astype(np.uint8) if kind == "uint8" else values
        return replace(picture, values=same, type=kind), (low, high)

    def describe(self) -> str:
        """Returns in words which values become -1 and 1."""
        window = (
            "no others" if self.window is None else "values from {:g} to {:g}".format(*self.window)
        )
        if self.rule == "window":
            return f"{window} become -1 to 1"
        if self.rule == "per_file":
            return f"0 to 255 become -1 to 1 in 8-bit files, in others {window}"
        if self.rule == "per_image":
            values = {
                "percentiles": "0.5 and 99.5 percent of its values",
                "zscore": "mean minus and plus three standard deviations",
                "header": "the window of its DICOM header, or 0.5 and 99.5 percent of its values,",
            }[self.measure]
            return f"each image has its own range, {values} become -1 and 1"
        each = [f"{low:g} to {high:g} of {kind}" for kind, (low, high) in self.ranges.items()]
        return f"the full range of each file's type becomes -1 to 1: {join_names(each)}"

    def to_json(self) -> dict[str, Any]:
        """Returns the rule without its window as an object for a JSON file."""
        if self.rule == "range":
            return {"rule": self.rule, "ranges": {k: [*v] for k, v in self.ranges.items()}}
        if self.rule == "per_image":
            return {"rule": self.rule, "measure": self.measure}
        return {"rule": self.rule}

    @classmethod
    def from_json(cls, derived: Mapping[str, Any]) -> "Intensity":
        """Returns the rule from the facts that a run has stored, see `Dataset.derived`."""
        stored, window = derived["normalise"], derived.get("window")
        return cls(
            stored["rule"],
            None if window is None else (float(window[0]), float(window[1])),
            {kind: (float(a), float(b)) for kind, (a, b) in stored.get("ranges", {}).items()},
            stored.get("measure", "percentiles"),
        )


EIGHT_BIT_RANGE = Intensity("range", ranges={"uint8": EIGHT_BIT})


def stated_intensity(config: FoldersConfig) -> Intensity | None:
    """Returns the rule that a config states, None if it depends on the files.

    A `window` whose values are to be found has no values yet.
    """
    if config.window != "auto":
        return Intensity("window", config.window)
    if config.normalise == "per_image":
        return Intensity("per_image", measure=config.per_image)
    if config.normalise == "window":
        return Intensity("window")
    return Intensity("range", ranges=RANGES) if config.normalise == "range" else None


def kept_intensity(config: FoldersConfig, derived: Mapping[str, Any] | None) -> Intensity | None:
    """Returns the rule that a run has stored, None if it has none or its config states another."""
    if derived is None or "normalise" not in derived:
        return None
    stored, stated = Intensity.from_json(derived), stated_intensity(config)
    if stored.rule == "per_file" and config.normalise == "auto":
        return replace(stored, window=stored.window if stated is None else stated.window)
    if stated is None:
        return stored
    same = (stated.rule, stated.measure) == (stored.rule, stored.measure)
    return stored if same and stated.window in (None, stored.window) else None


def measure_image(values: np.ndarray, measure: ImageMeasure) -> Window:
    """Returns the two values of an image or volume that become -1 and 1.

    The background, i.e. the value that fills the border, does not count. NaN do not, either.

    Raises:
        UnreadableError: all values are the same.
    """
    finite = values[np.isfinite(values)]
    inside = finite[finite != find_background(values)]
    inside = inside[:: max(1, inside.size // MOST_MEASURED)].astype(np.float64)
    low = high = 0.0
    if inside.size and measure != "zscore":
        low, high = np.percentile(inside, PERCENTILES).tolist()
    elif inside.size:
        mean, reach = float(inside.mean()), DEVIATIONS * float(inside.std())
        low, high = mean - reach, mean + reach
    if not low < high and finite.size:
        low, high = float(finite.min()), float(finite.max())
    if not low < high:
        raise UnreadableError(SAME)
    return low, high
