"""`folders`: a user's own two folders of images, with an optional table of splits, subjects and attributes.

An image's side of the split follows from its subject's name (or, without a subject, from its own) and from nothing
else, so that adding images moves none of those that were there. Within a split, images are in the order of their names.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from studio.data.dataset import Attribute, DataConfig, Dataset, Labels, Split
from studio.data.reading import (
    UnreadableError,
    as_number,
    composed,
    encode,
    fit,
    is_image,
    listed,
    match_rows,
    read_image,
    read_table,
)
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
PERCENTILES = (0.5, 99.5)  # of the automatic window
SAMPLE = 100  # training images per domain from which it is found
SAMPLE_PIXELS = 2**14  # of each

Table = dict[str, dict[str, str]]  # image -> column -> text


class FoldersConfig(DataConfig):
    """The data set's section."""

    name: Literal["folders"] = "folders"
    root: str | None = Field(default=None, validate_default=True)
    resolution: int = Field(default=64, ge=6)
    channels: Literal["auto", 1, 3] = "auto"  # auto: what most files have
    window: Literal["auto"] | Annotated[tuple[float, float], Field(strict=False)] = "auto"  # of what is not 8-bit
    slice: Literal["middle"] | int = "middle"  # of volumes, along their last axis
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
        numbers = window if isinstance(window, list | tuple) and all(type(n) in (int, float) for n in window) else ()
        if window != "auto" and not (len(numbers) == 2 and -np.inf < numbers[0] < numbers[1] < np.inf):
            raise ValueError(f"found {window!r}, expected auto or [low, high] with low < high")
        return window

    @field_validator("slice", mode="before")
    @classmethod
    def _one_slice(cls, number: object) -> object:
        if number != "middle" and not (type(number) is int and number >= 0):
            raise ValueError(f"found {number!r}, expected middle or the number of a slice, from 0")
        return number


