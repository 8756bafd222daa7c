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
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import multimode
from typing import TYPE_CHECKING, Any

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
from studio.data.brats.notes import edition_notes, order_notes, scan_notes
from studio.data.brats.preprocess import COLUMNS, LEVELS, CuttingOptions, Scans, cut_patient
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

__all__ = ["Brats", "BratsConfig", "find_unusual"]

SIDES = ("left", "right")  # the patient's
SALIENT = ("tumour_area", "tumour_x", "tumour_y", "enhancing", "oedema", "core")
EXTRA: dict[str, Tissue] = {"cyst": "cyst", "cavity_area": "cavity"}  # of editions with the label


class Brats(Dataset):
    """Slices of brains with a tumour, and of the same patients without one.

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

    def __init__(self, config: BratsConfig, derived: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self.show_names = config.show_names
        self.root, patients = find_patients(data_folder(config, BRATS_LAYOUT))
        self._editions, reasons = self._find_editions(patients)
        self._cache, entries, unusable = self._cut(patients)
        reasons |= unusable
        reasons |= find_repeated(patients) | find_unusual(
            {name: entry for name, entry in entries.items() if name not in reasons}
        )
        self.quarantined = [
            (patient.name, reasons[patient.name]) for patient in patients if patient.name in reasons
        ]
        self._check_quarantine(len(patients))
        self.patients = [patient for patient in patients if patient.name not in reasons]
        self._entries = [entries[patient.name] for patient in self.patients]
        self.shape = (len(config.modalities), config.resolution, config.resolution)
        self._find_rows((derived or {}).get("split", {}))
        self._salient = [*SALIENT, *(name for name in EXTRA if self._has(self.patients, name))]
        salient = {name: Attribute("salient", target_only=True) for name in self._salient}
        side = {"tumour_side": Attribute("salient", SIDES, target_only=True)}
        self.attributes = self._declare(
            {**salient, **side, "slice": Attribute("common"), "brain_area": Attribute("common")}
        )
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
            for column, name in enumerate(COLUMNS)
        }
        common = {name: table[name].astype(np.float64) for name in ("slice", "brain_area")}
        if domain == "background":
            return common
        salient = {name: table[name].astype(np.float64) for name in self._salient}
        return {**salient, "tumour_side": (table["right"] > 0.5).astype(np.int64), **common}

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
        return any(self._editions[patient.name].has(EXTRA[attribute]) for patient in patients)

    def _cut(
        self, patients: Sequence[Patient]
    ) -> tuple[SliceCache, dict[str, CacheEntry], dict[str, str]]:
        """Finds or creates every patient's slices.

        Returns:
            The cache, patient -> entry, and patient -> reason for those that cannot be used.
        """
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
        place = Path(
            os.path.expanduser(config.cache or os.environ.get(CACHE) or self.root / ".studio-cache")
        )
        options = {"root": str(self.root.resolve()), "edition": config.edition}
        cache = SliceCache(place, "brats", {**vars(cutting), **options})
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
            return cut_patient(self.root, scans[name], cutting)

        entries = cache.entries(inputs, cut)
        return (
            cache,
            entries,
            reasons | {name: entry.reason for name, entry in entries.items() if entry.reason},
        )

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
        anywhere, framed = (
            self._table[:, COLUMNS.index(name)] for name in ("anywhere", "tumour_area")
        )
        belongs = {"background": anywhere == 0, "target": framed >= self.config.min_tumour}
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
                    f"{self.root}: no {domain} slice in the {name} split, of "
                    f"{len(self._table)} slices of {len(sides)} patients: "
                    "add patients, or change data.slices, data.min_tumour or "
                    f"data.test_share{aside}"
                )

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
        if self.quarantined:
            yield f"{len(self.quarantined)} patients are set aside" + format_lines(
                [f"{n}: {why}" for n, why in self.quarantined]
            )
        yield from edition_notes([self._editions[patient.name] for patient in self.patients])
        yield from order_notes(self.patients)
        yield from scan_notes([entry.facts for entry in self._entries])
        sides = [*self._splits.values()]
        by_split = ", ".join(f"{sides.count(split)} in {split}" for split in SPLITS)
        yield (
            f"split by patient: {by_split}; background slices are of the same patients as target "
            "slices"
        )
        yield f"slices are kept in {self._cache.folder}"


def find_unusual(entries: Mapping[str, CacheEntry]) -> dict[str, str]:
    """Returns the patients with another size or number of voxels than most, with a reason.

    Slices of the same number would show other places of them.
    """
    grids = {
        name: (tuple(entry.facts["shape"]), tuple(entry.facts["spacing"]))
        for name, entry in entries.items()
    }
    usual = min(multimode(grids.values()), default=((), ()))
    text = "{} voxels of {} mm".format
    kinds = {
        grid: text(*(" x ".join(f"{n:g}" for n in part) for part in grid))
        for grid in {*grids.values(), usual}
    }
    return {
        name: f"has {kinds[grid]}, most have {kinds[usual]}"
        for name, grid in grids.items()
        if grid != usual
    }
