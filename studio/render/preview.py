"""The contact sheet of a data set (`studio data preview`)."""

from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from studio.data.conditions import YES
from studio.data.dataset import SPLITS, Attribute, Dataset, Labels, Split, describe_shape
from studio.domains import DOMAINS
from studio.pixels import to_2d, to_pixels, visible_channels
from studio.planes import describe_planes
from studio.render.grid import Grid
from studio.render.selection import TILES

__all__ = ["describe_value", "preview", "preview_grid"]

# Attributes that are written below an image: up to 4 that all images have, and 4 of targets alone.
WRITTEN = 4


def preview(dataset: Dataset, n: int = 8, seed: int = 0) -> Image:
    """Draws the contact sheet of `preview_grid`."""
    return preview_grid(dataset, n, seed).draw()


def preview_grid(dataset: Dataset, n: int = 8, seed: int = 0) -> Grid:
    """Returns a contact sheet: n images of each domain and split above their attributes.

    Each condition of the target set has its own row if the data set has an attribute of them.

    Args:
        dataset: the data set.
        n: images per row.
        seed: seed of the choice of images.
    """
    channels = dataset.shape[0] if len(dataset.shape) > 1 else 1
    # An attribute that says whether an item has one condition repeats the name of its row.
    repeated = dataset.attributes[dataset.condition].classes if dataset.condition else ()
    attributes = {n: a for n, a in dataset.attributes.items() if n not in repeated}
    rows: list[list[np.ndarray | str | None]] = []
    for domain in DOMAINS:
        for split in SPLITS:
            labels = dataset.labels(split, domain)
            for name, members in _conditions(dataset, split, domain, labels):
                order = np.random.default_rng(seed).permutation(len(members))
                indices = np.sort(members[order[:n]])
                gap = [None] * (n - len(indices))
                images = visible_channels(dataset.images(split, domain, indices))
                pixels = to_2d(to_pixels(images, generated=False))
                rows.append([f"{name} {split}: {len(members)}", *pixels, *gap])
                rows.append([None, *_values(attributes, labels, indices), *gap])
    caption = describe_shape(dataset.shape)
    caption += "" if channels in (1, 3) else f"; only the first of {channels} channels is shown"
    both = [name for name, attribute in attributes.items() if not attribute.target_only]
    owners = {
        "each image": both,
        "each target image": [name for name in attributes if name not in both],
    }
    caption += "".join(
        f"; below {owner}: {_name_written(names)}" for owner, names in owners.items() if names
    )
    kind = {1: "vectors", 4: "volumes"}.get(len(dataset.shape), "images")
    if kind == "vectors":
        caption += f". {TILES}"
    if kind == "volumes":
        caption += f". {describe_planes(dataset.shape[1:])}".rstrip()
    title = f"{dataset.config.name}: {kind} as the model sees them"
    return Grid(rows, title, caption, breaks=tuple(range(2, len(rows), 2)))


def _conditions(
    dataset: Dataset, split: Split, domain: str, labels: Labels
) -> list[tuple[str, np.ndarray]]:
    """Returns the name and the items of each row of a domain and split."""
    if domain == "background" or not dataset.condition:
        return [(domain, np.arange(dataset.size(split, domain)))]
    column = labels[dataset.condition]
    classes = dataset.attributes[dataset.condition].classes
    found = [(name, np.flatnonzero(column == i)) for i, name in enumerate(classes)]
    without = np.flatnonzero(column < 0)
    return [*found, *([(f"{domain} without {dataset.condition}", without)] if len(without) else [])]


def _values(
    attributes: dict[str, Attribute], labels: Labels, indices: Sequence[int] | np.ndarray
) -> list[str | None]:
    """Returns one text per image: the values of its attributes, in the order of the caption."""
    both, own = (
        [name for name in attributes if attributes[name].target_only is only]
        for only in (False, True)
    )
    names = [*both[:WRITTEN], *own[:WRITTEN]]
    having = {name: attributes[name].classes for name in names if name in labels}
    texts = (
        ", ".join(describe_value(name, having[name], labels[name][i]) for name in having)
        for i in indices
    )
    return [text or None for text in texts]


def _name_written(names: list[str]) -> str:
    """Returns the names of the attributes that are written, and of those that are not."""
    more = (
        f" ({len(names) - WRITTEN} more are not written: {', '.join(names[WRITTEN:])})"
        if len(names) > WRITTEN
        else ""
    )
    return ", ".join(names[:WRITTEN]) + more


def describe_value(name: str, classes: tuple[str, ...], value: float) -> str:
    """Returns a category as its name, and a number after the name of its attribute.

    Of an attribute that is yes or no, its name says which: `Male` or `not Male`.
    """
    if not classes:
        return f"{name}=-" if np.isnan(value) else f"{name}={value:.3g}"
    if classes == YES and value >= 0:
        return name if value else f"not {name}"
    return classes[int(value)] if value >= 0 else "-"
