"""Editions of BraTS, and the tissue that each label of their masks means.

The same number means different tissues in different editions: 4 is enhancing tumour until 2021, a
resection cavity in BraTS-GLI 2024, and oedema in BraTS-PED 2024. The edition is therefore taken
from names, or from the config, and never from the labels that a mask happens to have.

Sources: the descriptions of the data by the organisers of each challenge; `dataset.json` of the
Medical Segmentation Decathlon.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from studio.data.io.slices import UnreadableError

__all__ = ["EDITIONS", "Edition", "EditionName", "Tissue", "find_edition"]

Tissue = Literal["core", "oedema", "enhancing", "cyst", "cavity"]
EditionName = Literal[
    "brats2021", "gli2023", "gli2024", "ssa", "men", "met", "ped2023", "ped2024", "decathlon"
]


@dataclass(frozen=True)
class Edition:
    """An edition of BraTS.

    Attributes:
        title: its name in messages.
        labels: label -> tissue. `core` is necrotic and other tumour that does not enhance, `cyst`
            a cystic component, and `cavity` the hole that a resection has left.
    """

    title: str
    labels: Mapping[int, Tissue]

    def has(self, tissue: Tissue) -> bool:
        """Returns whether the masks have a label for a tissue."""
        return tissue in self.labels.values()

    def label(self, tissue: Tissue) -> int:
        """Returns the label of a tissue, -1 if there is none."""
        return next((label for label, found in self.labels.items() if found == tissue), -1)

    def check_labels(self, name: str, mask: np.ndarray) -> None:
        """Refuses a mask with other labels.

        Raises:
            UnreadableError: the mask has another label.
        """
        found = np.unique(mask)
        odd = found[~np.isin(found, [0, *self.labels])]
        if len(odd):
            raise UnreadableError(
                f"{name} has the label {odd[0]:g}, the labels of {self.title} are "
                f"{self.describe()}; if it is of another edition, name that in data.edition"
            )

    def describe(self) -> str:
        """Returns the labels and their tissues as text."""
        return ", ".join(f"{label} {tissue}" for label, tissue in self.labels.items())


SINCE_2023: Mapping[int, Tissue] = {1: "core", 2: "oedema", 3: "enhancing"}
WITH_CAVITY: Mapping[int, Tissue] = {**SINCE_2023, 4: "cavity"}
EDITIONS: dict[str, Edition] = {
    "brats2021": Edition("BraTS 2017 to 2021", {1: "core", 2: "oedema", 4: "enhancing"}),
    "gli2023": Edition("BraTS-GLI 2023 (before treatment)", SINCE_2023),
    "gli2024": Edition("BraTS-GLI 2024 (after treatment)", WITH_CAVITY),
    "ssa": Edition("BraTS-SSA", SINCE_2023),
    "men": Edition("BraTS-MEN", SINCE_2023),
    "met": Edition("BraTS-MET", WITH_CAVITY),  # 4 since 2025
    "ped2023": Edition("BraTS-PED 2023", SINCE_2023),
    "ped2024": Edition("BraTS-PED 2024", {1: "enhancing", 2: "core", 3: "cyst", 4: "oedema"}),
    "decathlon": Edition("Task01 of the Decathlon", {1: "oedema", 2: "core", 3: "enhancing"}),
}
# Name of a patient -> edition. The last number of BraTS-GLI is the visit: after treatment from 100.
NAMES: dict[str, EditionName] = {
    r"brats-gli-\d+-0\d\d": "gli2023",
    r"brats-gli-\d+-[1-9]\d\d": "gli2024",
    r"brats-ssa-\d+-\d+": "ssa",
    r"brats-men-\d+-\d+": "men",
    r"brats-mets?-\d+-\d+": "met",
    r"brats_\d+": "decathlon",
    r"brats(17|18|19|20|2021)_.+": "brats2021",
}
PED_YEAR = re.compile(r"(?=.*ped)(?=.*20(\d\d))", re.I)
CHALLENGE = re.compile(r"brats-([a-z]+(-[a-z]+)*)", re.I)


def find_edition(
    name: str, folders: Sequence[str], given: str, spelling: Literal["old", "new", "none"]
) -> Edition:
    """Returns the edition of a patient.

    Args:
        name: name of the patient.
        folders: names of the folders that contain the patient.
        given: name of the edition in the config, or `auto`.
        spelling: how the names of the files spell the modalities: as until 2021 (t1ce), as since
            2023 (t1c), or not at all. It decides if the patient's name is none of BraTS.

    Raises:
        UnreadableError: the edition is not known.
    """
    if given != "auto":
        return EDITIONS[given]
    for pattern, edition in NAMES.items():
        if re.fullmatch(pattern, name, re.I):
            return EDITIONS[edition]
    known = f"set data.edition to the one whose labels it has ({', '.join(EDITIONS)})"
    challenge = CHALLENGE.match(name)
    if challenge and challenge[1].lower() in ("ped", "peds"):
        years = {match[1] for folder in folders if (match := PED_YEAR.match(folder))}
        if years in ({"23"}, {"24"}):
            return EDITIONS[f"ped20{years.pop()}"]
        said = "does not say the year"
        if years:
            said = f"says {' and '.join(f'20{year}' for year in sorted(years))}"
        raise UnreadableError(
            "is of BraTS-PED, whose labels differ between 2023 and 2024, and its folder "
            f"{said}: set data.edition to ped2023 or ped2024"
        )
    if challenge and challenge[1].lower() == "men-rt":
        raise UnreadableError(
            "is of BraTS-MEN-RT, whose masks are volumes to be treated and have no tissues: "
            "it is not read"
        )
    if challenge:
        raise UnreadableError(f"is of the unknown edition BraTS-{challenge[1]}: {known}")
    if spelling == "none":
        raise UnreadableError(f"has a name of no known edition of BraTS: {known}")
    return EDITIONS["brats2021" if spelling == "old" else "gli2023"]
