"""`folders`: a user's own two folders of images, with an optional table of splits, subjects and attributes.

Nothing depends on the order or the number of the files: an image's side of the split follows from its subject's name
(or, without a subject, from its own), so that adding images moves none of those that were there.
"""

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from studio.data.dataset import Attribute, DataConfig, Dataset, Labels, Split
from studio.data.reading import Row, UnreadableError, fit, is_image, read_image, read_table
from studio.errors import StudioError, nearest
from studio.method import DOMAINS

__all__ = ["Folders", "FoldersConfig", "QuarantineError", "split_of"]

LAYOUT = (
    "ROOT/background/... and ROOT/target/... with png, jpg, npy, nii or nii.gz files; optionally ROOT/attributes.csv "
    "with a column `file`, and if you have them `split` (train or test), `subject` and any attributes"
)
TABLE = "attributes.csv"
COLUMNS = ("file", "split", "subject")
SPLITS: tuple[Split, ...] = ("train", "test")
MISSING = ("", "nan", "na", "n/a")
MOST_CLASSES = 10  # a column of numbers with more different values is a number, not a category
PERCENTILES = (0.5, 99.5)  # of the automatic window
SAMPLE = 100  # training images per domain from which it is found
SAMPLE_PIXELS = 2**14  # of each


class FoldersConfig(DataConfig):
    """The data set's section."""

    name: Literal["folders"] = "folders"
    root: str | None = Field(default=None, validate_default=True)
    resolution: int = Field(default=64, ge=6)
    channels: Literal["auto", 1, 3] = "auto"  # auto: what most files have
    window: Literal["auto"] | Annotated[tuple[float, float], Field(strict=False)] = "auto"  # of what is not 8-bit
    slice: Literal["middle"] | Annotated[int, Field(ge=0)] = "middle"  # of volumes, along their last axis
    test_share: float = Field(default=0.2, gt=0, lt=1)
    max_bad: float = Field(default=0.05, ge=0, lt=1)  # share of the files that may be unusable
    memory_gb: float = Field(default=2.0, ge=0)  # images beyond it are read again when needed

    @field_validator("root")
    @classmethod
    def _given(cls, root: str | None) -> str:
        if not root:
            raise ValueError(f"missing: the folder with your images, laid out as {LAYOUT}")
        return root

    @field_validator("window", mode="after")
    @classmethod
    def _ordered(cls, window: Literal["auto"] | tuple[float, float]) -> Literal["auto"] | tuple[float, float]:
        if window != "auto" and not -np.inf < window[0] < window[1] < np.inf:
            raise ValueError(f"found {list(window)}, expected [low, high] with low < high")
        return window


