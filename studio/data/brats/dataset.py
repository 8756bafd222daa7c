"""`brats`: axial slices of brains with a tumour (target) and of the same patients without one (background).

The multimodal brain tumour segmentation benchmark. Menze et al. 2015; Carton et al. (2024), Sec. 5 use slices 86 to 94, every
second one, as their data show. "Healthy" there means a slice without tumour of somebody who has one elsewhere, and so it
does here; nobody in BraTS is healthy.

A slice is background if its mask is empty, target if the tumour has at least `min_tumour` cm2 in the frame, and left out
and counted in between. The authors drop such a band, too, but how wide it is is nowhere said. Patients are split, not slices,
and both domains have the same patients. Volumes are read once, since a volume's window needs all of it; what training then
reads are single slices of a cache (`studio.data.brats.cache`).
"""

import os
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import multimode
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from studio.data.brats.cache import CACHE, CacheEntry, PatientSlices, SliceCache
from studio.data.brats.layout import BRATS_LAYOUT, MODALITIES, Patient, file_stamps, find_patients
from studio.data.brats.preprocess import COLUMNS, LEVELS, CuttingOptions, cut_patient
from studio.data.dataset import SPLITS, Attribute, Dataset, Labels, Split
from studio.data.folders import QuarantineError
from studio.data.io.files import FilesConfig, data_folder
from studio.data.io.images import UnreadableError
from studio.data.io.names import format_lines
from studio.data.splits import split_of
from studio.domains import DOMAINS
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Brats", "BratsConfig"]

SIDES = ("left", "right")  # the patient's
SALIENT = ("tumour_area", "tumour_x", "tumour_y", "enhancing", "oedema", "core")
Share = Annotated[float, Field(ge=0, le=100)]


