"""`folders`: a user's own two folders of images, with an optional table of splits, subjects and attributes.

Within a split, images are in the order of their names; `studio.data.splits` says which split they are in.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import multimode
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from studio.data.dataset import (
    SPLITS,
    Attribute,
    DataConfig,
    Dataset,
    Labels,
    Split,
    is_known,
    label_notes,
)
from studio.data.io import images
from studio.data.io.attribute_table import (
    TABLE,
    Table,
    encode_column,
    parse_number,
    read_attributes,
)
from studio.data.io.files import check_listable, find_images
from studio.data.io.images import EIGHT_BIT, Picture, UnreadableError, scale_pixels
from studio.data.io.names import format_lines, join_names
from studio.data.splits import assign_splits, hash_to_unit_interval
from studio.domains import DOMAINS
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PERCENTILES", "Folders", "FoldersConfig", "QuarantineError"]

LAYOUT = (
    "ROOT/background/... and ROOT/target/... with png, jpg, npy, nii or nii.gz files; optionally ROOT/attributes.csv "
    "with a column `file`, and if you have them `split` (train or test), `subject` and any attributes"
)
PERCENTILES = (0.5, 99.5)  # that become -1 and 1 where no window is given
SAMPLE = 100  # training images per domain from which it is found
SAMPLE_PIXELS = 2**14  # of each
NOT_KEPT = np.empty(0, np.uint8)


class FoldersConfig(DataConfig):
    """The data set's section."""

    name: Literal["folders"] = "folders"
    root: str | None = Field(default=None, validate_default=True)
    resolution: int = Field(default=64, ge=6)
    channels: Literal["auto", 1, 3] = "auto"  # auto: what most files have
    window: Literal["auto"] | Annotated[tuple[float, float], Field(strict=False)] = (
        "auto"  # of what is not 8-bit
    )
    slice: Literal["middle"] | Annotated[int, Field(ge=0)] = (
        "middle"  # of volumes, along their last axis
    )
    test_share: float = Field(default=0.2, gt=0, lt=1)
    max_bad: float = Field(default=0.05, ge=0, lt=1)  # share of the files that may be unusable
    memory_gb: float = Field(default=2.0, ge=0)  # images beyond it are read again when needed

    @field_validator("root")
    @classmethod
    def _given(cls, root: str | None) -> str:
        if not root:
            raise ValueError(f"missing: the folder with your images, laid out as {LAYOUT}")
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


