"""A cache of decoded images on disk, so that the files of `folders` are decoded once.

A cache has one folder for each set of options that decide the pixels. `index.json` has the facts
about each image, and names the file that has the pixels of all images one after the other. A file
of the data set is decoded again if its size or its modification time has changed. The files of the
cache are written under temporary names and then renamed, and a lock lets only one of several
processes do the work.

The cache is used for a data set whose files take more than `SLOW` seconds to decode. If it cannot
be written, the images are decoded each time, and a warning says so.
"""

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from studio.atomic import write_text
from studio.data.folders_notes import Item
from studio.data.io.images import Picture
from studio.data.io.slices import SlicePlace
from studio.data.io.volume_files import file_stamp
from studio.errors import StudioError, inform, warn
from studio.kernel_lock import kernel_lock

__all__ = ["CACHE", "NOT_KEPT", "ItemCache", "read_items"]

CACHE = "STUDIO_CACHE"  # environment variable with the folder of the cache, if a config names none
VERSION = 2  # of the decoded images. Increase it whenever the same files would give others.
SLOW = 1.0  # seconds of decoding from which a cache is worth its place
READERS = 2  # files that are decoded in parallel. Pillow and zlib release the GIL.
GRACE = 86_400.0  # seconds after which a pixels file that the index does not name is deleted
WRITING = ".writing-"
NOT_KEPT = np.empty(0, np.uint8)

Found = Item | str  # an image, or the reason why a file cannot be used
Read = Callable[[str, str], Found]


def read_items(
    cache: "ItemCache", domains: Mapping[str, str], read: Read, memory: float
) -> dict[str, Found]:
    """Returns an entry for each file, from the cache where it has one for exactly this file.

    Args:
        cache: of the data set.
        domains: file -> domain, in order.
        read: decodes a file of a domain.
        memory: bytes that the pixels may take in memory. Pixels beyond it stay in the cache.
            Without a cache they are not kept.

    Returns:
        file -> image, or reason why it cannot be used, in the order of `domains`.
    """
    found: dict[str, Found] = dict(cache.load(domains, memory))
    missing = [name for name in domains if name not in found]
    started = time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        # In batches, so that nothing is decoded in vain when the cache takes over.
        while missing and time.monotonic() - started < SLOW:
            batch, missing = missing[: 4 * READERS], missing[4 * READERS :]
            found |= zip(batch, pool.map(read, batch, map(domains.get, batch)), strict=True)
        if missing:
            found = cache.fill(
                domains, found, lambda names: pool.map(read, names, map(domains.get, names)), memory
            )
    return _drop_beyond(memory, {name: found[name] for name in domains})


def _drop_beyond(memory: float, found: dict[str, Found]) -> dict[str, Found]:
    """Drops the pixels of images in memory beyond a limit."""
    for name, item in found.items():
        if isinstance(item, str) or isinstance(item.pixels, np.memmap):
            continue
        memory -= item.pixels.nbytes
        if memory < 0:
            found[name] = replace(item, pixels=NOT_KEPT)
    return found