class QuarantineError(StudioError):
    """Too many files cannot be used; `quarantined` has them all."""

    def __init__(self, message: str, quarantined: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.quarantined = quarantined


@dataclass(frozen=True, eq=False)
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

    @property
    def bytes(self) -> int:
        """Memory that the pixels take."""
        return 0 if self.pixels is None else self.pixels.nbytes


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
            *_file_notes(self.quarantined, ignored, len(domains)),
            *_pixel_notes(items, config.resolution),
            *self._depth_notes(items),
            *_table_notes(list(domains), table, spare),
            *self._label_notes(),
            *_twin_notes(items, splits),
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
        labels = self._labels[split, domain].items()
        return {name: v.copy() for name, v in labels if domain == "target" or not self.attributes[name].target_only}

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
                room -= found.bytes
                items.append(found if room >= 0 else replace(found, pixels=None))
        usual = _usual_channels(items)
        reasons |= {
            item.name: f"has {item.channels} channels, most files have {usual}: set data.channels to 1 or 3"
            for item in items if item.channels != usual
        }  # fmt: skip
        quarantined = [(name, reasons[name]) for name in domains if name in reasons]
        if len(quarantined) > self.config.max_bad * len(domains):
            counts = f"{len(quarantined)} of {len(domains)} files cannot be used"
            lines = listed([f"{name} {reason}" for name, reason in quarantined])
            message = f"{self.root}: {counts}, data.max_bad allows {self.config.max_bad:.0%}{lines}"
            raise QuarantineError(message, quarantined)
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
        if np.ptp(pixels, axis=(1, 2)).max() <= 1e-5 * np.abs(pixels).max():
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

    def _find_window(self) -> tuple[float, float]:
        """Returns the window of images that are not 8-bit: the given one, or percentiles of a sample for training."""
        if not any(item.deep for items in self._items.values() for item in items):
            return 0.0, 255.0
        if self.config.window != "auto":
            return self.config.window
        sample = []
        for domain in DOMAINS:
            deep = [item for item in self._items["train", domain] if item.deep]
            for item in sorted(deep, key=lambda item: _hash("window", item.name))[:SAMPLE]:
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
        for (split, domain), items in self._items.items():
            if not items:
                others = sum(len(self._items[other, domain]) for other in SPLITS)
                raise StudioError(
                    f"{self.root}: none of the {others} images of {domain}/ is in the {split} split: add images or "
                    f"subjects, change data.test_share, or state the split in {TABLE}"
                )

    def _read_labels(self, table: Table) -> tuple[dict[str, Attribute], dict]:
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

    def _depth_notes(self, items: Sequence[Item]) -> Iterator[str]:
        deep = [item for item in items if item.deep]
        if deep:
            source = "data.window" if self.config.window != "auto" else "0.5 and 99.5 percent of a sample for training"
            low, high = self.window
            yield f"{_share(deep, items)} not 8-bit: values from {low:g} to {high:g} become -1 to 1 ({source})"
        elif self.config.window != "auto":
            yield "data.window is not used: every image is 8-bit"
        if deep and len(deep) < len(items):
            counts = Counter(item.domain for item in deep)
            of_each = " and ".join(f"{counts[domain]} {domain}" for domain in DOMAINS)
            yield f"8-bit images and others are mixed: {of_each} images are not 8-bit, the rest keeps 0 to 255"
        again = [item for item in items if item.pixels is None]
        if again:
            yield f"{_share(again, items)} beyond data.memory_gb and read again whenever needed"

    def _label_notes(self) -> Iterator[str]:
        for name, attribute in self.attributes.items():
            words = [value for value in attribute.classes if as_number(value) is None]
            if 0 < len(words) < len(attribute.classes):
                yield f"attribute {name} is read as categories, because some values are no numbers: {_named(words)}"
        for (split, domain), labels in self._labels.items():
            for name in self.labels(split, domain):
                values = labels[name][_known(labels[name])]
                if len(np.unique(values)) < 2:
                    what = "the same value" if len(values) else "no value"
                    yield f"attribute {name} has {what} on every {domain} image of the {split} split"


def _root(config: FoldersConfig) -> Path:
    """Returns the folder, which holds one folder per domain."""
    root = Path(str(config.root)).expanduser()
    if not os.path.isdir(root):
        raise StudioError(f"data.root: no folder {root.absolute()}; expected {LAYOUT}")
    try:
        inside = sorted(path.name for path in root.iterdir() if path.is_dir())
    except OSError as error:
        _refuse(error)
    for domain in DOMAINS:
        if domain not in inside:
            found = _named(inside) or "no folders"
            raise StudioError(f"{root}: no folder {domain}/, found {found}; expected {LAYOUT}")
    return root


def _find(root: Path) -> tuple[dict[str, str], list[str]]:
    """Returns image -> domain, sorted by name, and the other files; names are relative to the root.

    Links are followed, but no folder is entered twice. Hidden files and folders do not count.
    """
    images: dict[str, str] = {}
    others: list[str] = []
    entered: set[str] = set()
    for domain in DOMAINS:
        names: list[str] = []
        for here, folders, files in os.walk(root / domain, followlinks=True, onerror=_refuse):
            if os.path.realpath(here) in entered:
                others.append(f"{Path(here).relative_to(root).as_posix()}/ (a link to a folder that was read already)")
                folders.clear()
                continue
            entered.add(os.path.realpath(here))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            visible = [Path(here, name).relative_to(root).as_posix() for name in files if not name.startswith(".")]
            names += [name for name in visible if is_image(name) and _is_text(name)]
            others += [_text(name) for name in visible if not (is_image(name) and _is_text(name))]
        if not names:
            raise StudioError(f"{root / domain}: no images; expected {LAYOUT}")
        images |= dict.fromkeys(sorted(names, key=composed), domain)
    return images, sorted(others)


def _refuse(error: OSError) -> NoReturn:
    raise StudioError(f"{error.filename}: cannot be read: {error.strerror}")


def _is_text(name: str) -> bool:
    return _text(name) == name


def _text(name: str) -> str:
    """Returns a file's name with bytes that are no UTF-8 spelled out, so that it can be printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _hash(*parts: str) -> float:
    """Returns a number in [0, 1) that depends on the words alone."""
    digest = hashlib.sha256("\0".join(map(composed, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _read_attributes(root: Path, names: Sequence[str], wanted: Sequence[str]) -> tuple[Table, list[str]]:
    """Returns the table's cells for each image that has a row, and the columns that nobody asked for."""
    path = root / TABLE
    reserved = sorted({*COLUMNS, "target"}.intersection(wanted))  # `target` is what the probe calls the domain itself
    if reserved:
        raise StudioError(f"data.attributes.{reserved[0]}: no attribute can have this name")
    if not path.exists():
        if wanted:
            raise StudioError(f"{path}: missing, but data.attributes names {', '.join(wanted)}")
        return {}, []
    columns, rows = read_table(path, COLUMNS)
    for name in wanted:
        if name not in columns:
            raise StudioError(f"data.attributes.{name}: {path} has no such column{nearest(name, columns)}")
    return match_rows(path, rows, names), [name for name in columns if name not in (*COLUMNS, *wanted)]


def split_of(subject: str, test_share: float) -> Split:
    """Returns the side of a subject, or of a file that has none: a matter of its name and of nothing else."""
    return "test" if _hash("split", subject) < test_share else "train"


def assign_splits(names: Sequence[str], table: Table, test_share: float) -> dict[str, Split]:
    """Splits by subject.

    What the table states for one image holds for all of its subject's images; where it states nothing, `split_of`
    decides.

    Args:
        names: of the images.
        table: image -> cells, of which `split` and `subject` matter here.
        test_share: expected share of subjects in the test split.

    Raises:
        StudioError: the table puts a subject on both sides, or states a split that is neither train nor test.
    """
    units = {name: composed(table.get(name, {}).get("subject") or name) for name in names}
    stated: dict[str, Split] = {}
    for name, cells in table.items():
        split = cells.get("split", "").lower()
        if split and split not in SPLITS:
            raise StudioError(f"{TABLE}: split of {name} is {split!r}, expected train or test")
        if split and stated.setdefault(units[name], split) != split:
            raise StudioError(f"{TABLE}: subject {units[name]!r} is in both splits, see {name}")
    return {name: stated.get(unit) or split_of(unit, test_share) for name, unit in units.items()}


def _known(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values) if values.dtype.kind == "f" else values >= 0


def _usual_channels(items: Sequence[Item]) -> int:
    counts = Counter(item.channels for item in items)
    return max(counts, key=lambda channels: (counts[channels], -channels), default=1)


def _named(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _share(some: Sequence, every: Sequence) -> str:
    return f"{len(some)} of {len(every)} images are"


def _file_notes(quarantined: Sequence[tuple[str, str]], ignored: Sequence[str], files: int) -> Iterator[str]:
    if quarantined:
        reasons = [f"{name} ({reason})" for name, reason in quarantined]
        yield f"{len(quarantined)} of {files} files are set aside: {_named(reasons)}"
    if ignored:
        yield f"{len(ignored)} other files are ignored: {_named(ignored)}"


def _pixel_notes(items: Sequence[Item], resolution: int) -> Iterator[str]:
    if len({item.size for item in items}) > 1:
        for domain in DOMAINS:
            sizes = sorted({item.size for item in items if item.domain == domain}, key=lambda size: size[0] * size[1])
            ends = " to ".join(f"{width} x {height}" for height, width in dict.fromkeys((sizes[0], sizes[-1])))
            yield f"{domain} images have {len(sizes)} size{'s' * (len(sizes) > 1)} on disk: {ends}"
    oblong = [item for item in items if item.size[0] != item.size[1]]
    if oblong:
        yield f"{_share(oblong, items)} not square: only their centre is used"
    small = [item for item in items if min(item.size) < resolution]
    if small:
        yield f"{_share(small, items)} smaller than {resolution} pixels and enlarged"
    transparent = [item for item in items if item.transparent]
    if transparent:
        yield f"{_share(transparent, items)} laid on black where they are transparent"


def _table_notes(names: Sequence[str], table: Table, spare: Sequence[str]) -> Iterator[str]:
    without = [name for name in names if name not in table]
    if table and without:
        yield f"{len(without)} of {len(names)} files have no row in {TABLE}: {_named(without)}"
    if spare:
        yield f"columns that data.attributes does not name are not used: {_named(spare, 20)}"
    stated = [name for name, cells in table.items() if cells.get("split")]
    subjects = [name for name, cells in table.items() if cells.get("subject") and not cells.get("split")]
    rules = {f"as {TABLE} says": len(stated), "by subject": len(subjects)}
    rules["by their own name"] = len(names) - sum(rules.values())
    yield "split: " + ", ".join(f"{count} files {rule}" for rule, count in rules.items() if count)


def _twin_notes(items: Sequence[Item], splits: Mapping[str, Split]) -> Iterator[str]:
    """Says which images show exactly the same on both sides of something that should separate them."""
    groups = defaultdict(list)
    for item in items:
        groups[item.digest].append(item)
    sides = {"in both splits": lambda item: splits[item.name], "in both folders": lambda item: item.domain}
    for what, side in sides.items():
        twins = [group for group in groups.values() if len({side(item) for item in group}) > 1]
        if twins:
            names = [" = ".join(item.name for item in group[:3]) for group in twins]
            yield f"{len(twins)} images are {what}: {_named(names)}"
