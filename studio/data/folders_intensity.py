"""The intensities of a user's folders: files of different depth, and notes on ranges."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from studio.data.folders_config import FoldersConfig
from studio.data.folders_notes import Item
from studio.data.intensity import (
    EIGHT_BIT_RANGE,
    PERCENTILES,
    RANGES,
    Intensity,
    Window,
    kept_intensity,
    stated_intensity,
)
from studio.domains import DOMAINS
from studio.errors import StudioError

__all__ = [
    "complete_intensity",
    "intensity_notes",
    "measure_span",
    "reading_intensity",
    "reads_otherwise",
]

SPAN_PIXELS = 2**12  # pixels of an image from which its typical range is taken
FEW = 0.1  # a share of a range below this is noted as a sliver
UNLIKE = 4.0  # factor between the values of integer and float files that cannot be one unit
OVERLAP = 0.4  # typical ranges of the two folders that overlap by less are noted
SPREAD = 5.0  # ratio between wide and narrow images from which it is noted


def measure_span(pixels: np.ndarray) -> Window:
    """Returns the values between which nearly all pixels of an image lie."""
    flat = pixels.ravel()
    low, high = np.percentile(flat[:: max(1, flat.size // SPAN_PIXELS)], PERCENTILES).tolist()
    return low, high


def pool_window(sample: Sequence[np.ndarray]) -> Window:
    """Returns the percentiles of a sample of images, which become -1 and 1.

    Raises:
        StudioError: the sample is empty.
    """
    if not sample:
        raise StudioError("data.window: only test images are 16-bit or float: give [low, high]")
    values = np.concatenate(sample)
    low, high = np.percentile(values, PERCENTILES).tolist()
    if low == high:  # nearly all pixels have the same value
        low, high = float(values.min()), float(values.max())
    return low, high


def reading_intensity(config: FoldersConfig, derived: Mapping[str, Any] | None) -> Intensity:
    """Returns the rule by which files are read before all of them are known.

    It is the same for a new run and for one that is opened again, so both find the same cache.
    `reads_otherwise` tells which files the rule of the run treats in another way.

    Args:
        config: the section of the data set.
        derived: the facts that a run has stored, see `Dataset.derived`. None for a new run.
    """
    kept = kept_intensity(config, derived)
    if _is_former(config, derived) or (kept is not None and kept.rule == "per_file"):
        return Intensity("per_file")
    return stated_intensity(config) or Intensity("per_file")


def reads_otherwise(kept: Intensity, reading: Intensity, found: Item | str) -> bool:
    """Returns whether a run's rule reads a file otherwise than the rule by which it was read.

    Args:
        kept: the rule of the run.
        reading: see `reading_intensity`.
        found: the image, or the reason why the file cannot be used.
    """
    if isinstance(found, str):
        return kept.rule == reading.rule == "range"
    if kept.rule == "range":
        return found.type not in kept.ranges
    return kept.rule == "window" and reading.rule == "per_file" and found.type == "uint8"


def complete_intensity(
    rule: Intensity,
    config: FoldersConfig,
    derived: Mapping[str, Any] | None,
    items: Sequence[Item],
    sample: Callable[[Sequence[Item]], Sequence[np.ndarray]],
) -> Intensity:
    """Returns the rule with its window or its types, when all files are known.

    Args:
        rule: the rule by which they were read.
        config: the section of the data set.
        derived: the facts that a run has stored. None for a new run.
        items: all images.
        sample: returns pixels of some training images among the given ones.

    Raises:
        StudioError: the files have different depths, and the config does not state a rule.
    """
    if (kept := kept_intensity(config, derived)) is not None:
        return kept
    if derived is not None and _is_former(config, derived):
        return replace(rule, window=_former_window(config, derived, items, sample))
    if rule.rule == "range":
        types = {item.type for item in items}
        return replace(rule, ranges={k: v for k, v in rule.ranges.items() if k in types})
    if rule.rule == "per_file":
        check_depth(str(config.root), items)
        if items[0].type == "uint8":
            return EIGHT_BIT_RANGE
        rule = Intensity("window")
    if rule.rule == "window" and rule.window is None:
        return replace(rule, window=pool_window(sample(items)))
    return rule


def _is_former(config: FoldersConfig, derived: Mapping[str, Any] | None) -> bool:
    """Returns whether a run of an older studio is opened, which had one rule per file."""
    return derived is not None and "normalise" not in derived and config.normalise == "auto"


def _former_window(
    config: FoldersConfig,
    stored: Mapping[str, Any],
    items: Sequence[Item],
    sample: Callable[[Sequence[Item]], Sequence[np.ndarray]],
) -> Window | None:
    """Returns the window of a run of an older studio, which holds for files beyond 8 bits."""
    deep = [item for item in items if item.type != "uint8"]
    if not deep:
        return None
    if config.window != "auto":
        return config.window
    if stored.get("window") is not None:
        low, high = stored["window"]
        return float(low), float(high)
    return pool_window(sample(deep))


def check_depth(root: str, items: Sequence[Item]) -> None:
    """Refuses files whose values cannot be of one unit, because of their types.

    Raises:
        StudioError: 8-bit files lie beside others, or integers beside floats of other sizes.
    """
    groups = {
        "8-bit": [item for item in items if item.type == "uint8"],
        "integers": [item for item in items if item.type != "uint8" and "int" in item.type],
        "floats": [item for item in items if "float" in item.type],
    }
    groups = {kind: found for kind, found in groups.items() if found}
    if len(groups) < 2 or ("8-bit" not in groups and _alike(*groups.values())):
        return
    facts = [f"{kind}: {_describe(found)}" for kind, found in groups.items()]
    low, high = min(item.low for item in items), max(item.high for item in items)
    if "8-bit" in groups:
        low, high = min(low, 0.0), max(high, 255.0)
    remedies = [f"data.window: [{low:g}, {high:g}] if all have one unit"]
    if all(item.type in RANGES for item in items):
        remedies.append("data.normalise: range if each type is used in full")
    remedies.append("data.normalise: per_image to scale each image by its own values")
    if "8-bit" in groups and max(item.high for item in items if item.type != "uint8") <= 1:
        remedies[0] = "multiply the floats by 255 if they are 8-bit values divided by it"
    raise StudioError(
        f"{root}: files of different depth: {'; '.join(facts)}. A model would tell them apart by "
        f"their type. Say what their values mean: {', '.join(remedies)}. Or save all files in one "
        "type."
    )


def _describe(items: Sequence[Item]) -> str:
    """Returns the numbers of files, their types and values, and an example."""
    counts = Counter(item.domain for item in items)
    numbers = " and ".join(f"{counts[d]} {d}" for d in DOMAINS if counts[d])
    types = sorted({item.type for item in items} - {"uint8"})
    low, high = min(item.low for item in items), max(item.high for item in items)
    return (
        f"{numbers} files ({', '.join([*types, f'{low:g} to {high:g}'])}), such as {items[0].name}"
    )


def _alike(one: Sequence[Item], other: Sequence[Item]) -> bool:
    """Returns whether the typical values of two groups of files have one size."""
    sizes = [float(np.median([item.high - item.low for item in g])) for g in (one, other)]
    return max(sizes) < UNLIKE * min(sizes)


def intensity_notes(rule: Intensity, items: Sequence[Item], given: bool) -> Iterator[str]:
    """Yields notes on the rule, and on images that it does not fit.

    Args:
        rule: the rule of the data set.
        items: all images.
        given: whether the config states the window.
    """
    yield from _rule_notes(rule, items, given)
    if rule.rule == "per_image":
        return
    windows = [item.window or rule.window or (0.0, 1.0) for item in items]
    reach = np.array([high - low for low, high in windows])
    shares = np.array([item.high - item.low for item in items]) / reach
    low, high = min(item.low for item in items), max(item.high for item in items)
    used = float(np.median(shares))
    if used < FEW:
        first = windows[0]
        yield (
            f"the images use {used:.1%} of the range {first[0]:g} to {first[1]:g}, so they are "
            f"nearly uniform: set data.window: [{low:g}, {high:g}], unless they are labels or "
            "masks that do not belong here"
        )
    elif given and 1 / used < FEW:
        first = windows[0]
        yield (
            f"data.window {first[0]:g} to {first[1]:g} is {1 / used:.1%} of a typical image's "
            "range: everything outside becomes black or white"
        )
    yield from _contrast_notes(items, windows, shares)


def _rule_notes(rule: Intensity, items: Sequence[Item], given: bool) -> Iterator[str]:
    """Yields notes on the effect of the rule. Plain 8-bit images need none."""
    deep = [item for item in items if item.type != "uint8"]
    if rule.rule == "window":
        source = "data.window" if given else "0.5 and 99.5 percent of a sample for training"
        yield f"{rule.describe()} ({source})"
        types = sorted({item.type for item in items})
        if not given and len(types) > 1:
            yield f"the values of files of the types {', '.join(types)} are taken as one unit"
    elif rule.rule == "per_file":
        if deep:
            yield rule.describe()
        if len(deep) < len(items) and (given or deep):
            yield (
                "this run was trained by an older studio: its 8-bit images keep the range 0 to "
                "255, whatever data.window says"
            )
    elif rule.rule == "per_image" or set(rule.ranges) != {"uint8"}:
        yield f"{rule.describe()} (data.normalise: {rule.rule})"


def _contrast_notes(
    items: Sequence[Item], windows: Sequence[Window], used: np.ndarray
) -> Iterator[str]:
    """Yields a note if the two folders, or the images, differ strongly in their ranges.

    Args:
        items: all images.
        windows: the values that become -1 and 1 in each.
        used: the range of each image, as a share of its window.
    """
    scaled: dict[str, list[tuple[float, float]]] = {domain: [] for domain in DOMAINS}
    own: dict[str, list[Window]] = {domain: [] for domain in DOMAINS}
    for item, (low, high) in zip(items, windows, strict=True):
        scaled[item.domain].append(
            ((item.span[0] - low) / (high - low), (item.span[1] - low) / (high - low))
        )
        own[item.domain].append(item.span)
    remedy = "if scanners, exposures or units differ, set data.normalise: per_image"
    one, other = (np.median(scaled[domain], axis=0) for domain in DOMAINS)
    union = max(one[1], other[1]) - min(one[0], other[0])
    if union > 0 and min(one[1], other[1]) - max(one[0], other[0]) < OVERLAP * union:
        yield (
            f"typical values differ between the folders, {_typical(own)}, which alone tells them "
            f"apart: {remedy}"
        )
        return
    narrow, wide = np.percentile(used, (10, 90)).tolist()
    if wide > SPREAD * narrow:
        yield (
            f"the images differ in range: a tenth uses less than {narrow:.1%} of what becomes -1 "
            f"to 1, a tenth more than {min(wide, 1):.0%}: {remedy}"
        )


def _typical(own: Mapping[str, Sequence[Window]]) -> str:
    parts = []
    for domain, spans in own.items():
        low, high = np.median(spans, axis=0)
        parts.append(f"{domain} {low:.4g} to {high:.4g}")
    return " and ".join(parts)
