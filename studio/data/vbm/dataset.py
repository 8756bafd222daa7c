"""`vbm`: whole volumes of brains in a BIDS folder, of controls (background) and of patients
(target), with clinical variables.

Louiset et al. (2023, Sec. 4.4; 2024, App. E.3) train on T1-weighted scans after voxel-based
morphometry, of healthy controls and of patients with schizophrenia or autism. They resize maps to
cubes of 128 voxels, normalise each "on a Gaussian distribution", and divide the subjects five times
into 75 % for training and 25 % for validation. App. E.3 of the same paper speaks of three divisions
into training, validation and test instead. Here `data.fold: 0` to `4` are five divisions.

Choices where the papers are silent: the cube is cropped from the middle of the template instead of
squashed, the Gaussian is that of the brain's voxels, and 4 standard deviations become 1
(`studio.data.vbm.preprocess`).

Volumes are read once into a cache with a file each (`studio.data.brats.cache`). Training maps these
files into memory.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.data.brats.cache import CACHE, CacheEntry, PatientSlices, SliceCache
from studio.data.brats.layout import file_stamps
from studio.data.brats.notes import find_unusual
from studio.data.brats.preprocess import LEVELS
from studio.data.columns import column_notes, read_columns
from studio.data.conditions import Conditions
from studio.data.dataset import SPLITS, Attribute, Dataset, Labels, Split
from studio.data.fingerprint import Fingerprint, hash_cells
from studio.data.folders import QuarantineError
from studio.data.indices import as_indices
from studio.data.io.files import data_folder
from studio.data.io.names import format_lines
from studio.data.io.slices import UnreadableError
from studio.data.splits import choose_test
from studio.data.vbm.config import VbmConfig
from studio.data.vbm.layout import VBM_LAYOUT, Found, bare_id, find_volumes
from studio.data.vbm.notes import column_use_notes, missing_notes, split_notes, volume_notes
from studio.data.vbm.participants import (
    Participants,
    choose_attributes,
    drop_words,
    read_participants,
)
from studio.data.vbm.preprocess import CubeOptions, cut_cube, item_affine, place_cube
from studio.data.vbm.sessions import merge_sessions
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Vbm", "VbmConfig", "cube_options"]


@dataclass(frozen=True)
class Item:
    """A volume that is used.

    Attributes:
        name: its file, relative to the root.
        subject: its subject, as in `bare_id`.
        row: key of its values in `Participants.rows`: its subject, or one of its sessions.
        domain: its set.
        entry: its place in the cache.
    """

    name: str
    subject: str
    row: str
    domain: str
    entry: CacheEntry


class Vbm(Dataset):
    """Whole volumes of brains in a BIDS folder: controls, and patients with a condition.

    Columns of the table that are attributes, unless `data.attributes` names others: age, sex and
    site (common), and severity and scales of symptoms, such as SANS and ADOS (salient). A subject
    without a value counts for everything else.

    The axes of a volume run from head to feet, from front to back, and from left to right.

    Args:
        config: the data set's section.
        derived: the result of `derived` when a run was trained, to be used again.

    Attributes:
        root: the folder.
        quarantined: (file or row, reason) for everything that is set aside.

    Raises:
        StudioError: there are no volumes, the table is missing or invalid, a split is empty, or the
            cache cannot be written.
        QuarantineError: too many volumes cannot be used.
    """

    Config = VbmConfig
    LAYOUT = VBM_LAYOUT
    FREEZES = True
    config: VbmConfig

    def __init__(self, config: VbmConfig, derived: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self.show_names = config.show_names
        self.root = data_folder(config, VBM_LAYOUT)
        found = find_volumes(self.root, config)
        table = read_participants(self.root, config)
        wanted, faults = _match(found, table)
        sessions = merge_sessions(self.root, wanted, found.subjects, table, config)
        chosen = choose_attributes(table, config)
        faults += sessions.faults
        for name, _ in sessions.faults:
            del wanted[name]
        without = self._check_missing(found, table)
        entries, reasons = self._read(list(wanted))
        if config.mixed == "refuse":
            reasons |= find_unusual({n: e for n, e in entries.items() if n not in reasons})
        self.quarantined = [*table.faults, *faults, *reasons.items()]
        self._check_quarantine(len(faults) + len(reasons), len(faults) + len(wanted))
        self._items = [
            Item(name, subject, sessions.rows[name], table.domains[subject], entries[name])
            for name, subject in wanted.items()
            if name not in reasons
        ]
        self.shape = (1, *(config.resolution,) * 3)
        self._table = table
        self._splits = self._assign_splits((derived or {}).get("split", {}))
        places = [(self._splits[item.subject], item.domain) for item in self._items]
        self._rows: dict[tuple[Split, str], np.ndarray] = {
            place: np.flatnonzero([found == place for found in places])
            for place in product(SPLITS, DOMAINS)
        }
        self._refuse_empty()
        self.attributes, notes = self._read_attributes(chosen)
        self._notes = [
            *volume_notes(
                [(i.name, i.subject, i.domain) for i in self._items],
                [i.entry.facts for i in self._items],
                config,
            ),
            *missing_notes(self.quarantined, without),
            *found.notes,
            *table.notes,
            *sessions.notes,
            *notes,
            *split_notes(self._splits, self._sites(), config),
            f"volumes are kept in {self._cache.folder}",
        ]

    def size(self, split: Split, domain: str) -> int:
        return len(self._rows[split, domain])

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns volumes, (len(indices), 1, R, R, R) float32 in [-1, 1]."""
        import torch

        known = self._rows[split, domain]
        rows = known[as_indices(indices, len(known))]
        images = np.empty((len(rows), *self.shape), np.float32)
        for image, row in zip(images, rows, strict=True):
            levels = self._cache.read_rows(self._items[row].entry, "image")
            np.multiply(levels, np.float32(2 / LEVELS), out=image)
            image -= 1
        return torch.from_numpy(images)

    def labels(self, split: Split, domain: str) -> Labels:
        return {
            name: self._columns[name][self._rows[split, domain]]
            for name, attribute in self.attributes.items()
            if domain == "target" or not attribute.target_only
        }

    def notes(self) -> list[str]:
        return list(self._notes)

    def item_names(self, split: Split, domain: str) -> list[str]:
        """Returns the file of each item, relative to the root."""
        return [self._items[row].name for row in self._rows[split, domain]]

    def item_subjects(self, split: Split, domain: str) -> list[str]:
        """Returns the subject of each item."""
        return [f"sub-{self._items[row].subject}" for row in self._rows[split, domain]]

    def affine(self) -> np.ndarray | None:
        """Returns the affine of every volume if `data.align` is world."""
        if self.config.align != "world":
            return None
        return item_affine(place_cube(cube_options(self.config)), self.config.resolution)

    def derived(self) -> dict[str, Any]:
        return {"split": dict(self._splits)}

    def fingerprint(self) -> Fingerprint:
        columns = [self.config.column, *self.attributes]
        return Fingerprint(
            f"two numbers of each volume's voxels, and its cells of {self.config.participants}",
            "volume",
            {item.name: item.entry.numbers[0].astype(float).tolist() for item in self._items},
            {item.name: hash_cells(self._table.rows[item.row], columns) for item in self._items},
            columns,
        )

    def _check_missing(self, found: Found, table: Participants) -> dict[str, list[str]]:
        """Returns the subjects of each set that have a row and no volume.

        Raises:
            StudioError: these are too many.
        """
        having = {bare_id(subject) for subject in found.subjects.values()}
        without = {}
        for domain in DOMAINS:
            mine = [subject for subject, place in table.domains.items() if place == domain]
            lost = without[domain] = [
                table.spelled[subject] for subject in mine if subject not in having
            ]
            if len(lost) > self.config.max_missing * len(mine):
                near = nearest(lost[0], [*dict.fromkeys(found.subjects.values())])
                raise StudioError(
                    f"{self.root}: {len(lost)} of {len(mine)} {domain} rows of "
                    f"{self.config.participants} have no volume, max_missing is "
                    f"{self.config.max_missing:.0%}{format_lines(lost)}\n"
                    f"the volumes have other names{near}"
                )
        return without

    def _read(self, names: Sequence[str]) -> tuple[dict[str, CacheEntry], dict[str, str]]:
        """Reads volumes that are not in the cache.

        Returns:
            Volume -> entry, and volume -> reason why it cannot be used.
        """
        options = cube_options(self.config)
        place = os.path.expanduser(
            self.config.cache or os.environ.get(CACHE) or self.root / ".studio-cache"
        )
        self._cache = SliceCache(Path(place), "vbm", options.key(), "volumes")
        inputs: dict[str, list] = {}
        reasons: dict[str, str] = {}
        for name in names:
            try:
                inputs[name] = file_stamps(self.root, [name])
            except UnreadableError as error:
                link = (self.root / name).is_symlink()
                fetch = (
                    ": the link leads to a file that is not here, fetch it first" if link else ""
                )
                reasons[name] = str(error).removeprefix(f"{Path(name).name} ") + fetch

        def cut(name: str) -> PatientSlices:
            return cut_cube(self.root / name, options)

        entries = self._cache.entries(inputs, cut)
        broken = {name: entry.reason for name, entry in entries.items() if entry.reason}
        return entries, {**reasons, **broken}

    def _check_quarantine(self, bad: int, volumes: int) -> None:
        """Raises an error if too many volumes cannot be used."""
        if bad > self.config.max_bad * volumes:
            lines = format_lines([f"{name} {reason}" for name, reason in self.quarantined])
            raise QuarantineError(
                f"{self.root}: {bad} of {volumes} volumes cannot be used, max_bad is "
                f"{self.config.max_bad:.0%}{lines}",
                self.quarantined,
            )

    def _site(self, item: Item) -> str:
        """Returns the site of a volume, "" if it is not known."""
        return self._table.rows[item.row].get(self.config.site_column, "")

    def _sites(self) -> dict[str, str]:
        """Returns subject -> site of its first volume, "" if it is not known."""
        return {item.subject: self._site(item) for item in reversed(self._items)}

    def _assign_splits(self, stored: Mapping[str, Split]) -> dict[str, Split]:
        """Returns the split of each subject: the stored one, or that of the rule of the config."""
        config = self.config
        domains = {item.subject: {item.domain} for item in self._items}
        if config.test_site is not None:
            if config.site_column not in self._table.columns:
                raise StudioError(
                    f"data.site_column: {config.participants} has no column "
                    f"{config.site_column!r}{nearest(config.site_column, self._table.columns)}"
                )
            names = sorted({self._site(item) for item in self._items} - {""})
            if config.test_site.casefold() not in map(str.casefold, names):
                raise StudioError(
                    f"data.test_site: no subject with a volume has the site {config.test_site!r} "
                    f"in the column {config.site_column}{nearest(config.test_site, names)}"
                )
            # With all volumes of a subject that has one of the site, so that training sees none.
            test = {
                item.subject
                for item in self._items
                if self._site(item).casefold() == config.test_site.casefold()
            }
        elif config.split == "folds":
            test = choose_test(domains, {}, config)
        else:
            seed = config.split_seed + (config.fold or 0)
            changed = {"fold": None, "split_seed": seed}
            test = choose_test(domains, {}, config.model_copy(update=changed))
        return {
            subject: stored.get(subject, "test" if subject in test else "train")
            for subject in domains
        }

    def _refuse_empty(self) -> None:
        """Raises an error if a domain has no volume in a split."""
        for (split, domain), rows in self._rows.items():
            if not len(rows):
                count = sum(item.domain == domain for item in self._items)
                aside = format_lines([f"{name} {why}" for name, why in self.quarantined])
                option = "data.test_share" if self.config.test_site is None else "data.test_site"
                raise StudioError(
                    f"{self.root}: none of the {count} {domain} volumes is in the {split} split: "
                    f"add subjects, or change {option}{aside}"
                )

    def _read_attributes(self, chosen: Mapping[str, Any]) -> tuple[dict[str, Attribute], list[str]]:
        """Reads the columns of the attributes into `_columns`.

        Returns:
            The attributes, and notes on how the columns were read.
        """
        config, table = self.config, self._table
        rows = {item.row for item in self._items}
        chosen, notes = drop_words(table, sorted(rows), chosen, config)
        targets = {item.row for item in self._items if item.domain == "target"}
        for name in [*chosen]:
            if not any(table.rows[row][name] for row in targets):
                if name in config.attributes:
                    raise StudioError(
                        f"data.attributes.{name}: no target subject has a value in "
                        f"{config.participants}"
                    )
                notes.append(f"column {name} is not used: no target subject has a value")
                del chosen[name]
        names = {item.name: item.domain for item in self._items}
        cells = {item.name: table.rows[item.row] for item in self._items}
        full = config.model_copy(update={"attributes": chosen})
        attributes, self._columns = read_columns(names, cells, full)
        notes += column_notes(attributes, self._columns, full)
        conditions = Conditions(config.column, config.target, config.each_condition)
        attributes = conditions.attributes(attributes) | attributes
        kinds = [table.kinds[item.subject] for item in self._items]
        places = {kind: number for number, kind in enumerate(config.target)}
        self._columns |= conditions.columns(np.array([places.get(kind, -1) for kind in kinds]))
        self.condition = conditions.main
        used = (*attributes, config.column)
        notes += column_use_notes(
            [name for name in table.columns if name not in used], not config.attributes
        )
        return attributes, notes


def _match(found: Found, table: Participants) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Returns volume -> subject in one of the sets, and (volume, reason) for those without a row.

    Volumes of subjects in neither set are left out.
    """
    wanted, faults = {}, list(found.faults)
    for name, spelled in found.subjects.items():
        subject = bare_id(spelled)
        if subject in table.domains:
            wanted[name] = subject
        elif subject in table.broken:
            faults.append((name, f"is of {spelled}, which {table.broken[subject]}"))
        elif subject not in table.others:
            faults.append((name, f"is of {spelled}, which has no row in the table"))
    return wanted, faults


def cube_options(config: VbmConfig) -> CubeOptions:
    """Returns how the volumes of a data set become cubes."""
    return CubeOptions(
        config.resolution,
        config.voxel,
        config.align,
        config.centre,
        config.brain,
        config.threshold,
        config.spread,
        config.nan,
    )
