"""The base of data sets whose items are chosen pictures of a large collection.

Such a data set reads its tables and folders, decides which pictures are in which set and split, and
hands lists of `Record` to `_settle`. Everything else is the same for all of them: files that are
cut short are set aside, decoded pictures are kept in memory, the training sets can be contaminated,
and several conditions of the target set become attributes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from studio.data.conditions import Conditions, ConditionsConfig
from studio.data.dataset import Attribute, Dataset, Labels, Split
from studio.data.folders import QuarantineError
from studio.data.indices import as_indices
from studio.data.io.images import Picture, UnreadableError
from studio.data.io.names import format_lines
from studio.data.item_tables import (
    ContaminationConfig,
    mark_salient,
    pick_in_turn,
    uniform_column,
)
from studio.data.sources.picture_store import PictureStore
from studio.data.splits import hash_to_unit_interval
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.limits import Most

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "AS_LIST",
    "PerClass",
    "PictureList",
    "PictureListConfig",
    "Place",
    "Record",
    "hash_order",
    "interleave",
]

SEED = 16_2024
MOST = 10_000_000  # images of a class
Place = tuple[Split, str]  # split, domain


def _as_list(names: object) -> object:
    return (names,) if isinstance(names, str) else names


def _check_number(value: object) -> object:
    if value == "all" or (type(value) is int and 1 <= value <= MOST):
        return value
    raise ValueError(f"found {value!r}, expected all or a whole number from 1 to {MOST:,}")


AS_LIST = BeforeValidator(_as_list)  # accepts one name in place of a list
PerClass = Annotated[int | Literal["all"], BeforeValidator(_check_number)]


@dataclass(frozen=True)
class Record:
    """A picture that a data set uses.

    Attributes:
        name: its name in the store.
        subject: the person that it shows, or its own name.
        values: attribute -> class number or number. An absent attribute is unknown.
        box: the square to cut out, None for the data set's usual one.
    """

    name: str
    subject: str
    values: Mapping[str, float] = field(default_factory=dict)
    box: tuple[float, float, float, float] | None = None


class PictureListConfig(ContaminationConfig, ConditionsConfig):
    """The fields of a data set of chosen pictures."""

    resolution: int = Field(default=64, ge=6, le=Most.SIDE)
    """Side of the square images.

    Unit: pixels.
    """

    channels: Literal[1, 3] = 3
    """Number of channels, 1 for gray and 3 for RGB.

    Unit: channels.
    """

    show_names: bool = True
    """Whether pictures, reports and the app name files and subjects. false: they show `target 271`
    instead."""

    max_bad: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of the chosen pictures that may be unusable.

    Unit: none.
    """

    memory_gb: float = Field(default=2.0, ge=0, le=Most.MEMORY)
    """Memory for decoded pictures. What does not fit is decoded again whenever it is needed.

    Unit: GB per process.
    """