class QuarantineError(StudioError):
    """Too many files cannot be used; `quarantined` has them all."""

    def __init__(self, message: str, quarantined: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.quarantined = quarantined


@dataclass
class Item:
    """An image that was opened once.

    Attributes:
        name: of its file, relative to the root.
        domain: which of the two sets it belongs to.
        stamp: size and time of the file.
        size: height and width on disk.
        transparent: whether it had an alpha channel.
        digest: of its pixels.
        pixels: (C, resolution, resolution), uint8 or float32, or None where they are not kept.
        channels: of the pixels.
        deep: whether they are not 8-bit.
    """

    name: str
    domain: str
    stamp: tuple[int, int]
    size: tuple[int, int]
    transparent: bool
    digest: bytes
    pixels: np.ndarray | None
    channels: int
    deep: bool


class Folders(Dataset):
    """Your own images in two folders, `background` and `target`.

    Every file is decoded once when the data set is opened; those that cannot be used are set aside by name. A file that
    changes or goes away afterwards is an error when it is needed.

    Args:
        config: the data set's section.

    Attributes:
        root: the folder.
        quarantined: (file, reason) for every file that is set aside.
        window: the values that become -1 and 1 in images that are not 8-bit; None if all are.

    Raises:
        StudioError: a folder is missing or a split empty, the table is at fault, or too many files cannot be used.
    """

    Config = FoldersConfig
    LAYOUT = LAYOUT
    config: FoldersConfig

    def __init__(self, config: FoldersConfig) -> None:
        super().__init__(config)
        self.root = _root(config)
        domains, ignored = _find(self.root)
        table, spare = _read_attributes(self.root, list(domains), list(config.attributes))
        splits = assign_splits(list(domains), table, config.test_share)
        items, self.quarantined = self._open(domains)
        self._items = {
            (split, domain): [item for item in items if (splits[item.name], item.domain) == (split, domain)]
            for split in SPLITS for domain in DOMAINS
        }  # fmt: skip
        self._refuse_empty()
        self.shape = (items[0].channels, config.resolution, config.resolution)
        self.window = self._find_window()
        declared, self._labels = self._read_labels(table)
        self.attributes = self._declare(declared)
        self._notes = [
            *_file_notes(items, len(domains), ignored, self.quarantined),
            *self._pixel_notes(),
            *_table_notes(items, table, spare),
            *self._label_notes(table),
            *self._twin_notes(),
        ]

    def size(self, split: Split, domain: str) -> int:
        return len(self._items[split, domain])

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        items = self._items[split, domain]
        images = np.empty((len(indices), *self.shape), np.float32)
        for image, index in zip(images, indices, strict=True):
            image[:] = self._scaled(self._pixels(items[index]))
        return torch.from_numpy(images)

    def labels(self, split: Split, domain: str) -> Labels:
        absent = {name for name, attribute in self.attributes.items() if attribute.target_only and domain == "background"}
        return {name: values.copy() for name, values in self._labels[split, domain].items() if name not in absent}

    def notes(self) -> list[str]:
        return list(self._notes)

    def _open(self, domains: Mapping[str, str]) -> tuple[list[Item], list[tuple[str, str]]]:
        """Decodes every file once; returns those that can be used, in order, and those that cannot with the reason."""
        items: list[Item] = []
        reasons: dict[str, str] = {}
        room = self.config.memory_gb * 1e9
        with ThreadPoolExecutor(2) as pool:
            for name, found in zip(domains, pool.map(self._look, domains, domains.values()), strict=True):
                if isinstance(found, str):
                    reasons[name] = found
                    continue
                room -= found.pixels.nbytes
                if room < 0:
                    for item in (*items, found):
                        item.pixels = None
                items.append(found)
        usual = _usual_channels(items)
        reasons |= {
            item.name: f"has {item.channels} channels and most files have {usual}: set data.channels to 1 or 3 to convert"
            for item in items if item.channels != usual
        }  # fmt: skip
        quarantined = [(name, reasons[name]) for name in domains if name in reasons]
        if len(quarantined) > self.config.max_bad * len(domains):
            raise QuarantineError(
                f"{self.root}: {len(quarantined)} of {len(domains)} files cannot be used (data.max_bad allows "
                f"{self.config.max_bad:.0%})" + _listed(f"{name}: {reason}" for name, reason in quarantined), quarantined
            )  # fmt: skip
        return [item for item in items if item.name not in reasons], quarantined

    def _look(self, name: str, domain: str) -> Item | str:
        """Decodes a file; returns what was found, or why it cannot be used."""
        channels = None if self.config.channels == "auto" else self.config.channels
        try:
            stamp = self._stamp(name)
            picture = read_image(self.root / name, self.config.slice, self.config.resolution)
        except UnreadableError as error:
            return str(error)
        pixels = fit(picture, self.config.resolution, channels)
        if (pixels == pixels[:, :1, :1]).all():
            return "has the same value everywhere"
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        deep = pixels.dtype != np.uint8
        return Item(name, domain, stamp, picture.size, picture.transparent, digest, pixels, len(pixels), deep)

    def _stamp(self, name: str) -> tuple[int, int]:
        try:
            found = (self.root / name).stat()
        except OSError as error:
            raise UnreadableError(f"cannot be read: {error.strerror or error}") from None
        return found.st_size, found.st_mtime_ns

    def _pixels(self, item: Item) -> np.ndarray:
        """Returns the fitted pixels, from memory or from the file."""
        if item.pixels is not None:
            return item.pixels
        try:
            if self._stamp(item.name) != item.stamp:
                raise UnreadableError("has changed")
            picture = read_image(self.root / item.name, self.config.slice, self.config.resolution)
        except UnreadableError as error:
            raise StudioError(f"{self.root / item.name}: {error} since the data set was opened") from None
        return fit(picture, self.config.resolution, self.shape[0])

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        """Maps 0..255, or the window, to [-1, 1]."""
        low, high = (0, 255) if pixels.dtype == np.uint8 else self.window
        return ((pixels.astype(np.float32) - low) / (high - low)).clip(0, 1) * 2 - 1

    def _find_window(self) -> tuple[float, float] | None:
        """Returns the window of images that are not 8-bit: the given one, or percentiles of a sample for training."""
        if not any(item.deep for items in self._items.values() for item in items):
            return None
        if self.config.window != "auto":
            return self.config.window
        sample = []
        for domain in DOMAINS:
            deep = [item for item in self._items["train", domain] if item.deep]
            for item in sorted(deep, key=lambda item: _hash("window", item.name))[:SAMPLE]:
                pixels = self._pixels(item).ravel()
                sample.append(pixels[:: max(1, pixels.size // SAMPLE_PIXELS)])
        if not sample:
            raise StudioError("data.window: no training image is 16-bit or float, but test images are: give [low, high]")
        values = np.concatenate(sample)
        low, high = np.percentile(values, PERCENTILES).tolist()
        if low == high:  # nearly all pixels are empty
            low, high = float(values.min()), float(values.max())
        return low, high

    def _refuse_empty(self) -> None:
        for (split, domain), items in self._items.items():
            if not items:
                others = {s: len(self._items[s, domain]) for s in SPLITS if s != split}
                raise StudioError(
                    f"{self.root}: no image of {domain}/ is in the {split} split ({next(iter(others.values()))} in the "
                    f"other): add images or subjects, change data.test_share, or state the split in {TABLE}"
                )

    def _read_labels(self, table: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, Attribute], dict]:
        """Turns the table's columns into attributes and labels."""
        declared: dict[str, Attribute] = {}
        labels: dict = {key: {} for key in self._items}
        ends = np.cumsum([len(items) for items in self._items.values()])[:-1]
        for name, belongs in self.config.attributes.items():
            texts = [table.get(item.name, {}).get(name, "") for items in self._items.values() for item in items]
            classes, values = encode(texts)
            for key, part in zip(labels, np.split(values, ends), strict=True):
                labels[key][name] = part
            known = {domain: any(_known(labels[split, domain][name]).any() for split in SPLITS) for domain in DOMAINS}
            if not known["target"]:
                raise StudioError(f"data.attributes.{name}: no target image has a value in {self.root / TABLE}")
            declared[name] = Attribute(belongs, classes, target_only=not known["background"])
        return declared, labels
