"""The background of a scan: the one value that fills the space around the body.

It is 0 in most skull-stripped scans, but not in those that were standardised (z-scores) or shifted.
"""

import math
from typing import Literal

import numpy as np

__all__ = ["NanRule", "check_nan_rule", "fill_nan", "find_background"]

FILLED = 0.5  # share of the border that the background fills at least
CHANNELS = 3  # an axis of this length or less has channels and no border

NanRule = float | Literal["background"] | None


def find_background(values: np.ndarray) -> float | None:
    """Returns the value that fills the border of a scan, or None if no value does.

    Args:
        values: an image (H, W) or (C, H, W), or a volume (X, Y, Z). NaN are not counted.
    """
    faces = [
        np.take(values, end, axis).ravel()
        for axis, length in enumerate(values.shape)
        if length > CHANNELS
        for end in (0, -1)
    ]
    border = np.concatenate(faces) if faces else values.ravel()
    border = border[~np.isnan(border)]
    if not border.size:
        return None
    found, counts = np.unique(border, return_counts=True)
    most = int(counts.argmax())
    return float(found[most]) if counts[most] >= FILLED * border.size else None


def check_nan_rule(rule: object) -> NanRule:
    """Returns a rule of a config if it is valid, with whole numbers as floats.

    Raises:
        ValueError: it is neither a finite number nor `background` nor None.
    """
    if rule is None:
        return None
    if rule == "background":
        return "background"
    if isinstance(rule, int | float) and not isinstance(rule, bool) and math.isfinite(rule):
        return float(rule)
    raise ValueError(f"found {rule!r}, expected a number, background or null")


def fill_nan(values: np.ndarray, rule: NanRule) -> tuple[np.ndarray, int]:
    """Replaces NaN in a scan.

    Args:
        values: the scan, see `find_background`.
        rule: the value that NaN become. background: the background of the scan, or its lowest
            value if it has none. None: NaN stay.

    Returns:
        The values, and the number of NaN that were replaced. A scan that is NaN everywhere stays.
    """
    if rule is None or values.dtype.kind != "f":
        return values, 0
    missing = np.isnan(values)
    count = int(np.count_nonzero(missing))
    if count in (0, values.size):
        return values, 0
    if rule == "background":
        found = find_background(values)
        rule = float(np.nanmin(values)) if found is None else found
    return np.where(missing, np.asarray(rule, values.dtype), values), count