class PictureList(Dataset):
    """Chosen pictures of a collection.

    Args:
        config: the data set's section.
    """

    config: PictureListConfig

    def __init__(self, config: PictureListConfig) -> None:
        super().__init__(config)
        self.show_names = config.show_names
        self.shape = (config.channels, config.resolution, config.resolution)
        self._kept: dict[str, np.ndarray] = {}
        self._room = config.memory_gb * 1e9

    def size(self, split: Split, domain: str) -> int:
        return len(self._records[split, domain])

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        import torch

        records = self._records[split, domain]
        rows = as_indices(indices, len(records))
        pixels = np.empty((len(rows), *self.shape), np.uint8)
        for image, row in zip(pixels, rows, strict=True):
            image[:] = self._pixels(records[row])
        return torch.from_numpy(pixels).float().div_(127.5).sub_(1)

    def labels(self, split: Split, domain: str) -> Labels:
        records = self._records[split, domain]
        found: Labels = {}
        for name, attribute in self.attributes.items():
            if attribute.target_only and domain == "background":
                continue
            missing, kind = (-1, np.int64) if attribute.classes else (np.nan, np.float64)
            values = [record.values.get(name, missing) for record in records]
            found[name] = np.array(values, kind)
        return found

    def notes(self) -> list[str]:
        return list(self._notes)

    def item_names(self, split: Split, domain: str) -> list[str]:
        """Returns the file name of each item."""
        return [record.name for record in self._records[split, domain]]

    def item_subjects(self, split: Split, domain: str) -> list[str]:
        """Returns the person of each item, which is the item's own name if it is not known."""
        return [record.subject for record in self._records[split, domain]]

    def _cut(self, picture: Picture, record: Record) -> np.ndarray:
        """Returns a decoded picture in the shape of the items, uint8."""
        raise NotImplementedError

    def _settle(
        self,
        store: PictureStore,
        records: Mapping[Place, Sequence[Record]],
        attributes: Mapping[str, Attribute],
        notes: Iterable[str],
    ) -> None:
        """Takes the chosen pictures, apart from those that are cut short.

        Args:
            store: reads them.
            records: (split, domain) -> pictures in the order of the items.
            attributes: name -> Attribute.
            notes: facts about this copy of the data.

        Raises:
            QuarantineError: too many pictures cannot be used.
            StudioError: a set has no picture in a split.
        """
        self._store = store
        faults = {
            name: fault
            for name in dict.fromkeys(record.name for rows in records.values() for record in rows)
            if (fault := store.fault(name))
        }
        self.quarantined = list(faults.items())
        chosen = sum(map(len, records.values()))
        if len(faults) > self.config.max_bad * chosen:
            lines = format_lines([f"{name} {reason}" for name, reason in self.quarantined])
            raise QuarantineError(
                f"{store.place}: {len(faults)} of {chosen} pictures cannot be used, data.max_bad "
                f"is {self.config.max_bad:.0%}{lines}",
                self.quarantined,
            )
        kept = {
            place: [record for record in rows if record.name not in faults]
            for place, rows in records.items()
        }
        for (split, domain), rows in kept.items():
            if not rows:
                raise StudioError(
                    f"{store.place}: no {domain} image for the {split} split; expected "
                    f"{self.LAYOUT}"
                )
        self.attributes = self._declare(attributes)
        unknown = {name for name, attribute in attributes.items() if attribute.target_only}
        self._records = _contaminate(self.config, kept, unknown)
        aside = f"{len(faults)} of {chosen} chosen pictures are set aside"
        self._notes = [*notes, *([aside] if faults else [])]

    def _pixels(self, record: Record) -> np.ndarray:
        found = self._kept.get(record.name)
        if found is None:
            try:
                least = None if record.box else self._least
                found = self._cut(self._store.read(record.name, least), record)
            except UnreadableError as error:
                raise StudioError(f"{self._store.place}: {record.name} {error}") from None
            if found.nbytes <= self._room:
                self._room -= found.nbytes
                self._kept[record.name] = found
        return found

    # Pixels of the shorter side that suffice, None to decode pictures at their full size.
    _least: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A loader process decodes pictures itself instead of receiving them.
        return {**self.__dict__, "_kept": {}, "_room": self.config.memory_gb * 1e9}

    def _conditions(self, name: str, classes: Sequence[str]) -> Conditions:
        """Returns the conditions of the target set, which pictures show one by one."""
        found = Conditions(name, tuple(classes), self.config.each_condition)
        self.condition = found.main
        return found


def _contaminate(
    config: ContaminationConfig, records: Mapping[Place, list[Record]], unknown: set[str]
) -> dict[Place, list[Record]]:
    """Puts pictures of the other set in place of some training pictures, as the config says.

    Args:
        config: shares of the contaminated items.
        records: (split, domain) -> pictures.
        unknown: attributes that background pictures do not have.
    """
    found = dict(records)
    for domain, other in (DOMAINS, DOMAINS[::-1]):
        own, others = records["train", domain], records["train", other]
        uniform = uniform_column(SEED, "train", domain, 2, len(own))
        wrong = mark_salient(config, "train", domain, uniform) != (domain == "target")
        taken = pick_in_turn(SEED, "train", domain, np.arange(len(others)), int(wrong.sum()))
        mixed = list(own)
        for row, source in zip(np.flatnonzero(wrong), taken, strict=True):
            record = others[source]
            known = {key: v for key, v in record.values.items() if key not in unknown}
            mixed[row] = Record(record.name, record.subject, known, record.box)
        found["train", domain] = mixed
    return found


def hash_order(names: Sequence[str], *key: str) -> list[int]:
    """Returns the positions of names in the order of a hash, the same on every machine."""
    values = [hash_to_unit_interval(*key, name) for name in names]
    return sorted(range(len(names)), key=lambda i: (values[i], names[i]))


def interleave(groups: Sequence[Sequence[Any]]) -> list[Any]:
    """Merges groups so that each start of the result has their proportions, up to rounding."""
    placed = [
        ((i + 0.5) / len(group), number, item)
        for number, group in enumerate(groups)
        for i, item in enumerate(group)
    ]
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]
