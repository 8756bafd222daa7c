"""Notes on a user's folders: files, sizes, labels and splits."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from studio.data.io.attribute_table import TABLE, AttributeTable
from studio.data.io.fitting import Fit
from studio.data.io.images import Picture
from studio.data.io.names import join_names
from studio.data.splits import SplitPlan
from studio.data.subjects import Origin
from studio.domains import DOMAINS

__all__ = ["Item", "file_notes", "pixel_notes", "split_notes", "table_notes", "twin_notes"]

RULES: dict[Origin, str] = {  # reason of a split -> words, with the number of subjects
    "table": f"as {TABLE} says",
    "folder": "as their folders train, test or val say",
    "subject": "by subject",
    "bids": "by the sub-XX in their path ({} subjects)",
    "sub-folder": "by sub-folder (each of {} counts as one subject, see data.subjects)",
    "twin": "by a name that several files share ({} names, each counts as one subject)",
    "own": "by their own name",
}


NOT_SQUARE: dict[Fit, str] = {
    "crop": "only their centre is used (data.fit: pad or squash uses all)",
    "pad": "they are padded to squares",
    "squash": "their sides are resized to squares",
}


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
        type: type of the values in the file, such as uint8.
        low: lowest value in the file.
        high: highest value in the file.
        span: 0.5th and 99.5th percentile of the pixels.
        window: the values that become -1 and 1 in this image, None for those of the data set.
        digest: hash of the pixels.
        gray: hash of the pixels in one channel if the file is gray saved as RGB, else empty.
    """

    name: str
    domain: str
    picture: Picture
    pixels: np.ndarray
    channels: int
    type: str
    low: float
    high: float
    span: tuple[float, float]
    window: tuple[float, float] | None
    digest: bytes
    gray: bytes = b""


def pixel_notes(items: Sequence[Item], resolution: int, how: Fit = "crop") -> Iterator[str]:
    """Yields notes on the sizes of the images and on the changes that they go through.

    Args:
        items: the images.
        resolution: side of the data set's images in pixels.
        how: how they become square.
    """
    if len({item.picture.size for item in items}) > 1:
        for domain in DOMAINS:
            sizes = sorted({item.picture.size for item in items if item.domain == domain})
            ends = " to ".join(
                f"{width} x {height}" for height, width in dict.fromkeys((sizes[0], sizes[-1]))
            )
            plural = "s" * (len(sizes) > 1)
            yield f"{domain} images have {len(sizes)} size{plural} on disk: {ends}"
    facts: dict[str, Callable[[Item], bool]] = {
        f"not square: {NOT_SQUARE[how]}": lambda item: item.picture.size[0] != item.picture.size[1],
        "smaller than data.resolution and enlarged": lambda item: (
            (max if how == "pad" else min)(item.picture.size) < resolution
        ),
        "put on black where they are transparent": lambda item: item.picture.transparent,
        "gray saved as RGB and count as gray": lambda item: bool(item.gray) and item.channels == 1,
        "beyond data.memory_gb and read again when needed": lambda item: not item.pixels.size,
    }
    for fact, applies in facts.items():
        counts = Counter(item.domain for item in items if applies(item))
        if counts:
            numbers = f"{counts['background']} background and {counts['target']} target images"
            yield f"{numbers} are {fact}"


def file_notes(quarantined: Sequence[tuple[str, str]], files: int) -> Iterator[str]:
    """Yields a note on files that are set aside, of `files` in all."""
    if quarantined:
        yield (
            f"{len(quarantined)} of {files} files are set aside: "
            f"{join_names([f'{n} ({why})' for n, why in quarantined])}"
        )


def table_notes(names: Sequence[str], table: AttributeTable) -> Iterator[str]:
    """Yields notes on the table, files without a row, and unused columns."""
    yield from table.notes
    without = [name for name in names if name not in table.cells]
    if table.cells and without:
        yield f"{len(without)} of {len(names)} files have no row in {TABLE}: {join_names(without)}"
    if table.spare:
        yield (
            f"columns that data.attributes does not name are not used: {join_names(table.spare)}"
        )


def split_notes(plan: SplitPlan) -> Iterator[str]:
    """Yields notes on the reasons of the splits, and on subjects that look wrong."""
    origins = Counter(plan.origins.values())
    subjects: dict[str, set[str]] = defaultdict(set)
    for name, origin in plan.origins.items():
        subjects[origin].add(plan.subjects[name])
    yield "split: " + ", ".join(
        f"{origins[origin]} files {RULES[origin].format(len(subjects[origin]))}"
        for origin in RULES
        if origins[origin]
    )
    if origins["own"]:
        yield (
            f"{origins['own']} files count as a subject each: if a subject has several files, put "
            f"them into a sub-folder of its own, or add a column subject to {TABLE}"
        )
    if plan.both:
        yield (
            f"{len(plan.both)} subjects have files in both splits, because {TABLE} or folders say "
            f"so: {join_names(plan.both)}"
        )
    if plan.merged:
        yield f"{plan.merged} subjects share an image, so they are in the same split"
    if plan.alike:
        groups = [" and ".join(forms) for forms in plan.alike]
        yield f"column subject: spellings that count as one subject: {join_names(groups)}"
    counts = Counter(plan.subjects.values())
    for subject, count in counts.items():
        if count > len(plan.subjects) / 2 and len(counts) > 1:
            yield (
                f"subject {subject} has {count} of {len(plan.subjects)} files: "
                f"if they are not one subject, correct the column subject of {TABLE} "
                "or set data.subjects"
            )


def twin_notes(items: Sequence[Item], left_out: Mapping[str, str]) -> Iterator[str]:
    """Yields notes on identical images.

    Args:
        items: all images.
        left_out: training image -> identical test image, for images that are not used.
    """
    if left_out:
        names = [f"{name} = {twin}" for name, twin in left_out.items()]
        yield (
            f"{len(left_out)} training images are also in the test split, so they are not used: "
            f"{join_names(names)}"
        )
    groups = defaultdict(list)
    for item in items:
        groups[item.digest].append(item)
    several = [group for group in groups.values() if len(group) > 1]
    across = [group for group in several if len({item.domain for item in group}) > 1]
    for twins, place in ((across, "in both folders"), (several, "there more than once")):
        if twins and (twins is across or len(several) > len(across)):
            names = [" = ".join(item.name for item in group[:3]) for group in twins]
            yield f"{len(twins)} images are {place}: {join_names(names)}"
