"""`pneumonia`: X-rays of healthy children's chests, and of children with pneumonia.

The images are those of Kermany et al. (2018), in the folders `train`, `test` and `val` of Kaggle or
`train` and `test` of the authors' archive. The kind of pneumonia, bacterial or viral, and the
person are in the names of the files. Louiset et al. (2024), App. E.2, train on the images of the
training folder and test on those of the test folder, which a third radiologist has graded.

Choices where the paper is silent:

* It has 1,342 images of healthy, bacterial and viral cases each (`data.per_class`). The training
  folder of Kaggle has 1,341 healthy ones. The numbers are equal and as large as there are images.
* All images of the test folder are used.
* Persons of the test folder are left out of training. A person is a kind and a number, because
  bacterial and viral cases have a numbering each: of 1,635 numbers in a copy of the training images
  808 have both kinds.
* Images are squashed to a square by averaging pixels, as the authors' code does.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from studio.data.dataset import Split
from studio.data.io.files import data_folder
from studio.data.io.images import Picture
from studio.data.io.names import join_names
from studio.data.picture_lists import (
    AS_LIST,
    PerClass,
    PictureList,
    PictureListConfig,
    Place,
    Record,
    hash_order,
    interleave,
)
from studio.data.sources.picture_store import PictureStore, cut_square, squash
from studio.data.splits import ShareConfig, choose_test
from studio.data.subjects import SPLIT_FOLDERS
from studio.errors import StudioError
from studio.limits import Most

__all__ = ["Pneumonia", "PneumoniaConfig"]

SUBTYPE = "subtype"
NORMAL, PNEUMONIA = "normal", "pneumonia"  # names of folders, in any case
SUBTYPES = ("bacterial", "viral")
# Kaggle: person1_bacteria_2.jpeg, person3_virus_4.jpeg. Authors: BACTERIA-1008087-0001.jpeg.
KAGGLE = re.compile(r"(person\d+)_(bacteria|virus)_", re.IGNORECASE)
AUTHORS = re.compile(r"(bacteria|virus|normal)-(\d+)-", re.IGNORECASE)
# Kaggle: IM-0115-0001.jpeg, NORMAL2-IM-0001-0001.jpeg.
HEALTHY = re.compile(r"((?:normal\d*-)?im-\d+)-", re.IGNORECASE)
KINDS = {"bacteria": "bacterial", "virus": "viral", "normal": NORMAL}


class PneumoniaConfig(PictureListConfig, ShareConfig):
    """The section of `pneumonia`."""

    name: Literal["pneumonia"] = "pneumonia"
    """Name of the data set."""

    resolution: int = Field(default=64, ge=6, le=Most.SIDE)
    """Side of the images.

    Unit: pixels.

    Source: Louiset et al. (2024), App. E.2.
    """

    target: Annotated[
        tuple[Literal["bacterial", "viral"], ...],
        Field(strict=False, min_length=1),
        AS_LIST,
    ] = SUBTYPES
    """Kinds of pneumonia in the target set."""

    per_class: PerClass = 1342
    """Number of training images of healthy children, and of each kind of pneumonia. If a class has
    fewer, all have as few. all: every image.

    Unit: images.

    Source: Louiset et al. (2024), Sec. 4.
    """

    split: Literal["folders", "persons"] = "folders"
    """folders: the folders `train` and `test`, without persons of the test folder in training.
    persons: all images together, with `test_share` of the persons for testing, or a `fold`."""

    val: Literal["none", "train", "test"] = "none"
    """Split of the sixteen images in Kaggle's folder `val`, if `split` is folders."""

    fit: Literal["squash", "crop"] = "squash"
    """How images become square. squash: their proportions change, as in the code of Louiset et al.
    crop: the largest square in the middle."""

    @field_validator("split_rule")
    @classmethod
    def _has_quotas(cls, rule: str) -> str:
        if rule != "quotas":
            raise ValueError("pneumonia has no other rule than quotas")
        return rule


