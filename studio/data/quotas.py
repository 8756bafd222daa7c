"""Published numbers of images from a collection that may have too few, with no person in both
splits."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Quota", "Taken", "take_quotas", "take_share"]


class Quota(NamedTuple):
    """Wanted numbers of images of one part, such as the background or a condition."""

    train: int
    test: int


class Taken(NamedTuple):
    """The chosen items.

    Attributes:
        train: part -> items of the training split.
        test: part -> items of the test split.
        factor: share of the wanted numbers that there is, 1 if all are met.
        scarce: the part that has the fewest, "" if all wanted numbers are met.
        most: number of items of that part.
    """

    train: dict[str, list[int]]
    test: dict[str, list[int]]
    factor: float = 1.0
    scarce: str = ""
    most: int = 0


def take_quotas(
    parts: Mapping[str, Sequence[int]], person: np.ndarray, wanted: Mapping[str, Quota]
) -> Taken:
    """Takes the wanted numbers of items, or the same share of all of them if one part has too few.

    The persons are tested in the order of their ranks, as many as are needed. The number of tested
    persons is the one that loses the fewest items.

    Args:
        parts: part -> items, in the order in which they are taken.
        person: rank of the person of each item, from 0, (n,).
        wanted: part -> numbers.
    """
    persons = int(person.max()) + 1 if len(person) else 0
    factors = np.ones(persons + 1)
    names = list(parts)
    met = np.empty((len(names), persons + 1))
    for row, name in enumerate(names):
        items = np.asarray(parts[name], np.int64)
        counts = np.bincount(person[items], minlength=persons)
        tested = np.concatenate([[0], np.cumsum(counts)])
        quota = wanted[name]
        met[row] = np.minimum(
            tested / max(quota.test, 1) if quota.test else 1.0,
            (len(items) - tested) / max(quota.train, 1) if quota.train else 1.0,
        )
    factors = np.minimum(met.min(0), 1)
    best = int(factors.argmax())
    factor = float(factors[best])
    found: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
    for name in names:
        sides = (
            [i for i in parts[name] if person[i] >= best],
            [i for i in parts[name] if person[i] < best],
        )
        for chosen, side, count in zip(found, sides, wanted[name], strict=True):
            chosen[name] = side[: max(1, int(factor * count + 1e-9)) if count else 0]
    if factor >= 1:
        return Taken(*found)
    scarce = names[int(met[:, best].argmin())]
    return Taken(*found, factor, scarce, len(parts[scarce]))


def take_share(parts: Mapping[str, Sequence[int]], person: np.ndarray, share: float) -> Taken:
    """Takes all items, and tests on this share of the persons.

    The share is another one where that leaves a part without items of a split.

    Args:
        parts: part -> items, in the order in which they are taken.
        person: rank of the person of each item, from 0, (n,).
        share: share of the persons in the test split.
    """
    ranks = {name: np.unique(person[list(items)]) for name, items in parts.items()}
    used = np.unique(np.concatenate(list(ranks.values())))
    first = int(used[min(round(share * len(used)), len(used) - 1)])
    # Every part needs a tested person below the first person of training, and one from there on.
    least, most = max(r[0] + 1 for r in ranks.values()), min(r[-1] for r in ranks.values())
    first = min(max(first, least), most)
    return Taken(
        {name: [i for i in items if person[i] >= first] for name, items in parts.items()},
        {name: [i for i in items if person[i] < first] for name, items in parts.items()},
    )
