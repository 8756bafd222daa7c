"""Names of images in pictures, in the app and in tables: their files and subjects.

A data set without files falls back to the domain and the number of the image, such as `target 271`.
So does every data set whose `show_names` is off, for the sake of privacy.
"""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

import numpy as np

from studio.data.dataset import SPLITS, Dataset, Split
from studio.domains import DOMAINS

__all__ = ["NamedDataset", "caption_images", "hide_names", "name_images", "shorten"]

LONGEST = 28  # letters of a name in a caption


@runtime_checkable
class NamedDataset(Protocol):
    """A data set that knows the file and the subject of every image."""

    def item_names(self, split: Split, domain: str) -> list[str]:
        """Returns the file name of each item, relative to the root."""
        ...

    def item_subjects(self, split: Split, domain: str) -> list[str]:
        """Returns the subject of each item, which is its own name if it has none."""
        ...


def name_images(
    dataset: Dataset, split: Split, domain: str, indices: Sequence[int] | np.ndarray
) -> list[str]:
    """Returns the file of each image, or `target 271`."""
    if not (isinstance(dataset, NamedDataset) and dataset.show_names):
        return [f"{domain} {index}" for index in indices]
    names = dataset.item_names(split, domain)
    return [names[index] for index in indices]


def caption_images(
    dataset: Dataset, split: Split, domain: str, indices: Sequence[int] | np.ndarray
) -> list[str]:
    """Returns the domain, the file and the subject of each image: `target scan_2.png (patient 7)`.

    Long names are shortened in their middle. If the target set has several conditions, they are
    named: `target [viral] scan_2.png`.
    """
    kinds = _conditions(dataset, split, domain, indices)
    if not (isinstance(dataset, NamedDataset) and dataset.show_names):
        names = name_images(dataset, split, domain, indices)
        return [_with_condition(name, kind) for name, kind in zip(names, kinds, strict=True)]
    names, subjects = dataset.item_names(split, domain), dataset.item_subjects(split, domain)
    return [
        _with_condition(_caption(domain, names[index], subjects[index]), kind)
        for index, kind in zip(indices, kinds, strict=True)
    ]


def _conditions(
    dataset: Dataset, split: Split, domain: str, indices: Sequence[int] | np.ndarray
) -> list[str]:
    """Returns the condition of each image, "" for none."""
    if domain == "background" or not dataset.condition:
        return [""] * len(indices)
    column = dataset.labels(split, domain)[dataset.condition]
    classes = dataset.attributes[dataset.condition].classes
    return [classes[column[index]] if column[index] >= 0 else "" for index in indices]


def _with_condition(caption: str, kind: str) -> str:
    """Returns a caption with the condition after the domain, unless its folder already says it."""
    domain, _, name = caption.partition(" ")
    return f"{domain} [{kind}] {name}" if kind and not name.startswith(f"{kind}/") else caption


def _caption(domain: str, name: str, subject: str) -> str:
    path = PurePosixPath(name)
    own = name if path.parts[0] != domain else str(PurePosixPath(*path.parts[1:]))
    # A subject may be a folder of the path, the start of a name, or a file of the same name.
    known = not subject or subject in own or PurePosixPath(subject).name == path.name
    return f"{domain} {shorten(own)}" + ("" if known else f" ({shorten(subject)})")


def shorten(name: str) -> str:
    """Shortens a name in its middle, because names of one family often differ at their ends."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}"


def hide_names(dataset: Dataset, lines: Iterable[str]) -> list[str]:
    """Returns notes without the names of files and subjects, if `show_names` is off.

    Of a line that holds a name, the part before the first colon is left. The names of files that no
    longer exist are not known.
    """
    if dataset.show_names:
        return list(lines)
    known = {name for name, _ in dataset.quarantined}
    if isinstance(dataset, NamedDataset):
        for split in SPLITS:
            for domain in DOMAINS:
                known.update(dataset.item_names(split, domain))
                known.update(dataset.item_subjects(split, domain))
    known |= {PurePosixPath(name).name for name in known}
    return [
        line.partition(":")[0] if any(name and name in line for name in known) else line
        for line in lines
    ]
