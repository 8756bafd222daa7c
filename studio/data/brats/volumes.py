"""`brats` with `data.dims: 3`: whole brains with a tumour (target), and what can be compared with
them (background).

Nobody in BraTS is healthy, so the background is one of two things:

- Halves of brains (the default). Each brain is divided at its middle plane. A half without any
  label of the mask is background, and a half with at least `min_tumour` cm3 of tumour is a target.
  Halves in between are left out and counted. Both sets come from the same patients and scanners, as
  the slices of Carton et al. (2024) do. A tumour may displace the other half as well.
- Scans of healthy people of another data set (`data.healthy`). Items are then whole brains. These
  sets also differ in everything in which the two data sets differ, such as scanner, age and the way
  in which the skull was removed.

Brains become cubes as `studio.data.brats.cubes` says. The cache has one cube per patient.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from studio.data.brats.cache import CacheEntry, PatientSlices
from studio.data.brats.config import BratsConfig
from studio.data.brats.cubes import (
    HALVES,
    VOLUME_COLUMNS,
    BrainOptions,
    cut_brain,
    take_half,
)
from studio.data.brats.dataset import Brats
from studio.data.brats.editions import Tissue
from studio.data.brats.healthy import find_healthy
from studio.data.brats.layout import Patient
from studio.data.brats.preprocess import LEVELS
from studio.data.brats.scans import Scans
from studio.data.dataset import SPLITS, Attribute, Labels, Split
from studio.data.fingerprint import Fingerprint
from studio.data.indices import as_indices
from studio.data.vbm.notes import confound_notes, kind_notes, lost_notes
from studio.domains import DOMAINS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BratsVolumes", "brain_options"]

SALIENT = ("tumour_volume", "tumour_x", "tumour_y", "tumour_z", "enhancing", "oedema", "core")


class BratsVolumes(Brats):
    """Halves of brains with a tumour, and halves of the same patients without one, or whole brains
    with a tumour, and those of healthy people.

    Attributes of the tumour (salient):

    - `tumour_volume`: volume in cm3.
    - `tumour_x`, `tumour_y`, `tumour_z`: centroid in the item, -1 to 1 from left to right, front to
      back, and head to feet.
    - `enhancing`, `oedema`, `core`, `cyst`: as in slices, shares of its volume.
    - `cavity_volume`: volume of the resection cavity in cm3, in editions with that label.
    - `tumour_side`: side of the patient that has most of it, of whole brains.

    Attributes of every item (common):

    - `hemisphere`: side of the patient, of halves.
    - `brain_volume`: volume in cm3.

    The axes of a volume run from head to feet, from front to back, and from left to right.
    """

    _columns = VOLUME_COLUMNS
    _size_column = "tumour_volume"
    _of_tumour = SALIENT
    _of_all = ("brain_volume",)
    _extra: ClassVar[Mapping[str, Tissue]] = {"cyst": "cyst", "cavity_volume": "cavity"}
    _remedy = "data.min_tumour or data.test_share"

    def __init__(self, config: BratsConfig, derived: Mapping[str, Any] | None = None) -> None:
        self._halves = config.healthy is None
        self._units = ("half", "halves") if self._halves else ("brain", "brains")
        super().__init__(config, derived)

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns volumes, (len(indices), C, R, R, R) float32 in [-1, 1]."""
        import torch

        known = self._rows[split, domain]
        rows = known[as_indices(indices, len(known))]
        images = np.empty((len(rows), *self.shape), np.float32)
        for image, row in zip(images, rows, strict=True):
            np.multiply(self._read("images", row), np.float32(2 / LEVELS), out=image)
            image -= 1
        return torch.from_numpy(images)

    def masks(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns tumour and resection cavity in targets, (len(indices), R, R, R) bool."""
        import torch

        known = self._rows[split, "target"]
        rows = known[as_indices(indices, len(known))]
        masks = np.empty((len(rows), *self.shape[1:]), bool)
        for mask, row in zip(masks, rows, strict=True):
            mask[...] = self._read("masks", row) > 0
        return torch.from_numpy(masks)

    def fingerprint(self) -> Fingerprint:
        items = {}
        for patient, entry in zip(self.patients, self._entries, strict=True):
            numbers = np.nan_to_num(entry.numbers.astype(float), nan=-1.0)
            items[patient.name] = [*entry.facts["voxels"], *numbers.ravel().tolist()]
        return Fingerprint(
            "two numbers of each patient's voxels, and the measures of the tumour", "patient", items
        )

    def item_names(self, split: Split, domain: str) -> list[str]:
        """Returns the patient of each item, and which half it is."""
        rows, patients = self._rows[split, domain], self.item_patients(split, domain)
        if not self._halves:
            return [patient.name for patient in patients]
        sides = self._table[rows, VOLUME_COLUMNS.index("side")].astype(int)
        return [f"{p.name} {HALVES[side]}" for p, side in zip(patients, sides, strict=True)]

    def _read(self, array: str, row: int) -> np.ndarray:
        """Returns the levels (C, R, R, R) or the mask (R, R, R) of an item."""
        patient, half = self._where[row]
        cube = self._cache.read_rows(self._entries[patient], array)[0]
        return take_half(cube, half, 0) if self._halves else cube

    def _find_patients(self) -> tuple[Path, list[Patient]]:
        root, patients = super()._find_patients()
        if self.config.healthy is not None:
            patients += find_healthy(self.config.healthy, self.config.modalities, root)
        return root, patients

    def _find_unusual(self, entries: Mapping[str, CacheEntry]) -> dict[str, str]:
        return {}  # volumes are resampled

    def _describe_attributes(self) -> dict[str, Attribute]:
        found = super()._describe_attributes()
        if not self._halves:
            return found
        del found["tumour_side"]
        return {**found, "hemisphere": Attribute("common", HALVES)}

    def _label_sides(self, table: Mapping[str, np.ndarray], domain: str) -> Labels:
        if not self._halves:
            return super()._label_sides(table, domain)
        return {"hemisphere": table["side"].astype(np.int64)}

    def _cutting(self) -> tuple[dict[str, Any], Callable[[Path, Scans], PatientSlices]]:
        options = brain_options(self.config)
        return options.key(), lambda root, scans: cut_brain(root, scans, options)

    def _sort_rows(self) -> dict[str, np.ndarray]:
        found = super()._sort_rows()
        if not self._halves:
            healthy = np.array([patient.healthy for patient in self.patients], bool)
            found["background"] = healthy[self._where[:, 0]]
        return found

    def _count_notes(self) -> Iterator[str]:
        counts = {domain: sum(self.size(split, domain) for split in SPLITS) for domain in DOMAINS}
        least = f"with at least {self.config.min_tumour:g} cm3"
        if self._halves:
            yield (
                f"{len(self.patients)} patients, a brain is divided into two halves: "
                f"{counts['background']} without tumour, {counts['target']} {least}; "
                f"{self._dropped} in between are left out"
            )
        else:
            yield (
                f"{counts['background']} brains of healthy people, {counts['target']} of patients "
                f"{least} of tumour; {self._dropped} patients with less are left out"
            )
            yield (
                "background and target are of different data sets: a model can also tell them "
                "apart by scanner, age and the removal of the skull"
            )
        size = f"{self.config.resolution} voxels of {self.config.voxel:g} mm"
        yield f"each brain becomes a cube of {size} along each axis, around the brain's middle"

    def _grid_notes(self) -> Iterator[str]:
        facts = [entry.facts for entry in self._entries]
        names = [patient.name for patient in self.patients]
        yield from kind_notes(names, facts, "all are resampled")
        domains = [DOMAINS[not patient.healthy] for patient in self.patients]
        if not self._halves:
            yield from confound_notes(domains, facts)
        yield from lost_notes([fact["kept"] for fact in facts], "brain", "data.spacing")

    def _split_note(self, by_split: str) -> str:
        same = "background halves are of the same patients as target halves"
        return f"split by person: {by_split}" + f"; {same}" * self._halves


def brain_options(config: BratsConfig) -> BrainOptions:
    """Returns how the brains of a data set become cubes."""
    return BrainOptions(
        config.modalities,
        config.percentiles,
        config.resolution,
        config.voxel,
        config.healthy is None,
        config.nan,
    )
