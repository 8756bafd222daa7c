"""`brats`: axial slices of brains with a tumour (target) and of the same patients without one
(background).

The data are those of the multimodal brain tumour segmentation benchmark (Menze et al. 2015).
Carton et al. (2024), Sec. 5, use every second slice from 86 to 94, as their data show. There and
here, "healthy" means a slice without tumour of a patient who has one elsewhere, because nobody in
BraTS is healthy.

A slice is background if its mask is empty, and target if the tumour has at least `min_tumour` cm2
in the cropped square. Slices in between are left out and counted. The authors also drop such
slices but do not state the threshold. The split is by patient, and both domains have the same
patients. Whole volumes are read once (`studio.data.io.volumes`), because a volume's window depends
on all of it. Training then reads single slices from a cache (`studio.data.brats.cache`).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from studio.data.brats.cache import CACHE, CacheEntry, PatientSlices, SliceCache
from studio.data.brats.config import BratsConfig
from studio.data.brats.editions import Edition, Tissue
from studio.data.brats.layout import (
    BRATS_LAYOUT,
    Patient,
    file_stamps,
    find_patients,
    find_repeated,
)
from studio.data.brats.notes import edition_notes, find_unusual, order_notes, scan_notes
from studio.data.brats.preprocess import COLUMNS, LEVELS, CuttingOptions, cut_patient
from studio.data.brats.scans import Scans
from studio.data.dataset import SPLITS, Attribute, Dataset, Labels, Split
from studio.data.fingerprint import Fingerprint, hash_pixels
from studio.data.folders import QuarantineError
from studio.data.indices import as_indices
from studio.data.io.files import data_folder
from studio.data.io.images import UnreadableError
from studio.data.io.names import format_lines
from studio.data.splits import choose_test, split_of
from studio.domains import DOMAINS
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Brats", "BratsConfig"]

SIDES = ("left", "right")  # the patient's
SALIENT = ("tumour_area", "tumour_x", "tumour_y", "enhancing", "oedema", "core")
COMMON = ("slice", "brain_area")
EXTRA: dict[str, Tissue] = {"cyst": "cyst", "cavity_area": "cavity"}  # of editions with the label


class Brats(Dataset):
    """Slices of brains with a tumour, and of the same patients without one.

    `studio.data.brats.volumes` derives the data set of volumes from this class.

    Attributes of the tumour (salient):

    - `tumour_area`: area in cm2.
    - `tumour_x`, `tumour_y`: centroid, -1 at the image's left or upper edge and 1 at its right or
      lower one.
    - `tumour_side`: side of the patient that has most of it. Right is right in the image.
    - `enhancing`, `oedema`, `core` (necrotic and not enhancing): shares of its area.
    - `cyst`: another share, in editions with that label (PED 2024).
    - `cavity_area`: area of the resection cavity in cm2, in editions with that label (GLI 2024).
      It is not part of the tumour, but a slice that shows one is never background.

    Attributes of every slice (common):

    - `slice`: its number, counted from below.
    - `brain_area`: area in cm2.

    Args:
        config: the data set's section.
        derived: the result of `derived` when a run was trained, to be used again.

    Attributes:
        root: the folder.
        patients: the patients that are used, in the order of their names.
        quarantined: (patient, reason) for every patient that is set aside.

    Raises:
        StudioError: there are no patients, a split is empty, or the cache cannot be written.
        QuarantineError: too many patients cannot be used.
    """

    Config = BratsConfig
    LAYOUT = BRATS_LAYOUT
    FREEZES = True
    config: BratsConfig
    # Names of the columns of `numbers`, of the one that makes a target, and of the attributes.
    _columns: ClassVar[Sequence[str]] = COLUMNS
    _size_column: ClassVar[str] = "tumour_area"
    _of_tumour: ClassVar[Sequence[str]] = SALIENT
    _of_all: ClassVar[Sequence[str]] = COMMON
    _extra: ClassVar[Mapping[str, Tissue]] = EXTRA
    _units: tuple[str, str] = ("slice", "slices")
    _remedy: ClassVar[str] = "data.slices, data.min_tumour or data.test_share"

    def __init__(self, config: BratsConfig, derived: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self.show_names = config.show_names
        self.root, patients = self._find_patients()
        self._editions, reasons = self._find_editions(patients)
        self._cache, entries, unusable = self._cut(patients)
        reasons |= unusable
        reasons |= find_repeated(patients) | self._find_unusual(
            {name: entry for name, entry in entries.items() if name not in reasons}
        )
        self.quarantined = [
            (patient.name, reasons[patient.name]) for patient in patients if patient.name in reasons
        ]
        self._check_quarantine(len(patients))
        self.patients = [patient for patient in patients if patient.name not in reasons]
        self._entries = [entries[patient.name] for patient in self.patients]
        self.shape = (len(config.modalities), *(config.resolution,) * config.dims)
        self._find_rows((derived or {}).get("split", {}))
        has = [name for name in self._extra if self._has(self.patients, name)]
        self._salient = [*self._of_tumour, *has]
        self.attributes = self._declare(self._describe_attributes())
        each = 2 * int(np.prod(self.shape)) + config.resolution**2
        self._keeps = (
            each * sum(len(entry.numbers) for entry in self._entries) <= config.memory_gb * 1e9
        )
        self._kept: dict[tuple[int, str], np.ndarray] = {}

    def size(self, split: Split, domain: str) -> int:
        return len(self._rows[split, domain])

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch

        known = self._rows[split, domain]
        rows = known[as_indices(indices, len(known))]
        return torch.from_numpy(
            self._read_slices("images", rows, self.shape) * np.float32(2 / LEVELS) - 1
        )

    def masks(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns tumour and resection cavity in target images, (len(indices), H, W) bool."""
        import torch

        known = self._rows[split, "target"]
        rows = known[as_indices(indices, len(known))]
        return torch.from_numpy(self._read_slices("masks", rows, self.shape[1:]) > 0)

    def labels(self, split: Split, domain: str) -> Labels:
        table = {
            name: self._table[self._rows[split, domain], column]
            for column, name in enumerate(self._columns)
        }
        numbers = self._of_all if domain == "background" else (*self._salient, *self._of_all)
        columns = {name: table[name].astype(np.float64) for name in numbers}
        return columns | self._label_sides(table, domain)

    def notes(self) -> list[str]:
        return list(self._notes())

    def derived(self) -> dict[str, Any]:
        return {"split": dict(self._splits)}

    def fingerprint(self) -> Fingerprint:
        items = {}
        for patient, entry in zip(self.patients, self._entries, strict=True):
            middle = self._cache.read_rows(entry, "images", [len(entry.numbers) // 2])
            extra = any(self._has([patient], name) for name in EXTRA)
            columns = len(COLUMNS) if extra else len(COLUMNS) - len(EXTRA)
            items[patient.name] = hash_pixels(entry.numbers[:, :columns], middle)
        return Fingerprint("each patient's table of slices and middle slice", "patient", items)

    def item_names(self, split: Split, domain: str) -> list[str]:
        """Returns the patient's folder and the number of the slice of each item."""
        rows = self._rows[split, domain]
        patients = self.item_patients(split, domain)
        slices = self._table[rows, COLUMNS.index("slice")].astype(int)
        return [f"{p.name} slice {n}" for p, n in zip(patients, slices, strict=True)]

    def item_subjects(self, split: Split, domain: str) -> list[str]:
        """Returns the patient of each item."""
        return [patient.subject for patient in self.item_patients(split, domain)]

    def item_patients(self, split: Split, domain: str) -> list[Patient]:
        """Returns the patient of each item."""
        return [self.patients[patient] for patient, _ in self._where[self._rows[split, domain]]]

    def _find_patients(self) -> tuple[Path, list[Patient]]:
        """Returns the folder of the patients, and the patients."""
        return find_patients(data_folder(self.config, BRATS_LAYOUT))

    def _find_unusual(self, entries: Mapping[str, CacheEntry]) -> dict[str, str]:
        """Returns patient -> reason for those whose slices would show other places."""
        return find_unusual(entries)

    def _describe_attributes(self) -> dict[str, Attribute]:
        """Returns the attributes as the data set declares them."""
        salient = {name: Attribute("salient", target_only=True) for name in self._salient}
        side = {"tumour_side": Attribute("salient", SIDES, target_only=True)}
        return {**salient, **side, **{name: Attribute("common") for name in self._of_all}}

    def _label_sides(self, table: Mapping[str, np.ndarray], domain: str) -> Labels:
        """Returns the attributes that are sides, of the rows of a domain."""
        if domain == "background":
            return {}
        return {"tumour_side": (table["right"] > 0.5).astype(np.int64)}

    def _find_editions(
        self, patients: Sequence[Patient]
    ) -> tuple[dict[str, Edition], dict[str, str]]:
        """Returns patient -> edition, and patient -> reason for those of no known edition."""
        editions, reasons = {}, {}
        for patient in patients:
            try:
                editions[patient.name] = patient.find_edition(self.root, self.config.edition)
            except UnreadableError as error:
                reasons[patient.name] = str(error)
        return editions, reasons

    def _has(self, patients: Sequence[Patient], attribute: str) -> bool:
        """Returns whether the edition of any of the patients has the label of an attribute."""
        return any(self._editions[patient.name].has(self._extra[attribute]) for patient in patients)

    def _cut(
        self, patients: Sequence[Patient]
    ) -> tuple[SliceCache, dict[str, CacheEntry], dict[str, str]]:
        """Finds or creates every patient's slices.

        Returns:
            The cache, patient -> entry, and patient -> reason for those that cannot be used.
        """
        config = self.config
        key, cutting = self._cutting()
        place = Path(
            os.path.expanduser(config.cache or os.environ.get(CACHE) or self.root / ".studio-cache")
        )
        options = {"root": str(self.root.resolve()), "edition": config.edition}
        cache = SliceCache(place, "brats", {**key, **options})
        scans, inputs, reasons = {}, {}, {}
        for patient in patients:
            if patient.name not in self._editions:
                continue
            try:
                files = patient.select_files(config.modalities)
                inputs[patient.name] = [
                    *file_stamps(self.root, list(files.values())),
                    *([name, number] for name, number in patient.volumes.items()),
                ]
            except UnreadableError as error:
                reasons[patient.name] = str(error)
                continue
            edition = self._editions[patient.name]
            scans[patient.name] = Scans(files, edition, patient.volumes)

        def cut(name: str) -> PatientSlices:
            return cutting(self.root, scans[name])

        entries = cache.entries(inputs, cut)
        return (
            cache,
            entries,
            reasons | {name: entry.reason for name, entry in entries.items() if entry.reason},
        )

    def _cutting(self) -> tuple[dict[str, Any], Callable[[Path, Scans], PatientSlices]]:
        """Returns the options that decide a patient's arrays, and the function that cuts them."""
        config = self.config
        numbers = tuple(range(config.slices[0], config.slices[1] + 1, config.slice_step))
        cutting = CuttingOptions(
            config.modalities,
            numbers,
            config.percentiles,
            config.crop,
            config.resolution,
            config.nan,
        )
        return vars(cutting), lambda root, scans: cut_patient(root, scans, cutting)

    def _check_quarantine(self, patients: int) -> None:
        """Raises an error if too many patients cannot be used."""
        if len(self.quarantined) > self.config.max_bad * patients:
            lines = format_lines([f"{name}: {reason}" for name, reason in self.quarantined])
            counts = f"{len(self.quarantined)} of {patients} patients cannot be used"
            raise QuarantineError(
                f"{self.root}: {counts}, max_bad is {self.config.max_bad:.0%}{lines}",
                self.quarantined,
            )

    def _find_rows(self, stored: Mapping[str, Split]) -> None:
        """Sorts slices into domains, patients into splits, and both into `_rows`.

        `_rows` has numbers of rows of `_table`, and `_where` has (patient, row of that patient)
        for each row of `_table`.
        """
        self._table = np.concatenate([entry.numbers for entry in self._entries])
        self._where = np.array(
            [(p, row) for p, entry in enumerate(self._entries) for row in range(len(entry.numbers))]
        )
        belongs = self._sort_rows()
        self._dropped = int(np.count_nonzero(~belongs["background"] & ~belongs["target"]))
        self._splits = self._assign_splits(belongs, stored)
        sides = np.array([SPLITS.index(self._splits[p.subject]) for p in self.patients])
        split = sides[self._where[:, 0]] if len(self._where) else np.empty(0, np.int64)
        self._rows = {
            (name, domain): np.flatnonzero(belongs[domain] & (split == number))
            for (number, name), domain in product(enumerate(SPLITS), DOMAINS)
        }
        for (name, domain), rows in self._rows.items():
            if not len(rows):
                lines = format_lines(
                    [f"{patient}: {reason}" for patient, reason in self.quarantined]
                )
                aside = (
                    f"\n{len(self.quarantined)} patients are set aside{lines}"
                    if self.quarantined
                    else ""
                )
                raise StudioError(
                    f"{self.root}: no {domain} {self._units[0]} in the {name} split, of "
                    f"{len(self._table)} {self._units[1]} of {len(sides)} patients: "
                    f"add patients, or change {self._remedy}{aside}"
                )

    def _sort_rows(self) -> dict[str, np.ndarray]:
        """Returns domain -> which rows of `_table` belong to it."""
        anywhere, framed = (
            self._table[:, self._columns.index(name)] for name in ("anywhere", self._size_column)
        )
        return {"background": anywhere == 0, "target": framed >= self.config.min_tumour}

    def _assign_splits(
        self, belongs: Mapping[str, np.ndarray], stored: Mapping[str, Split]
    ) -> dict[str, Split]:
        """Returns the split of each subject: the stored one, or that of the rule of the config."""
        config, subjects = self.config, [patient.subject for patient in self.patients]
        fresh: dict[str, Split]
        if config.split_rule == "names":
            fresh = {subject: split_of(subject, config.test_share) for subject in subjects}
        else:
            domains: dict[str, set[str]] = {}
            for domain, rows in belongs.items():
                for number in np.unique(self._where[rows, 0]) if rows.any() else ():
                    domains.setdefault(subjects[number], set()).add(domain)
            test = choose_test(domains, {}, config)
            fresh = {subject: "test" if subject in test else "train" for subject in subjects}
        return {subject: stored.get(subject, split) for subject, split in fresh.items()}

    def _read_slices(self, array: str, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Returns rows of an array of the cache, numbered over all slices, (len(rows), *shape)."""
        taken = np.empty((len(rows), *shape), np.uint16)
        for place, (patient, row) in zip(taken, self._where[rows], strict=True):
            if not self._keeps:
                place[...] = self._cache.read_rows(self._entries[patient], array, [int(row)])[0]
                continue
            if (patient, array) not in self._kept:
                self._kept[patient, array] = self._cache.read_rows(self._entries[patient], array)
            place[...] = self._kept[patient, array][row]
        return taken

    def _notes(self) -> Iterator[str]:
        yield from self._count_notes()
        if self.quarantined:
            yield f"{len(self.quarantined)} patients are set aside" + format_lines(
                [f"{n}: {why}" for n, why in self.quarantined]
            )
        ill = [patient for patient in self.patients if not patient.healthy]
        yield from edition_notes([self._editions[patient.name] for patient in ill])
        yield from order_notes(ill)
        yield from self._grid_notes()
        yield from scan_notes([entry.facts for entry in self._entries])
        sides = [*self._splits.values()]
        yield self._split_note(", ".join(f"{sides.count(split)} in {split}" for split in SPLITS))
        yield f"{self._units[1]} are kept in {self._cache.folder}"

    def _count_notes(self) -> Iterator[str]:
        """Yields how many items there are."""
        config = self.config
        counts = {domain: sum(self.size(split, domain) for split in SPLITS) for domain in DOMAINS}
        empty = sum(int(entry.facts["empty"]) for entry in self._entries)
        first, last = config.slices
        yield (
            f"{len(self.patients)} patients, slices {first} to {last} in steps of "
            f"{config.slice_step}: {counts['background']} without tumour, {counts['target']} with "
            f"at least {config.min_tumour:g} cm2; {self._dropped} in between are left out, "
            f"{empty} show no brain"
        )

    def _grid_notes(self) -> Iterator[str]:
        """Yields notes on the grids of the files. All are the same."""
        yield from ()

    def _split_note(self, by_split: str) -> str:
        """Returns a note on the split."""
        same = "background slices are of the same patients as target slices"
        return f"split by patient: {by_split}; {same}"
