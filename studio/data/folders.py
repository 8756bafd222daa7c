"""`folders`: a user's own two folders of images, with an optional table of splits, subjects and
attributes.

Within a split, images are sorted by name. `studio.data.splits` assigns them to the splits.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from statistics import multimode
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.data.columns import column_notes, identifier_notes, read_columns
from studio.data.dataset import (
    SPLITS,
    Dataset,
    Labels,
    Split,
    label_notes,
)
from studio.data.fingerprint import Fingerprint, hash_cells
from studio.data.folders_config import FOLDERS_LAYOUT, FoldersConfig
from studio.data.folders_notes import (
    Item,
    file_notes,
    pixel_notes,
    split_notes,
    table_notes,
    twin_notes,
)
from studio.data.folders_scan import check_root, find_files
from studio.data.folders_volumes import volume_notes
from studio.data.io import images
from studio.data.io.attribute_table import TABLE, read_attributes
from studio.data.io.images import EIGHT_BIT, UnreadableError, scale_pixels
from studio.data.io.names import format_lines
from studio.data.splits import hash_to_unit_interval, keep_splits, plan_splits, straddling
from studio.domains import DOMAINS
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PERCENTILES", "Folders", "FoldersConfig", "QuarantineError"]

PERCENTILES = (0.5, 99.5)  # become -1 and 1 if no window is given
SAMPLE = 100  # training images per domain from which the percentiles are computed
SAMPLE_PIXELS = 2**14  # pixels of each of them
NOT_KEPT = np.empty(0, np.uint8)


class QuarantineError(StudioError):
    """Too many files cannot be used.

    Attributes:
        quarantined: (file, reason) for each of them.
    """

    def __init__(self, message: str, quarantined: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.quarantined = quarantined


class Folders(Dataset):
    """Your own images in two folders, `background` and `target`.

    Every file is decoded once when the data set is opened. Files that cannot be used are set aside
    and listed by name. If a file changes or disappears later, reading it is an error.

    Args:
        config: the data set's section.
        derived: what `derived` returned when a run was trained, to be used again.

    Attributes:
        root: the folder.
        quarantined: (file, reason) for every file that is set aside.
        window: values that become -1 and 1. In 8-bit images these are always 0 and 255.
        deep: whether any image has more than 8 bits per channel, so that the window applies.

    Raises:
        StudioError: a folder is missing, a split is empty, or the table is invalid.
        QuarantineError: too many files cannot be used.
    """

    Config = FoldersConfig
    LAYOUT = FOLDERS_LAYOUT
    FREEZES = True
    config: FoldersConfig

    def __init__(self, config: FoldersConfig, derived: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        stored = derived or {}
        self.root = check_root(config)
        domains, notes = find_files(self.root, config)
        table = read_attributes(self.root, list(domains), list(config.attributes))
        self._table = table.cells
        items, self.quarantined = self._open(domains)
        plan = plan_splits(
            [item.name for item in items],
            self._table,
            config,
            {item.name: item.digest for item in items},
        )
        self._splits = keep_splits(plan.splits, plan.subjects, stored.get("split", {}))
        self._subjects = plan.subjects
        twins = straddling(self._splits, {item.name: item.digest for item in items})
        self._items = [item for item in items if item.name not in twins]
        places = [(self._splits[item.name], item.domain) for item in self._items]
        self._rows: dict[tuple[Split, str], list[int]] = {
            place: [row for row, found in enumerate(places) if found == place]
            for place in product(SPLITS, DOMAINS)
        }
        self._refuse_empty()
        self.shape = (self._items[0].channels, config.resolution, config.resolution)
        self.deep = any(item.deep for item in self._items)
        self.window = self._stored_window(stored) or self._find_window()
        declared, self._columns = read_columns(
            {item.name: item.domain for item in self._items}, self._table, config
        )
        self.attributes = self._declare(declared)
        self._notes = [
            *file_notes(self.quarantined, len(domains)),
            *notes,
            *volume_notes([item.picture for item in self._items]),
            *pixel_notes(self._items, config.resolution, self.window, config.window != "auto"),
            *table_notes([item.name for item in items], table),
            *split_notes(plan),
            *identifier_notes(self._table),
            *column_notes(self.attributes, self._columns, config),
            *label_notes(self),
            *twin_notes(items, twins),
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

    def item_names(self, split: Split, domain: str) -> list[str]:
        """Returns the file name of each item, relative to the root."""
        return [self._items[row].name for row in self._rows[split, domain]]

    def item_subjects(self, split: Split, domain: str) -> list[str]:
        """Returns the subject of each item, which is its own name if it has none."""
        return [self._subjects[self._items[row].name] for row in self._rows[split, domain]]

    def derived(self) -> dict[str, Any]:
        window = [*self.window] if self.deep else None
        return {
            "window": window,
            "split": dict(self._splits),
        }

    def fingerprint(self) -> Fingerprint:
        columns = ["split", "subject", *self.config.attributes]
        return Fingerprint(
            f"the pixels of every usable file at data.resolution, and the cells of {TABLE}",
            "file",
            {item.name: item.digest.hex() for item in self._items},
            {
                item.name: hash_cells(self._table.get(item.name, {}), columns)
                for item in self._items
            },
            columns,
        )

    def _open(self, domains: Mapping[str, str]) -> tuple[list[Item], list[tuple[str, str]]]:
        """Decodes every file once.

        Returns the usable ones in order, and (file, reason) for the others.
        """
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
        if usual == 1:
            items = [_as_gray(item) if item.gray else item for item in items]
        reasons |= {
            item.name: (
                f"has {item.channels} channels, most files have {usual}: "
                "set data.channels to 1 or 3"
            )
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
        """Decodes a file. Returns the item, or the reason why it cannot be used."""
        channels = None if self.config.channels == "auto" else self.config.channels
        try:
            picture = images.read_image(
                self.root / name,
                self.config.slice,
                self.config.resolution,
                options=self.config.volumes,
            )
        except UnreadableError as error:
            return str(error)
        pixels = images.fit(picture, self.config.resolution, channels)
        if np.ptp(pixels, axis=(1, 2)).max() <= 1e-5 * np.abs(pixels).max():
            return "has the same value everywhere"
        digest, gray = _hash_pixels(pixels), b""
        if len(pixels) == 3 and images.is_gray(picture.values):
            gray = _hash_pixels(images.convert_channels(pixels, 1))
        seen = replace(picture, values=NOT_KEPT)
        deep = pixels.dtype != np.uint8
        return Item(name, domain, seen, pixels, len(pixels), deep, digest, gray)

    def _pixels(self, item: Item) -> np.ndarray:
        """Returns the fitted pixels, from memory or from the file."""
        if item.pixels.size:
            return item.pixels
        try:
            picture = images.read_image(
                self.root / item.name,
                self.config.slice,
                self.config.resolution,
                again=True,
                options=self.config.volumes,
            )
            if picture.stamp != item.picture.stamp:
                raise UnreadableError("has changed")
        except UnreadableError as error:
            raise StudioError(
                f"{self.root / item.name}: {error} since the data set was opened"
            ) from None
        return images.fit(picture, self.config.resolution, self.shape[0])

    def _stored_window(self, stored: Mapping[str, Any]) -> tuple[float, float] | None:
        """Returns the window with which a run was trained, if it is not in the config."""
        if not self.deep or self.config.window != "auto" or stored.get("window") is None:
            return None
        low, high = stored["window"]
        return float(low), float(high)

    def _find_window(self) -> tuple[float, float]:
        """Returns the window of images that are not 8-bit: the given one, or percentiles of a
        sample of training images.
        """
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
        if low == high:  # nearly all pixels have the same value
            low, high = float(values.min()), float(values.max())
        return low, high

    def _refuse_empty(self) -> None:
        """Raises an error if a domain has no image in a split."""
        for (split, domain), rows in self._rows.items():
            if not rows:
                others = sum(len(self._rows[other, domain]) for other in SPLITS)
                raise StudioError(
                    f"{self.root}: none of the {others} images of {domain}/ is in the {split} "
                    "split: add images or "
                    f"subjects, change data.test_share, or state the split in {TABLE}"
                )


def _hash_pixels(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(pixels.astype(np.float32).tobytes(), digest_size=16).digest()


def _as_gray(item: Item) -> Item:
    """Returns an image that is gray saved as RGB with one channel."""
    pixels = images.convert_channels(item.pixels, 1) if item.pixels.size else item.pixels
    return replace(item, pixels=pixels, channels=1, digest=item.gray)