class BratsConfig(FilesConfig):
    """The data set's section."""

    name: Literal["brats"] = "brats"
    resolution: int = Field(default=128, ge=6)
    modalities: Annotated[
        tuple[Literal["t1", "t1ce", "t2", "flair"], ...], Field(strict=False, min_length=1)
    ] = ("t1",)
    slices: Annotated[tuple[int, int], Field(strict=False)] = (
        86,
        94,
    )  # first and last, counted from below, 0 first
    slice_step: int = Field(default=2, ge=1)  # as in the authors' data
    min_tumour: float = Field(
        default=1.0, gt=0, allow_inf_nan=False
    )  # cm2 in the frame, for a slice to be a target
    percentiles: Annotated[tuple[Share, Share], Field(strict=False)] = (
        0.5,
        99.5,
    )  # of a volume's brain: -1 and 1
    crop: int = Field(
        default=0, ge=0
    )  # side of the frame in voxels; 0: all. Louiset et al.'s script: about 196
    test_share: float = Field(default=0.2, gt=0, lt=1)  # of the patients
    max_bad: float = Field(default=0.05, ge=0, lt=1)  # share of the patients that may be unusable
    memory_gb: float = Field(
        default=2.0, ge=0
    )  # slices beyond it are read from the cache when needed
    cache: str | None = None  # folder; none: STUDIO_CACHE, else .studio-cache beside the patients

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, modalities: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(modalities)) < len(modalities):
            raise ValueError(
                f"found {list(modalities)}, expected each of {', '.join(MODALITIES)} at most once"
            )
        return modalities

    @field_validator("slices")
    @classmethod
    def _forwards(cls, slices: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= slices[0] <= slices[1]:
            raise ValueError(
                f"found {list(slices)}, expected [first, last] with 0 <= first <= last"
            )
        return slices

    @field_validator("percentiles")
    @classmethod
    def _upwards(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if not percentiles[0] < percentiles[1]:
            raise ValueError(f"found {list(percentiles)}, expected [low, high] with low < high")
        return percentiles


class Brats(Dataset):
    """Slices of brains with a tumour, and of the same patients without one.

    Attributes of the tumour (salient): `tumour_area` in cm2; `tumour_x` and `tumour_y`, its centroid, -1 at the image's
    left or upper edge and 1 at its right or lower one; `tumour_side`, that of the patient on which most of it is, where
    right is right in the image; `enhancing`, `oedema` and `core` (necrotic and not enhancing), shares of its area. Of
    every slice (common): `slice`, its number counted from below, and `brain_area` in cm2.

    Args:
        config: the data set's section.

    Attributes:
        root: the folder.
        quarantined: (patient, reason) for every patient that is set aside.

    Raises:
        StudioError: there are no patients, too many of them cannot be used, a split is empty or the cache cannot be written.
    """

    Config = BratsConfig
    LAYOUT = BRATS_LAYOUT
    config: BratsConfig

    def __init__(self, config: BratsConfig) -> None:
        super().__init__(config)
        self.root, patients = find_patients(data_folder(config, BRATS_LAYOUT))
        self._cache, entries, reasons = self._cut(patients)
        reasons |= _find_repeated(patients) | _find_unusual(
            {name: entry for name, entry in entries.items() if name not in reasons}
        )
        self.quarantined = [
            (patient.name, reasons[patient.name]) for patient in patients if patient.name in reasons
        ]
        self._check_quarantine(len(patients))
        self._patients = [patient for patient in patients if patient.name not in reasons]
        self._entries = [entries[patient.name] for patient in self._patients]
        self.shape = (len(config.modalities), config.resolution, config.resolution)
        self._find_rows()
        salient = {name: Attribute("salient", target_only=True) for name in SALIENT}
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

        rows = self._rows[split, domain][np.asarray(indices, np.int64)]
        return torch.from_numpy(
            self._read_slices("images", rows, self.shape) * np.float32(2 / LEVELS) - 1
        )

    def masks(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns where the tumour is in target images, bool (len(indices), H, W)."""
        import torch

        rows = self._rows[split, "target"][np.asarray(indices, np.int64)]
        return torch.from_numpy(self._read_slices("masks", rows, self.shape[1:]) > 0)

    def labels(self, split: Split, domain: str) -> Labels:
        table = {
            name: self._table[self._rows[split, domain], column]
            for column, name in enumerate(COLUMNS)
        }
        common = {name: table[name].astype(np.float64) for name in ("slice", "brain_area")}
        if domain == "background":
            return common
        salient = {name: table[name].astype(np.float64) for name in SALIENT}
        return {**salient, "tumour_side": (table["right"] > 0.5).astype(np.int64), **common}

    def notes(self) -> list[str]:
        return list(self._notes())

    def _cut(
        self, patients: Sequence[Patient]
    ) -> tuple[SliceCache, dict[str, CacheEntry], dict[str, str]]:
        """Finds or makes every patient's slices; returns the cache, the entries, and who has none or a bad one."""
        config = self.config
        numbers = tuple(range(config.slices[0], config.slices[1] + 1, config.slice_step))
        cutting = CuttingOptions(
            config.modalities, numbers, config.percentiles, config.crop, config.resolution
        )
        place = Path(
            os.path.expanduser(config.cache or os.environ.get(CACHE) or self.root / ".studio-cache")
        )
        cache = SliceCache(place, "brats", {**vars(cutting), "root": str(self.root.resolve())})
        files, inputs, reasons = {}, {}, {}
        for patient in patients:
            try:
                files[patient.name] = patient.select_files(config.modalities)
                inputs[patient.name] = file_stamps(self.root, list(files[patient.name].values()))
            except UnreadableError as error:
                reasons[patient.name] = str(error)

        def cut(name: str) -> PatientSlices:
            return cut_patient(self.root, files[name], cutting)

        entries = cache.entries(inputs, cut)
        return (
            cache,
            entries,
            reasons | {name: entry.reason for name, entry in entries.items() if entry.reason},
        )

    def _check_quarantine(self, patients: int) -> None:
        if len(self.quarantined) > self.config.max_bad * patients:
            lines = format_lines([f"{name}: {reason}" for name, reason in self.quarantined])
            counts = f"{len(self.quarantined)} of {patients} patients cannot be used"
            raise QuarantineError(
                f"{self.root}: {counts}, max_bad is {self.config.max_bad:.0%}{lines}",
                self.quarantined,
            )

    def _find_rows(self) -> None:
        """Sorts slices into splits and domains: `_rows` has numbers of rows of `_table`, `_where` (patient, row there)."""
        self._table = np.concatenate([entry.numbers for entry in self._entries])
        self._where = np.array(
            [(p, row) for p, entry in enumerate(self._entries) for row in range(len(entry.numbers))]
        )
        share = self.config.test_share
        sides = np.array(
            [SPLITS.index(split_of(patient.subject, share)) for patient in self._patients]
        )
        split = sides[self._where[:, 0]] if len(self._where) else np.empty(0, np.int64)
        anywhere, framed = (
            self._table[:, COLUMNS.index(name)] for name in ("anywhere", "tumour_area")
        )
        belongs = {"background": anywhere == 0, "target": framed >= self.config.min_tumour}
        self._dropped = int(np.count_nonzero(~belongs["background"] & ~belongs["target"]))
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
                    f"{self.root}: no {domain} slice in the {name} split, of {len(self._table)} slices of {len(sides)} patients: "
                    f"add patients, or change data.slices, data.min_tumour or data.test_share{aside}"
                )

    def _read_slices(self, array: str, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Returns rows of the table of all slices of one of the cache's arrays."""
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
        yield (
            f"{len(self._patients)} patients, slices {config.slices[0]} to {config.slices[1]} in steps of {config.slice_step}: "
            f"{counts['background']} without tumour, {counts['target']} with at least {config.min_tumour:g} cm2; "
            f"{self._dropped} in between are left out, {empty} show no brain"
        )
        if self.quarantined:
            yield f"{len(self.quarantined)} patients are set aside" + format_lines(
                [f"{n}: {why}" for n, why in self.quarantined]
            )
        subjects = {
            patient.subject: split_of(patient.subject, config.test_share)
            for patient in self._patients
        }
        sides = ", ".join(f"{list(subjects.values()).count(split)} in {split}" for split in SPLITS)
        yield f"split by patient: {sides}; background slices are of the same patients as target slices"
        yield f"slices are kept in {self._cache.folder}"


def _find_repeated(patients: Sequence[Patient]) -> dict[str, str]:
    """Says which folders have the name of an earlier one: a patient would count twice."""
    seen: dict[str, str] = {}
    reasons = {}
    for patient in patients:
        own = Path(patient.name).name
        if own in seen:
            reasons[patient.name] = f"is a second folder of the name {own}, see {seen[own]}"
        seen.setdefault(own, patient.name)
    return reasons


def _find_unusual(entries: dict[str, CacheEntry]) -> dict[str, str]:
    """Says which patients have voxels of another size or number than most: their slices would show other places."""
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
