"""`folders`: a user's own two folders of images, with an optional table of splits, subjects and
attributes.

Within a split, images are sorted by name. `studio.data.splits` assigns them to the splits.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from statistics import multimode
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.data.columns import column_notes, identifier_notes, read_columns
from studio.data.conditions import CONDITION, Conditions, check_folders, number_folders
from studio.data.dataset import (
    SPLITS,
    Dataset,
    Labels,
    Split,
    label_notes,
)
from studio.data.fingerprint import Fingerprint, hash_cells
from studio.data.folders_cache import CACHE, NOT_KEPT, ItemCache, read_items
from studio.data.folders_config import FOLDERS_LAYOUT, FoldersConfig
from studio.data.folders_intensity import (
    complete_intensity,
    intensity_notes,
    measure_span,
    reading_intensity,
    reads_otherwise,
)
from studio.data.folders_notes import (
    Item,
    file_notes,
    pixel_notes,
    split_notes,
    table_notes,
    twin_notes,
)
from studio.data.folders_scan import check_root, find_files
from studio.data.folders_slices import name_slices
from studio.data.folders_volumes import idle_notes, volume_notes
from studio.data.indices import as_indices
from studio.data.intensity import SAME, Intensity, Window, kept_intensity
from studio.data.io import images
from studio.data.io.attribute_table import TABLE, read_attributes
from studio.data.io.fitting import fit
from studio.data.io.images import EIGHT_BIT, Picture, UnreadableError, scale_pixels
from studio.data.io.names import format_lines
from studio.data.io.volume_slices import VolumeMemory, read_slices
from studio.data.splits import hash_to_unit_interval, keep_splits, plan_splits, straddling
from studio.domains import DOMAINS
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Folders", "FoldersConfig", "QuarantineError"]

SAMPLE = 100  # training images per domain from which the percentiles are computed
SAMPLE_PIXELS = 2**14  # pixels of each of them
CACHE_FOLDER = ".studio-cache"


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

    Every file is decoded once (`studio.data.folders_cache`). Files that cannot be used are set
    aside and listed by name. Where decoded images are kept neither in memory nor in a cache, a file
    that changes or disappears later is an error.

    Args:
        config: the data set's section.
        derived: the result of `derived` when a run was trained, to be used again.

    Attributes:
        root: the folder.
        quarantined: (file, reason) for every file that is set aside.
        intensity: the rule by which values of the files become -1 to 1.

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
        self.show_names = config.show_names
        stored = derived or {}
        # The rule by which files are read. It is completed when all are known.
        self.intensity = reading_intensity(config, derived)
        self.root = check_root(config)
        check_folders(self.root / "target", config.conditions)
        domains, notes = find_files(self.root, config)
        table = read_attributes(self.root, list(domains), list(config.attributes))
        self._table = table.cells
        self._names = names = name_slices(self.root, domains, config)
        self._volumes = VolumeMemory(self._read_volume)
        items, self.quarantined, empty = self._open(kept_intensity(config, derived))
        files = names.files(item.name for item in items)
        plan = plan_splits(files, self._table, config, names.digests(items), config.conditions)
        self._splits = keep_splits(plan.splits, plan.subjects, stored.get("split", {}))
        self._subjects = plan.subjects
        digests = {item.name: item.digest for item in items}
        splits = names.expand(self._splits, digests)
        twins = straddling(splits, digests)
        self._items = [item for item in items if item.name not in twins]
        places = [(splits[item.name], item.domain) for item in self._items]
        self._rows: dict[tuple[Split, str], list[int]] = {
            place: [row for row, found in enumerate(places) if found == place]
            for place in product(SPLITS, DOMAINS)
        }
        self._refuse_empty()
        self.shape = (self._items[0].channels, config.resolution, config.resolution)
        self.intensity = complete_intensity(
            self.intensity, config, derived, self._items, self._sample
        )
        declared, self._columns = read_columns(
            {item.name: item.domain for item in self._items},
            names.expand(self._table, [item.name for item in self._items]),
            config,
        )
        conditions = Conditions(CONDITION, config.conditions, config.each_condition)
        numbers, loose = number_folders(
            {item.name: item.domain for item in self._items}, config.conditions
        )
        self.condition = conditions.main
        self.attributes = self._declare(conditions.attributes(declared) | declared)
        self._columns |= conditions.columns(numbers)
        self._notes = [
            *file_notes(self.quarantined, len(domains)),
            *notes,
            *names.notes(empty),
            *volume_notes([i.picture for i in self._items if names.places[i.name].number is None]),
            *idle_notes(config, [item.picture for item in self._items]),
            *pixel_notes(self._items, config.resolution, config.fit),
            *intensity_notes(self.intensity, self._items, config.window != "auto"),
            *table_notes(files, table),
            *split_notes(plan),
            *identifier_notes(self._table),
            *column_notes(declared, self._columns, config),
            *loose,
            *label_notes(self),
            *twin_notes(items, twins),
        ]

    def size(self, split: Split, domain: str) -> int:
        return len(self._rows[split, domain])

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch

        rows = self._rows[split, domain]
        indices = as_indices(indices, len(rows))
        images = np.empty((len(indices), *self.shape), np.float32)
        for image, index in zip(images, indices, strict=True):
            item = self._items[rows[index]]
            image[:] = scale_pixels(self._pixels(item), item.window or self.window)
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
        """Returns the file of each item, relative to the root, with #NUMBER of a slice."""
        return [self._items[row].name for row in self._rows[split, domain]]

    def item_subjects(self, split: Split, domain: str) -> list[str]:
        """Returns the subject of each item, which is its own name if it has none."""
        files = [self._names.file(name) for name in self.item_names(split, domain)]
        return [self._subjects[file] for file in files]

    @property
    def window(self) -> Window:
        """The values that become -1 and 1, 0 and 255 if the rule has no window."""
        return self.intensity.window or EIGHT_BIT

    def derived(self) -> dict[str, Any]:
        window = self.intensity.window
        return {
            "window": None if window is None else [*window],
            "normalise": self.intensity.to_json(),
            "split": dict(self._splits),
        }

    def fingerprint(self) -> Fingerprint:
        columns = ["split", "subject", *self.config.attributes]
        return Fingerprint(
            f"the pixels of every usable file at data.resolution, and the cells of {TABLE}",
            "file",
            {item.name: item.digest.hex() for item in self._items},
            {
                item.name: hash_cells(self._table.get(self._names.file(item.name), {}), columns)
                for item in self._items
            },
            columns,
        )

    def _open(self, kept: Intensity | None) -> tuple[list[Item], list[tuple[str, str]], int]:
        """Decodes every file once.

        Args:
            kept: the rule of intensity of a run that is opened again.

        Returns:
            The usable images in order, (file, reason) for the others, and the number of slices that
            are empty.
        """
        domains = self._names.domains
        items: list[Item] = []
        reasons: dict[str, str] = {}
        room = self.config.memory_gb * 1e9
        read = read_items(self._cache(), domains, self._read_item, room)
        if kept is not None:
            reading, self.intensity = self.intensity, kept
            others = [name for name in read if reads_otherwise(kept, reading, read[name])]
            read |= {name: self._read_item(name, domains[name]) for name in others}
        for name, found in read.items():
            if isinstance(found, str):
                reasons[name] = found
            else:
                items.append(found)
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
        empty = self._names.empty(reasons)
        bad = {name: why for name, why in reasons.items() if name not in empty}
        quarantined = [(name, bad[name]) for name in domains if name in bad]
        if len(quarantined) > self.config.max_bad * len(domains):
            lines = format_lines([f"{name} {reason}" for name, reason in quarantined])
            counts = f"{len(quarantined)} of {len(domains)} files cannot be used"
            raise QuarantineError(
                f"{self.root}: {counts}, max_bad is {self.config.max_bad:.0%}{lines}", quarantined
            )
        return [item for item in items if item.name not in reasons], quarantined, len(empty)

    def _cache(self) -> ItemCache:
        """Returns the cache of decoded images for everything but the files that decides pixels."""
        config = self.config
        place = os.path.expanduser(
            config.cache or os.environ.get(CACHE) or self.root / CACHE_FOLDER
        )
        options = {
            "resolution": config.resolution,
            "channels": config.channels,
            "files": config.files,
            "exclude": config.exclude,
            "slice": config.slice,
            "fit": config.fit,
            "volumes": asdict(config.volumes),
            "intensity": self.intensity.to_json(),
        }
        return ItemCache(Path(place), self.root, options, self._names.file)

    def _read_item(self, name: str, domain: str) -> Item | str:
        """Decodes a file. Returns the item, or the reason why it cannot be used."""
        channels = None if self.config.channels == "auto" else self.config.channels
        try:
            picture, window = self.intensity.read(self._read_picture(name))
        except UnreadableError as error:
            return str(error)
        pixels = fit(picture, self.config.resolution, channels, self.config.fit)
        if np.ptp(pixels, axis=(1, 2)).max() <= 1e-5 * np.abs(pixels).max():
            return SAME
        digest, gray = _hash_pixels(pixels), b""
        if len(pixels) == 3 and images.is_gray(picture.values):
            gray = _hash_pixels(images.convert_channels(pixels, 1))
        return Item(
            name,
            domain,
            replace(picture, values=NOT_KEPT),
            pixels,
            len(pixels),
            picture.type,
            float(picture.values.min()),
            float(picture.values.max()),
            measure_span(pixels),
            None if self.intensity.rule == "window" else window,
            digest,
            gray,
        )

    def _read_picture(self, name: str, again: bool = False) -> Picture:
        """Reads an image from its file, or from the slices of its volume."""
        file, number = self._names.places[name]
        chosen = self.config.slice if number is None else number
        if number is not None and not again:
            return self._volumes.get(file, number)
        if isinstance(chosen, tuple) or chosen == "all":  # an image, or a volume without them
            return self._read_slices(file)[0][0]
        return images.read_image(
            self.root / file,
            chosen,
            self.config.resolution,
            again,
            self.config.volumes,
            None if again else self.intensity.measures,
        )

    def _read_slices(self, file: str) -> tuple[list[Picture], tuple[int, ...]]:
        config, measure = self.config, self.intensity.measures
        return read_slices(
            self.root / file, config.slice, config.volumes, measure, config.resolution
        )

    def _read_volume(self, file: str) -> dict[int, Picture]:
        """Returns number -> slice of a volume."""
        pictures, numbers = self._read_slices(file)
        return dict(zip(numbers, pictures, strict=True))

    def _pixels(self, item: Item) -> np.ndarray:
        """Returns the fitted pixels, from memory or from the file."""
        if item.pixels.size:
            return item.pixels
        try:
            picture = self._read_picture(item.name, again=True)
            if picture.stamp != item.picture.stamp:
                raise UnreadableError("has changed")
        except UnreadableError as error:
            raise StudioError(
                f"{self.root / item.name}: {error} since the data set was opened"
            ) from None
        picture, _ = self.intensity.read(picture)
        return fit(picture, self.config.resolution, self.shape[0], self.config.fit)

    def _sample(self, items: Sequence[Item]) -> list[np.ndarray]:
        """Returns pixels of a sample of the training images among some items."""
        sample = []
        wanted = {item.name for item in items}
        for domain in DOMAINS:
            mine = [self._items[row] for row in self._rows["train", domain]]
            mine = [item for item in mine if item.name in wanted]
            mine.sort(key=lambda item: hash_to_unit_interval("window", item.name))
            for item in mine[:SAMPLE]:
                pixels = self._pixels(item).ravel()
                sample.append(pixels[:: max(1, pixels.size // SAMPLE_PIXELS)])
        return sample

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
