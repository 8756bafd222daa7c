"""The slices of the volumes of `folders` as images of their own (`data.slice: all` or a range).

Their names are FILE#NUMBER. The table, the subjects and the splits know the files only, so all
slices of a volume are in the same split.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from studio.data.folders_config import FoldersConfig
from studio.data.folders_notes import Item
from studio.data.intensity import SAME
from studio.data.io.slices import UnreadableError
from studio.data.io.volume_slices import count_slices, pick_slices, takes_several

__all__ = ["ImagePlace", "SliceNames", "name_slices"]

DIGITS = 3  # at least, of the number of a slice


class ImagePlace(NamedTuple):
    """The file of an image, and the number of its slice, None if it has no slices of its own."""

    file: str
    number: int | None


@dataclass(frozen=True)
class SliceNames:
    """The images of the files.

    Attributes:
        domains: image -> domain, in order.
        places: image -> its file and slice.
    """

    domains: Mapping[str, str]
    places: Mapping[str, ImagePlace]

    def file(self, name: str) -> str:
        """Returns the file of an image."""
        return self.places[name].file

    def files(self, names: Iterable[str]) -> list[str]:
        """Returns the files of some images, each once, in order."""
        return list(dict.fromkeys(self.file(name) for name in names))

    def expand(self, values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Returns image -> value of its file, for files that have one."""
        return {name: values[file] for name in names if (file := self.file(name)) in values}

    def digests(self, items: Iterable[Item]) -> dict[str, bytes]:
        """Returns file -> hash of all its images, which is that of the image if it has one."""
        found: dict[str, list[bytes]] = defaultdict(list)
        for item in items:
            found[self.file(item.name)].append(item.digest)
        return {
            file: parts[0] if len(parts) == 1 else hashlib.blake2b(b"".join(parts)).digest()
            for file, parts in found.items()
        }

    def empty(self, reasons: Mapping[str, str]) -> set[str]:
        """Returns the slices that are empty, of volumes that have others.

        Args:
            reasons: image -> reason why it cannot be used.
        """
        usable = {self.file(name) for name in self.places if name not in reasons}
        return {
            name
            for name, reason in reasons.items()
            if reason == SAME and self.places[name].number is not None and self.file(name) in usable
        }

    def notes(self, empty: int) -> Iterator[str]:
        """Yields a note on the volumes of which several slices are used."""
        sliced = [place for place in self.places.values() if place.number is not None]
        if sliced:
            volumes = len({place.file for place in sliced})
            left = f"; {empty} of them are empty and left out" if empty else ""
            yield (
                f"{len(sliced)} slices of {volumes} volumes are images of their own, and each "
                f"volume is of one subject{left}"
            )


def name_slices(root: Path, domains: Mapping[str, str], config: FoldersConfig) -> SliceNames:
    """Returns the images of the files.

    Args:
        root: folder of the files.
        domains: file -> domain.
        config: the data set's section.
    """
    named: dict[str, str] = {}
    places: dict[str, ImagePlace] = {}
    for file, domain in domains.items():
        numbers: list[int] = []
        if takes_several(config.slice):
            try:
                slices = count_slices(root / file, config.volumes)
                numbers = pick_slices(config.slice, slices) if slices else []
            except UnreadableError:
                pass  # the file will say why when it is read
        if not numbers:
            named[file], places[file] = domain, ImagePlace(file, None)
        for number in numbers:
            name = f"{file}#{number:0{DIGITS}}"
            named[name], places[name] = domain, ImagePlace(file, number)
    return SliceNames(named, places)
