"""Notes on a user's folders: files, sizes, labels and splits."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from studio.data.dataset import Attribute, Split
from studio.data.io.attribute_table import TABLE, Table, parse_number
from studio.data.io.images import Picture
from studio.data.io.names import join_names
from studio.domains import DOMAINS

__all__ = ["Item", "category_notes", "file_notes", "pixel_notes", "table_notes", "twin_notes"]


@dataclass(frozen=True, eq=False)
class Item:
    """An image file that was decoded once.

    Attributes:
        name: path of the file, relative to the root.
        domain: `background` or `target`.
        picture: facts about the file, without its pixels.
        pixels: (C, resolution, resolution) uint8 or float32, or empty if they are not kept in
            memory.
        channels: number of channels.
        deep: whether the file has more than 8 bits per channel.
        digest: hash of the pixels.
    """

    name: str
    domain: str
    picture: Picture
    pixels: np.ndarray
    channels: int
    deep: bool
    digest: bytes


def pixel_notes(
    items: Sequence[Item], resolution: int, window: tuple[float, float], given: bool
) -> Iterator[str]:
    """Yields notes on the sizes of the images and on the changes that they go through.

    Args:
        items: the images.
        resolution: side of the data set's images in pixels.
        window: values that become -1 and 1 in images that are not 8-bit.
        given: whether the config states the window.
    """
    if len({item.picture.size for item in items}) > 1:
        for domain in DOMAINS:
            sizes = sorted({item.picture.size for item in items if item.domain == domain})
            ends = " to ".join(
                f"{width} x {height}" for height, width in dict.fromkeys((sizes[0], sizes[-1]))
            )
            plural = "s" * (len(sizes) > 1)
            yield f"{domain} images have {len(sizes)} size{plural} on disk: {ends}"
    low, high = window
    source = "data.window" if given else "0.5 and 99.5 percent of a sample for training"
    facts: dict[str, Callable[[Item], bool]] = {
        "not square: only their centre is used": lambda item: (
            item.picture.size[0] != item.picture.size[1]
        ),
        "smaller than data.resolution and enlarged": lambda item: (
            min(item.picture.size) < resolution
        ),
        "put on black where they are transparent": lambda item: item.picture.transparent,
        f"not 8-bit: values from {low:g} to {high:g} become -1 to 1 ({source})": lambda item: (
            item.deep
        ),
        "beyond data.memory_gb and read again when needed": lambda item: not item.pixels.size,
    }
    for fact, applies in facts.items():
        counts = Counter(item.domain for item in items if applies(item))
        if counts:
            numbers = f"{counts['background']} background and {counts['target']} target images"
            yield f"{numbers} are {fact}"


def category_notes(attributes: Mapping[str, Attribute]) -> Iterator[str]:
    """Yields the attributes that are categories although most of their values are numbers."""
    for name, attribute in attributes.items():
        words = [value for value in attribute.classes if parse_number(value) is None]
        if 0 < len(words) < len(attribute.classes):
            reason = f"because some values are not numbers: {join_names(words)}"
            yield f"attribute {name} is read as categories, {reason}"


def file_notes(
    quarantined: Sequence[tuple[str, str]], ignored: Sequence[str], files: int
) -> Iterator[str]:
    """Yields notes on files that are set aside or ignored, of `files` in all."""
    if quarantined:
        yield (
            f"{len(quarantined)} of {files} files are set aside: "
            f"{join_names([f'{n} ({why})' for n, why in quarantined])}"
        )
    if ignored:
        yield f"{len(ignored)} other files are ignored: {join_names(ignored)}"


def table_notes(names: Sequence[str], table: Table, spare: Sequence[str]) -> Iterator[str]:
    """Yields notes on files without a row, unused columns, and the origin of the splits."""
    without = [name for name in names if name not in table]
    if table and without:
        yield f"{len(without)} of {len(names)} files have no row in {TABLE}: {join_names(without)}"
    if spare:
        yield f"columns that data.attributes does not name are not used: {join_names(spare, 20)}"
    stated = [name for name, cells in table.items() if cells.get("split")]
    subjects = [
        name for name, cells in table.items() if cells.get("subject") and not cells.get("split")
    ]
    rules = {f"as {TABLE} says": len(stated), "by subject": len(subjects)}
    rules["by their own name"] = len(names) - sum(rules.values())
    yield "split: " + ", ".join(f"{count} files {rule}" for rule, count in rules.items() if count)


def twin_notes(items: Sequence[Item], splits: Mapping[str, Split]) -> Iterator[str]:
    """Yields notes on identical images in both splits or in both folders."""
    groups = defaultdict(list)
    for item in items:
        groups[item.digest].append(item)
    sides = {
        "in both splits": lambda item: splits[item.name],
        "in both folders": lambda item: item.domain,
    }
    for place, side in sides.items():
        twins = [group for group in groups.values() if len({side(item) for item in group}) > 1]
        if twins:
            names = [" = ".join(item.name for item in group[:3]) for group in twins]
            yield f"{len(twins)} images are {place}: {join_names(names)}"