class Pneumonia(PictureList):
    """X-rays of children's chests, in the target set with pneumonia.

    Args:
        config: the data set's section.

    Raises:
        StudioError: a folder is missing, or a set is empty.
        QuarantineError: too many files cannot be used.
    """

    Config = PneumoniaConfig
    LAYOUT = (
        "ROOT/train and ROOT/test (or ROOT/chest_xray/...) with NORMAL/*.jpeg and "
        "PNEUMONIA/person1_bacteria_1.jpeg ...; optionally ROOT/val"
    )
    config: PneumoniaConfig

    def __init__(self, config: PneumoniaConfig) -> None:
        super().__init__(config)
        if config.fit == "squash":
            self._least = config.resolution
        root = data_folder(config, self.LAYOUT)
        store = PictureStore(root)
        found = _find_folders(store.names)
        self._refuse_missing(store, found)
        classes = tuple(dict.fromkeys(config.target))
        conditions = self._conditions(SUBTYPE, classes)
        unclear = [name for rows in found.values() for name in rows if _kind(name) is None]
        notes = []
        if unclear:
            notes.append(
                f"{len(unclear):,} files are left out, because their names have neither bacteria "
                f"nor virus: {join_names(unclear)}"
            )
        sides, more = self._sides(found)
        records: dict[Place, list[Record]] = {}
        for split, names in sides.items():
            groups, few = self._take(split, names, classes)
            more += few
            records[split, "background"] = [Record(name, _person(name)) for name in groups[NORMAL]]
            targets = [
                [Record(name, _person(name), conditions.values(number)) for name in groups[kind]]
                for number, kind in enumerate(classes)
            ]
            records[split, "target"] = interleave(targets)
        self._settle(store, records, conditions.attributes(), [*notes, *more])

    def _cut(self, picture: Picture, record: Record) -> np.ndarray:
        cut = squash if self.config.fit == "squash" else cut_square
        return cut(picture, self.config.resolution, self.config.channels)

    def _refuse_missing(self, store: PictureStore, found: Mapping[str, Sequence[str]]) -> None:
        """Raises an error if a folder that is needed has no images."""
        needed = ("train", "test") if self.config.split == "folders" else ("",)
        for part in needed:
            for folder in (NORMAL, PNEUMONIA):
                here = [
                    name
                    for place, names in found.items()
                    if part in ("", place)
                    for name in names
                    if _folder(name) == folder
                ]
                if not here:
                    where = f"{part}/{folder.upper()}" if part else folder.upper()
                    seen = sorted({str(PurePosixPath(name).parent) for name in store.names})
                    shown = join_names(seen) or "no jpg or png files"
                    raise StudioError(
                        f"{store.place}: no X-rays in {where}, found {shown}"
                        f"; expected {self.LAYOUT}"
                    )

    def _sides(self, found: Mapping[str, Sequence[str]]) -> tuple[dict[Split, list[str]], list]:
        """Returns the files of each split, and notes."""
        config = self.config
        if config.split == "persons":
            everything = [name for names in found.values() for name in names if _kind(name)]
            domains: dict[str, set[str]] = defaultdict(set)
            for name in everything:
                domain = "background" if _kind(name) == NORMAL else "target"
                domains[_person(name)].add(domain)
            test = choose_test(domains, {}, config)
            sides: dict[Split, list[str]] = {
                "train": [name for name in everything if _person(name) not in test],
                "test": [name for name in everything if _person(name) in test],
            }
            return sides, []
        notes = []
        sides = {"train": [*found["train"]], "test": [*found["test"]]}
        extra = found.get("val", [])
        if config.val != "none":
            sides[config.val] += extra
        elif extra:
            notes.append(f"{len(extra):,} images of val/ are left out (data.val)")
        tested = {_person(name) for name in sides["test"]}
        shared = [name for name in sides["train"] if _person(name) in tested]
        if shared:
            notes.append(
                f"{len(shared):,} training images are left out, because their persons are also "
                f"in test/: {join_names(shared)}"
            )
        sides["train"] = [name for name in sides["train"] if _person(name) not in tested]
        return sides, notes

    def _take(
        self, split: Split, names: Sequence[str], classes: Sequence[str]
    ) -> tuple[dict[str, list[str]], list[str]]:
        """Returns the chosen files of each class, and notes."""
        ordered = [names[i] for i in hash_order(names, "pneumonia")]
        wanted = (NORMAL, *classes)
        groups = {kind: [name for name in ordered if _kind(name) == kind] for kind in wanted}
        number = self.config.per_class
        empty = [kind for kind in wanted if not groups[kind]]
        if empty:
            raise StudioError(
                f"{self.config.root}: no {join_names(empty)} images for the {split} split; "
                f"expected {self.LAYOUT}"
            )
        if split == "test" or number == "all":
            return groups, []
        fewest = min(wanted, key=lambda kind: len(groups[kind]))
        most = min(number, len(groups[fewest]))
        notes = []
        if most < number:
            notes.append(
                f"{most:,} training images of each class are used instead of {number:,}, because "
                f"there are no more of {fewest}"
            )
        return {kind: rows[:most] for kind, rows in groups.items()}, notes


def _find_folders(names: Sequence[str]) -> dict[str, list[str]]:
    """Returns the part, such as train, test or val, and its files.

    A second copy in a deeper folder, as in Kaggle's archive, is not read.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) < 2 or parts[-2].lower() not in (NORMAL, PNEUMONIA):
            continue
        part = parts[-3].lower() if len(parts) > 2 else ""
        side = SPLIT_FOLDERS.get(part)
        key = "val" if side == "test" and part.startswith(("val", "dev")) else side or part
        found[key]["/".join(parts[:-2])].append(name)
    return {
        key: places[min(places, key=lambda place: (place.count("/"), place))]
        for key, places in found.items()
    }


def _folder(name: str) -> str:
    return PurePosixPath(name).parts[-2].lower()


def _kind(name: str) -> str | None:
    """Returns the class of a file: normal, bacterial or viral, or None if its name does not say."""
    base = PurePosixPath(name).name
    if _folder(name) == NORMAL:
        return NORMAL
    match = KAGGLE.match(base)
    if match:
        return KINDS[match[2].lower()]
    match = AUTHORS.match(base)
    return KINDS[match[1].lower()] if match and match[1].lower() != NORMAL else None


def _person(name: str) -> str:
    """Returns the person of a file, or its own name if that does not say."""
    base = PurePosixPath(name).name
    if match := KAGGLE.match(base):
        return f"{match[1].lower()}_{match[2].lower()}"
    if match := AUTHORS.match(base):
        return match[2]
    if match := HEALTHY.match(base):
        return match[1].lower()
    return base