class QuarantineError(StudioError):
    """Too many files cannot be used; `quarantined` has them all."""

    def __init__(self, message: str, quarantined: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.quarantined = quarantined


@dataclass(frozen=True, eq=False)
class Item:
    """An image that was opened once: where it is, what it was and what it has become."""

    name: str  # of its file, relative to the root
    domain: str
    picture: Picture  # without its values
    pixels: (
        np.ndarray
    )  # (C, resolution, resolution), uint8 or float32; empty where they are not kept
    channels: int
    deep: bool  # not 8-bit
    digest: bytes  # of the pixels


class Folders(Dataset):
    """Your own images in two folders, `background` and `target`.

    Every file is decoded once when the data set is opened; those that cannot be used are set aside by name. A file that
    changes or goes away afterwards is an error when it is needed.

    Args:
        config: the data set's section.

    Attributes:
        root: the folder.
        quarantined: (file, reason) for every file that is set aside.
        window: the values that become -1 and 1, except in 8-bit images, where 0 and 255 do.
        deep: whether any image is not 8-bit, so that the window is of use.

    Raises:
        StudioError: a folder is missing or a split empty, the table is at fault, or too many files cannot be used.
    """

    Config = FoldersConfig
    LAYOUT = LAYOUT
    config: FoldersConfig

    def __init__(self, config: FoldersConfig) -> None:
        super().__init__(config)
        self.root = _check_root(config)
        domains, ignored = _images_by_domain(self.root)
        table, spare = read_attributes(self.root, list(domains), list(config.attributes))
        splits = assign_splits(list(domains), table, config.test_share)
        self._items, self.quarantined = self._open(domains)
        places = [(splits[item.name], item.domain) for item in self._items]
        self._rows: dict[tuple[Split, str], list[int]] = {
            place: [row for row, found in enumerate(places) if found == place]
            for place in product(SPLITS, DOMAINS)
        }
        self._refuse_empty()
        self.shape = (self._items[0].channels, config.resolution, config.resolution)
        self.deep = any(item.deep for item in self._items)
        self.window = self._find_window()
        declared, self._columns = self._read_columns(table)
        self.attributes = self._declare(declared)
        self._notes = [
            *_file_notes(self.quarantined, ignored, len(domains)),
            *self._pixel_notes(),
            *_table_notes(list(domains), table, spare),
            *self._label_notes(),
            *_twin_notes(self._items, splits),
        ]

    def size(self, split: Split, domain: str) -> int:
        return len(self._rows[split, domain])

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch

        images = np.empty((len(indices), *self.shape), np.float32)
        for image, index in zip(images, indices, strict=True):
            image[:] = scale_pixels(
                self._pixels(self._items[self._rows[split, domain][index]]), self.window
            )
        return torch.from_numpy(images)

    def labels(self, split: Split, domain: str) -> Labels:
        names = [
            name
            for name, attribute in self.attributes.items()
            if domain == "target" or not attribute.target_only
        ]
        return {name: self._columns[name][self._rows[split, domain]] for name in names}

    def notes(self) -> list[str]:
        return list(self._notes)

    def _open(self, domains: Mapping[str, str]) -> tuple[list[Item], list[tuple[str, str]]]:
        """Decodes every file once; returns those that can be used, in order, and those that cannot with the reason."""
        items: list[Item] = []
        reasons: dict[str, str] = {}
        room = self.config.memory_gb * 1e9
        with ThreadPoolExecutor(2) as pool:
            for name, found in zip(
                domains, pool.map(self._read_item, domains, domains.values()), strict=True
            ):
                if isinstance(found, str):
                    reasons[name] = found
                    continue
                room -= found.pixels.nbytes
                items.append(found if room >= 0 else replace(found, pixels=NOT_KEPT))
        usual = min(multimode(item.channels for item in items), default=1)
        reasons |= {
            item.name: f"has {item.channels} channels, most files have {usual}: set data.channels to 1 or 3"
            for item in items
            if item.channels != usual
        }
        quarantined = [(name, reasons[name]) for name in domains if name in reasons]
        if len(quarantined) > self.config.max_bad * len(domains):
            lines = format_lines([f"{name} {reason}" for name, reason in quarantined])
            counts = f"{len(quarantined)} of {len(domains)} files cannot be used"
            raise QuarantineError(
                f"{self.root}: {counts}, max_bad is {self.config.max_bad:.0%}{lines}", quarantined
            )
        return [item for item in items if item.name not in reasons], quarantined

    def _read_item(self, name: str, domain: str) -> Item | str:
        """Decodes a file; returns what was found, or why it cannot be used."""
        channels = None if self.config.channels == "auto" else self.config.channels
        try:
            picture = images.read_image(self.root / name, self.config.slice, self.config.resolution)
        except UnreadableError as error:
            return str(error)
        pixels = images.fit(picture, self.config.resolution, channels)
        if np.ptp(pixels, axis=(1, 2)).max() <= 1e-5 * np.abs(pixels).max():
            return "has the same value everywhere"
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        seen = replace(picture, values=NOT_KEPT)
        return Item(name, domain, seen, pixels, len(pixels), pixels.dtype != np.uint8, digest)

    def _pixels(self, item: Item) -> np.ndarray:
        """Returns the fitted pixels, from memory or from the file."""
        if item.pixels.size:
            return item.pixels
        try:
            picture = images.read_image(
                self.root / item.name, self.config.slice, self.config.resolution, again=True
            )
            if picture.stamp != item.picture.stamp:
                raise UnreadableError("has changed")
        except UnreadableError as error:
            raise StudioError(
                f"{self.root / item.name}: {error} since the data set was opened"
            ) from None
        return images.fit(picture, self.config.resolution, self.shape[0])

    def _find_window(self) -> tuple[float, float]:
        """Returns the window of images that are not 8-bit: the given one, or percentiles of a sample for training."""
        if not self.deep:
            return EIGHT_BIT
        if self.config.window != "auto":
            return self.config.window
        sample = []
        for domain in DOMAINS:
            items = [
                self._items[row] for row in self._rows["train", domain] if self._items[row].deep
            ]
            for item in sorted(items, key=lambda item: hash_to_unit_interval("window", item.name))[
                :SAMPLE
            ]:
                pixels = self._pixels(item).ravel()
                sample.append(pixels[:: max(1, pixels.size // SAMPLE_PIXELS)])
        if not sample:
            raise StudioError("data.window: only test images are 16-bit or float: give [low, high]")
        values = np.concatenate(sample)
        low, high = np.percentile(values, PERCENTILES).tolist()
        if low == high:  # nearly all pixels are empty
            low, high = float(values.min()), float(values.max())
        return low, high

    def _refuse_empty(self) -> None:
        for (split, domain), rows in self._rows.items():
            if not rows:
                others = sum(len(self._rows[other, domain]) for other in SPLITS)
                raise StudioError(
                    f"{self.root}: none of the {others} images of {domain}/ is in the {split} split: add images or "
                    f"subjects, change data.test_share, or state the split in {TABLE}"
                )

    def _read_columns(self, table: Table) -> tuple[dict[str, Attribute], Labels]:
        """Turns the table's columns into attributes and one value per image."""
        declared: dict[str, Attribute] = {}
        columns: Labels = {}
        for name, belongs in self.config.attributes.items():
            classes, columns[name] = encode_column(
                [table.get(item.name, {}).get(name, "") for item in self._items]
            )
            having = {
                item.domain
                for item, has in zip(self._items, is_known(columns[name]), strict=True)
                if has
            }
            if "target" not in having:
                raise StudioError(
                    f"data.attributes.{name}: no target image has a value in {self.root / TABLE}"
                )
            declared[name] = Attribute(belongs, classes, target_only="background" not in having)
        return declared, columns

    def _pixel_notes(self) -> Iterator[str]:
        if len({item.picture.size for item in self._items}) > 1:
            for domain in DOMAINS:
                sizes = sorted({item.picture.size for item in self._items if item.domain == domain})
                ends = " to ".join(
                    f"{width} x {height}" for height, width in dict.fromkeys((sizes[0], sizes[-1]))
                )
                yield f"{domain} images have {len(sizes)} size{'s' * (len(sizes) > 1)} on disk: {ends}"
        low, high = self.window
        source = (
            "data.window"
            if self.config.window != "auto"
            else "0.5 and 99.5 percent of a sample for training"
        )
        facts: dict[str, Callable[[Item], bool]] = {
            "not square: only their centre is used": lambda item: (
                item.picture.size[0] != item.picture.size[1]
            ),
            "smaller than data.resolution and enlarged": lambda item: (
                min(item.picture.size) < self.config.resolution
            ),
            "laid on black where they are transparent": lambda item: item.picture.transparent,
            f"not 8-bit: values from {low:g} to {high:g} become -1 to 1 ({source})": lambda item: (
                item.deep
            ),
            "beyond data.memory_gb and read again whenever needed": lambda item: (
                not item.pixels.size
            ),
        }
        for fact, applies in facts.items():
            counts = Counter(item.domain for item in self._items if applies(item))
            if counts:
                yield f"{counts['background']} background and {counts['target']} target images are {fact}"

    def _label_notes(self) -> Iterator[str]:
        for name, attribute in self.attributes.items():
            words = [value for value in attribute.classes if parse_number(value) is None]
            if 0 < len(words) < len(attribute.classes):
                yield f"attribute {name} is read as categories, because some values are no numbers: {join_names(words)}"
        yield from label_notes(self)


def _check_root(config: FoldersConfig) -> Path:
    """Returns the folder, which holds one folder per domain."""
    root = check_listable(str(config.root), "data.root", LAYOUT)
    inside = sorted(next(os.walk(root), ("", [], []))[1])
    for domain in DOMAINS:
        if domain not in inside:
            found = join_names(inside) or "no folders"
            raise StudioError(f"{root}: no folder {domain}/, found {found}; expected {LAYOUT}")
    return root


def _images_by_domain(root: Path) -> tuple[dict[str, str], list[str]]:
    """Returns image -> domain, sorted by name, and the other files; names are relative to the root."""
    names, others = find_images(root, DOMAINS)
    images = {name: name.split("/")[0] for name in names}
    for domain in DOMAINS:
        if domain not in images.values():
            raise StudioError(f"{root / domain}: no images; expected {LAYOUT}")
    return images, others


def _file_notes(
    quarantined: Sequence[tuple[str, str]], ignored: Sequence[str], files: int
) -> Iterator[str]:
    if quarantined:
        yield f"{len(quarantined)} of {files} files are set aside: {join_names([f'{n} ({why})' for n, why in quarantined])}"
    if ignored:
        yield f"{len(ignored)} other files are ignored: {join_names(ignored)}"


def _table_notes(names: Sequence[str], table: Table, spare: Sequence[str]) -> Iterator[str]:
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


def _twin_notes(items: Sequence[Item], splits: Mapping[str, Split]) -> Iterator[str]:
    """Says which images show exactly the same on both sides of something that should separate them."""
    groups = defaultdict(list)
    for item in items:
        groups[item.digest].append(item)
    sides = {
        "in both splits": lambda item: splits[item.name],
        "in both folders": lambda item: item.domain,
    }
    for what, side in sides.items():
        twins = [group for group in groups.values() if len({side(item) for item in group}) > 1]
        if twins:
            names = [" = ".join(item.name for item in group[:3]) for group in twins]
            yield f"{len(twins)} images are {what}: {join_names(names)}"
