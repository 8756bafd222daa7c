"""The options of `studio apply`: kinds of results, slices, and values of black and white."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from studio.arguments import check_whole_number
from studio.data.brats.config import BratsConfig
from studio.data.intensity import Intensity
from studio.data.io.volume_slices import Slices
from studio.data.vbm.config import VbmConfig
from studio.errors import StudioError, nearest
from studio.runs.run import Run

__all__ = ["DIFFERENCE", "KINDS", "check_reading", "choose_intensity", "output_kinds"]

KINDS = ("encode", "reconstruct", "heal", "swap", "score")
TABLES = ("encode", "score")  # kinds that are tables, without a folder of files
DIFFERENCE = "difference"  # |reconstruction - healed|


def output_kinds(what: Sequence[str], donors: str | Path | None, difference: bool) -> list[str]:
    """Returns the kinds of files to write, i.e. the names of their folders."""
    for kind in what:
        if kind not in KINDS:
            raise StudioError(f"--what {kind}: no such kind{nearest(kind, KINDS)}")
    if ("swap" in what) != (donors is not None):
        missing = (
            "needs --with, the image that gives its salient content"
            if donors is None
            else "missing, but --with is given"
        )
        raise StudioError(f"--what swap: {missing}")
    maps = difference or "score" in what  # the map of a score
    return [*(kind for kind in dict.fromkeys(what) if kind not in TABLES), *[DIFFERENCE] * maps]


def check_reading(chosen: Slices | None, window: tuple[float, float] | None) -> None:
    """Refuses a slice or a window that is none."""
    if isinstance(chosen, tuple):
        for number in chosen:
            check_whole_number("chosen", number, 0)
        if len(chosen) not in (2, 3) or chosen[0] > chosen[1] or 0 in chosen[2:]:
            raise StudioError(
                f"chosen: found {chosen}, expected (first, last) or (first, last, step) with "
                "first <= last"
            )
    elif chosen is not None and chosen not in ("middle", "all"):
        check_whole_number("chosen", chosen, 0)
    if window is None:
        return
    values = np.asarray(window, np.float64).ravel()
    if len(values) != 2 or not np.isfinite(values).all() or not values[0] < values[1]:
        raise StudioError(f"window: found {window}, expected two finite numbers, low below high")


def choose_intensity(run: Run, window: tuple[float, float] | None) -> Intensity:
    """Returns the rule of intensity of the run, or the given window for all files."""
    if window is None:
        return run.intensity
    if isinstance(run.config.data, VbmConfig):
        raise StudioError("--window: this run normalises each volume by itself, so it has no use")
    if isinstance(run.config.data, BratsConfig):
        raise StudioError("--window: this run takes percentiles of each volume, so it has no use")
    return Intensity("window", window)
