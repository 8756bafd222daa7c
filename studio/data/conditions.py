"""Several conditions of the target set, such as two diseases or two kinds of accessories.

They are the classes of one salient attribute, which pictures show in turn. Each of three or more is
also an attribute of its own, `no` or `yes`, so that it is probed against the others.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from studio.data.data_config import DataConfig
from studio.data.dataset import Attribute, Labels
from studio.data.io.names import join_names
from studio.errors import StudioError, nearest
from studio.schema import Flag

__all__ = [
    "CONDITION",
    "YES",
    "Conditions",
    "ConditionsConfig",
    "check_folders",
    "number_folders",
]

CONDITION = "condition"  # attribute of `folders`
YES = ("no", "yes")  # classes of a binary attribute
SEVERAL = 3  # conditions from which each is probed against the rest


class ConditionsConfig(DataConfig):
    """The field of a data set whose target set can have several conditions."""

    each_condition: Flag = True
    """Whether each of three or more conditions of the target set is an attribute of its own, so
    that it is probed against the others."""


class Conditions(NamedTuple):
    """The conditions of a target set.

    Attributes:
        name: attribute whose classes they are.
        classes: their names.
        each: `each_condition` of the config.
    """

    name: str
    classes: tuple[str, ...]
    each: bool

    @property
    def own(self) -> tuple[str, ...]:
        """The conditions that are attributes of their own."""
        return self.classes if self.each and len(self.classes) >= SEVERAL else ()

    @property
    def main(self) -> str:
        """The attribute of all conditions, "" if there is one condition."""
        return self.name if len(self.classes) > 1 else ""

    def attributes(self, others: Iterable[str] = ()) -> dict[str, Attribute]:
        """Returns the attributes that the conditions give. These are none for one condition.

        Args:
            others: names of other attributes of the data set.

        Raises:
            StudioError: another attribute has the name of one of these.
        """
        if not self.main:
            return {}
        clash = sorted({self.name, *self.own} & set(others))
        if clash:
            raise StudioError(
                f"data.attributes.{clash[0]}: is an attribute already, because the target set has "
                "several conditions; leave it out"
            )
        found = {self.name: Attribute("salient", self.classes, target_only=True)}
        return found | {each: Attribute("salient", YES, target_only=True) for each in self.own}

    def columns(self, numbers: np.ndarray) -> Labels:
        """Returns the values of the attributes for items with the conditions `numbers`, (n,) int64.

        -1 stands for none.
        """
        if not self.main:
            return {}
        known = numbers >= 0
        own = {
            name: np.where(known, numbers == i, -1).astype(np.int64)
            for i, name in enumerate(self.own)
        }
        return {self.name: numbers.astype(np.int64), **own}

    def values(self, number: int) -> dict[str, float]:
        """Returns the values of the attributes for one item, see `columns`."""
        columns = self.columns(np.array([number]))
        return {name: int(column[0]) for name, column in columns.items()}


def check_folders(target: Path, conditions: Sequence[str]) -> None:
    """Checks that the folder of the target set has a folder for each condition.

    Raises:
        StudioError: a folder is missing.
    """
    inside = sorted(next(os.walk(target), ("", [], []))[1])
    for name in conditions:
        if name not in inside:
            found = nearest(name, inside) if inside else "; found no folders"
            raise StudioError(f"data.conditions: no folder {target / name}{found}")


def number_folders(
    names: Mapping[str, str], conditions: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Returns the number of the condition of each image, -1 for none, and notes.

    Args:
        names: image, relative to the root -> domain.
        conditions: names of folders inside of the target set's.

    Raises:
        StudioError: a condition has no image.
    """
    if not conditions:
        return np.full(len(names), -1), []
    places = {name: number for number, name in enumerate(conditions)}
    numbers = np.array([places.get(_folder_of(name), -1) for name in names], np.int64)
    numbers[[domain != "target" for domain in names.values()]] = -1
    empty = [name for number, name in enumerate(conditions) if number not in numbers]
    if empty:
        raise StudioError(
            f"data.conditions: no usable image in {join_names([f'target/{n}/' for n in empty])}"
        )
    without = [
        name
        for (name, domain), number in zip(names.items(), numbers, strict=True)
        if domain == "target" and number < 0
    ]
    if not without:
        return numbers, []
    return numbers, [
        f"{len(without):,} target images are in no folder of data.conditions and have no "
        f"condition: {join_names(without)}"
    ]


def _folder_of(name: str) -> str:
    """Returns the first folder inside of that of the set, or ""."""
    parts = PurePosixPath(name).parts
    return parts[1] if len(parts) > 2 else ""