class ItemCache:
    """The cache of a data set for one set of options.

    Args:
        place: folder of all caches. The folder for these options is created in it.
        root: folder of the files.
        options: everything except the files that decides the pixels. It is stored as JSON.
        file: returns the file of an image, which is its name unless it is a slice.

    Attributes:
        folder: folder for these options.
    """

    def __init__(
        self,
        place: Path,
        root: Path,
        options: Mapping[str, object],
        file: Callable[[str], str] = str,
    ) -> None:
        self.root, self._file = root, file
        self._options = json.dumps(
            {"version": VERSION, "root": str(root.resolve()), **options}, sort_keys=True
        )
        digest = hashlib.sha256(self._options.encode()).hexdigest()
        self.folder = place / f"folders-{digest[:16]}"

    def load(self, domains: Mapping[str, str], memory: float) -> dict[str, Item]:
        """Returns the stored images of files that have not changed.

        Args:
            domains: file -> domain.
            memory: bytes up to which the pixels are loaded. More are mapped into memory instead.
        """
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
            if index["options"] != self._options:
                return {}
            pixels = _map(self.folder / index["pixels"], index["bytes"], memory)
            rows = index["items"]
            names = [name for name in domains if name in rows]
            stamps = {file: _stamp(f"{self.root}/{file}") for file in set(map(self._file, names))}
            return {
                name: _item(name, domains[name], rows[name], pixels)
                for name in names
                if rows[name]["picture"]["stamp"] == stamps[self._file(name)]
            }
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # no index, or one that another program has written or damaged

    def fill(
        self,
        domains: Mapping[str, str],
        found: Mapping[str, Found],
        read: Callable[[Sequence[str]], Iterator[Found]],
        memory: float,
    ) -> dict[str, Found]:
        """Decodes the missing files and stores all images.

        Args:
            domains: file -> domain.
            found: the files that are already decoded.
            read: decodes files in order.
            memory: see `load`.

        Returns:
            an entry for each file. If the cache cannot be written, images beyond `memory` have no
            pixels.
        """
        try:
            with self._locked():
                # Another process may have done the work while this one waited.
                found = {**found, **self.load(domains, memory)}
                missing = [name for name in domains if name not in found]
                if missing:
                    inform(f"decoding {len(missing):,} images once into {self.folder}")
                with _Writer(self.folder, self._options) as writer:
                    for name in domains:
                        if name in found:
                            writer.add(found[name])
                    reasons = {}
                    for name, item in zip(missing, read(missing), strict=True):
                        writer.add(item)
                        if isinstance(item, str):
                            reasons[name] = item
            stored = self.load(domains, memory)
            kept = {name: item for name, item in found.items() if isinstance(item, str)}
            found = {**kept, **reasons, **stored}
        except (OSError, StudioError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            warn(
                f"{self.folder}: cannot be written: {why}; images are decoded each time; set "
                f"data.cache or {CACHE} to another folder"
            )
        left = [name for name in domains if name not in found]
        found = {**found}
        room = memory - sum(i.pixels.nbytes for i in found.values() if not isinstance(i, str))
        for name, item in zip(left, read(left), strict=True):
            if not isinstance(item, str):
                room -= item.pixels.nbytes
                item = item if room >= 0 else replace(item, pixels=NOT_KEPT)
            found[name] = item
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = kernel_lock(
            self.folder / ".lock",
            mode=self.folder.stat().st_mode & 0o666,
            waiting=lambda: inform(f"waiting for another process that fills {self.folder}"),
        )
        with lock as descriptor:
            if descriptor is not None:
                for leftover in self.folder.glob(f"{WRITING}*"):  # by a process that was killed
                    leftover.unlink(missing_ok=True)
            yield


class _Writer:
    """Writes pixels one after the other, and the index when all are written."""

    def __init__(self, folder: Path, options: str) -> None:
        self.folder, self.options = folder, options
        self.rows: dict[str, dict[str, Any]] = {}
        self.written = 0
        self.file: IO[bytes]
        self.draft: str

    def __enter__(self) -> "_Writer":
        descriptor, self.draft = tempfile.mkstemp(dir=self.folder, prefix=WRITING)
        self.file = os.fdopen(descriptor, "wb")
        return self

    def add(self, item: Found) -> None:
        """Adds an image. A file that cannot be used is not stored, because that may change."""
        if isinstance(item, str):
            return
        self.rows[item.name] = _row(item, self.written)
        self.written += self.file.write(np.ascontiguousarray(item.pixels).tobytes())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        draft = Path(self.draft)
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
                self._publish(draft)
        finally:
            self.file.close()
            draft.unlink(missing_ok=True)

    def _publish(self, draft: Path) -> None:
        mode = self.folder.stat().st_mode & 0o666  # temporary files are private by default
        draft.chmod(mode)
        name = f"pixels-{draft.name.removeprefix(WRITING)}.bin"
        draft.rename(self.folder / name)
        index = {
            "options": self.options,
            "pixels": name,
            "bytes": self.written,
            "items": self.rows,
        }
        try:
            write_text(self.folder / "index.json", json.dumps(index, allow_nan=False))
        except BaseException:
            (self.folder / name).unlink(missing_ok=True)
            raise
        with suppress(OSError):
            (self.folder / "index.json").chmod(mode)
        for former in self.folder.glob("pixels-*.bin"):
            # Another process, also on another host, may still read a file of the former state.
            with suppress(OSError):
                if former.name != name and time.time() - former.stat().st_mtime > GRACE:
                    former.unlink()


def _map(path: Path, size: int, memory: float) -> np.ndarray:
    """Returns the bytes of the pixels, in memory if they fit."""
    if size == 0 or path.stat().st_size != size:
        raise ValueError(f"{path}: found {path.stat().st_size} bytes, expected {size}")
    if size <= memory:
        return np.fromfile(path, np.uint8)
    return np.memmap(path, np.uint8, mode="r")


def _stamp(path: str) -> list[int]:
    found = os.stat(path)  # not through Path, which takes longer than the question
    if stat.S_ISDIR(found.st_mode):
        return [*file_stamp(Path(path))]
    return [found.st_size, found.st_mtime_ns]


def _row(item: Item, offset: int) -> dict[str, Any]:
    """Returns the facts about an image as a JSON object."""
    facts = {field.name: getattr(item, field.name) for field in fields(item)}
    picture = asdict(replace(item.picture, values=NOT_KEPT))
    del facts["name"], facts["domain"], picture["values"]
    pixels = {"offset": offset, "type": item.pixels.dtype.name, "shape": item.pixels.shape}
    digests = {"digest": item.digest.hex(), "gray": item.gray.hex()}
    return {**facts, **digests, "picture": picture, "pixels": pixels}


def _item(name: str, domain: str, row: Mapping[str, Any], pixels: np.ndarray) -> Item:
    """Returns an image from its facts and the bytes of all images."""
    picture, place, where = dict(row["picture"]), row["picture"]["place"], row["pixels"]
    if place is not None:
        picture["place"] = SlicePlace(**_tuples(place))
    kind = np.dtype(where["type"])
    size = int(np.prod(where["shape"])) * kind.itemsize
    mine = pixels[where["offset"] : where["offset"] + size].view(kind).reshape(where["shape"])
    facts = {
        **_tuples(row),
        "digest": bytes.fromhex(row["digest"]),
        "gray": bytes.fromhex(row["gray"]),
        "picture": Picture(NOT_KEPT, **_tuples(picture)),
        "pixels": mine,
    }
    return Item(name, domain, **facts)


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the lists of JSON into the tuples that they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
