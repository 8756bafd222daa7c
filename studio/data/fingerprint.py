"""Fingerprints: the content of a data set in short, and how two contents differ.

Names, sizes and times of files do not decide whether their content is the same. A fingerprint
therefore has a value for the pixels of each item: a hash where pixels are exact, or a few numbers
where they are computed in floating point, because another processor rounds them otherwise.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from studio.data.io.names import join_names

__all__ = ["Fingerprint", "Value", "hash_cells", "hash_pixels", "project"]

TOLERANCE = 1e-4  # between two floating-point values of the same item
Value = str | list[float]


@dataclass(frozen=True)
class Fingerprint:
    """The content of a data set in short.

    Attributes:
        covers: what decides about it, as text for people.
        unit: name of an item in messages, such as `file`.
        items: name -> hash or numbers of its pixels.
        labels: name -> hash of its cells in the table of attributes, if there is one.
        columns: the columns of these cells.
    """

    covers: str
    unit: str
    items: Mapping[str, Value]
    labels: Mapping[str, str] = field(default_factory=dict)
    columns: Sequence[str] = ()

    @property
    def sha256(self) -> str:
        """A hash of everything."""
        parts = [self.items, self.labels, list(self.columns)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Returns it as an object for a JSON file."""
        return {"sha256": self.sha256, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Fingerprint":
        """Returns what `to_json` has returned.

        Raises:
            KeyError, TypeError, ValueError: the object was not returned by `to_json`.
        """
        return cls(
            str(stored["covers"]),
            str(stored["unit"]),
            dict(stored["items"]),
            dict(stored["labels"]),
            [*stored["columns"]],
        )

    def changes(self, now: "Fingerprint") -> str:
        """Returns the differences of a later fingerprint as text, "" if there are none.

        Labels are compared only if both have the same columns.
        """
        kept = [name for name in self.items if name in now.items]
        found = {
            "added": [name for name in now.items if name not in self.items],
            "removed": [name for name in self.items if name not in now.items],
            "changed": [name for name in kept if not _same(self.items[name], now.items[name])],
        }
        if [*self.columns] == [*now.columns]:
            rows = {name: (self.labels.get(name), now.labels.get(name)) for name in kept}
            found["with other labels"] = [name for name, (old, new) in rows.items() if old != new]
        return "; ".join(self._lines(found))

    def _lines(self, found: Mapping[str, Sequence[str]]) -> Iterator[str]:
        for fact, names in found.items():
            if names:
                unit = self.unit + "s" * (len(names) != 1)
                yield f"{len(names):,} {unit} {fact} ({join_names(names)})"


def hash_pixels(*arrays: np.ndarray) -> str:
    """Returns a hash of arrays that are the same on every machine, as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode() + array.tobytes())
    return digest.hexdigest()


def hash_cells(cells: Mapping[str, str], columns: Sequence[str]) -> str:
    """Returns a hash of some cells of a row of a table. Empty cells count as absent."""
    stated = [[column, cells[column]] for column in columns if cells.get(column)]
    return hashlib.blake2b(json.dumps(stated).encode(), digest_size=8).hexdigest()


def project(values: np.ndarray) -> list[float]:
    """Returns two numbers that describe values: their mean, and their sum with fixed weights.

    Values that are NaN count as -1.
    """
    flat = np.nan_to_num(np.asarray(values, np.float64).ravel(), nan=-1.0)
    if not flat.size:
        return [0.0, 0.0]
    weights = np.cos(2.4 * np.arange(flat.size))
    return [float(flat.mean()), float(flat @ weights) / math.sqrt(flat.size)]


def _same(before: Value, after: Value) -> bool:
    if isinstance(before, str) or isinstance(after, str):
        return before == after
    return len(before) == len(after) and bool(
        np.allclose(before, after, rtol=TOLERANCE, atol=TOLERANCE)
    )
