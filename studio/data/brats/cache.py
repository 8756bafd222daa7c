"""A cache of slices on disk: volumes are read once, and never again until they change.

One safetensors file per patient, in a folder per set of options. A file says which version of the studio wrote it, with
which options and from which files (name, length, time); where any of that differs it is written anew. Files are written
aside and renamed, so that each is whole or not there; a lock lets one of several processes do the work. Who may read the
folder may read its files. What cannot be used is remembered with its reason like all else; what cannot be used now, because
the system refuses it, is not, and is tried again the next time.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.data.io.images import UnreadableError
from studio.data.io.slices import UnavailableError
from studio.errors import StudioError, warn

__all__ = ["CACHE", "CacheEntry", "PatientSlices", "SliceCache"]

CACHE = "STUDIO_CACHE"  # environment variable: the folder of the cache when a config names none
VERSION = 2  # of what is in a file; raise it whenever the same volumes would give other slices
READERS = 4  # patients that are read at the same time; decompression and numpy leave Python's lock
WRITING = ".writing-"


@dataclass(frozen=True, eq=False)
class PatientSlices:
    """What is kept of a patient.

    Attributes:
        arrays: name -> array with a row per slice.
        facts: what goes into JSON.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """A patient in the cache.

    Attributes:
        file: in the cache.
        facts: see `PatientSlices`.
        reason: why the patient cannot be used, or ''.
        numbers: the array of that name, one row per slice.
        inputs: name, length and time of the files that it was made of.
    """

    file: Path
    facts: Mapping[str, Any]
    reason: str
    numbers: np.ndarray
    inputs: list


class SliceCache:
    """A folder of slices.

    Args:
        place: where caches are; the folder for these options is made in it.
        name: of the data set.
        options: everything that the slices depend on besides the files; it goes into JSON.

    Attributes:
        folder: of these options.
    """

    def __init__(self, place: Path, name: str, options: Mapping[str, Any]) -> None:
        self._options = json.dumps(options, sort_keys=True)
        self.folder = place / f"{name}-{hashlib.sha256(self._options.encode()).hexdigest()[:16]}"

    def entries(
        self, inputs: Mapping[str, list], cut: Callable[[str], PatientSlices]
    ) -> dict[str, CacheEntry]:
        """Returns an entry per patient, made where there is none for exactly these files.

        Args:
            inputs: patient -> name, length and time of each of its files.
            cut: reads a patient's files; an UnreadableError becomes the entry's reason.

        Raises:
            StudioError: the cache cannot be written.
        """
        found, refused = {name: self._open(name, rows) for name, rows in inputs.items()}, {}
        if None in found.values():
            with self._locked():
                # Another process may have done the work while this one waited.
                missing = [
                    name
                    for name, entry in found.items()
                    if entry is None and self._open(name, inputs[name]) is None
                ]
                if missing:
                    warn(f"reading {len(missing)} patients once into {self.folder}")
                with ThreadPoolExecutor(READERS) as pool:
                    refused = dict(
                        zip(
                            missing,
                            pool.map(lambda name: self._write(name, inputs[name], cut), missing),
                            strict=True,
                        )
                    )
            found = {
                name: entry or refused.get(name) or self._open(name, inputs[name])
                for name, entry in found.items()
            }
        return {name: self._require(name, entry) for name, entry in found.items()}

    def read_rows(
        self, entry: CacheEntry, array: str, rows: Sequence[int] | None = None
    ) -> np.ndarray:
        """Returns rows of an array of a patient, or all of them; only these are read.

        Raises:
            StudioError: the cache has changed since the data set was opened.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(entry.file, framework="numpy") as file:
                if self._read_header(file)[0] == entry.inputs:
                    if rows is None:
                        return file.get_tensor(array)
                    part = file.get_slice(array)
                    return np.concatenate([part[row : row + 1] for row in rows])
        except (OSError, SafetensorError):
            pass
        raise StudioError(f"{entry.file}: has changed or gone since the data set was opened")

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"

    def _read_header(self, file: Any) -> tuple[list | None, dict, str]:  # noqa: ANN401 - safetensors names no type
        """Returns inputs, facts and reason of an opened file; no inputs where it is of another version or of other options."""
        said = file.metadata() or {}
        if said.get("version") != str(VERSION) or said.get("options") != self._options:
            return None, {}, ""
        return json.loads(said["inputs"]), json.loads(said["facts"]), said["reason"]

    def _open(self, name: str, inputs: list) -> CacheEntry | None:
        from safetensors import SafetensorError, safe_open

        path = self._path(name)
        try:
            with safe_open(path, framework="numpy") as file:
                made_of, facts, reason = self._read_header(file)
                return (
                    CacheEntry(path, facts, reason, file.get_tensor("numbers"), inputs)
                    if made_of == inputs
                    else None
                )
        except (
            OSError,
            SafetensorError,
            ValueError,
            KeyError,
        ):  # not there, cut short, or no cache of ours
            return None

    def _require(self, name: str, entry: CacheEntry | None) -> CacheEntry:
        if entry is None:
            raise StudioError(
                f"{self._path(name)}: was written and is gone or different: does another program use this folder?"
            )
        return entry

    def _write(
        self, name: str, inputs: list, cut: Callable[[str], PatientSlices]
    ) -> CacheEntry | None:
        """Writes a patient; returns an entry without a file where the system refuses the volumes for now."""
        from safetensors.numpy import save

        nothing = np.empty((0, 0), np.float32)
        try:
            made, reason = cut(name), ""
        except UnavailableError as error:
            return CacheEntry(self._path(name), {}, str(error), nothing, inputs)
        except UnreadableError as error:
            made, reason = PatientSlices({"numbers": nothing}, {}), str(error)
        arrays = {key: np.ascontiguousarray(array) for key, array in made.arrays.items()}
        said = {"version": str(VERSION), "options": self._options, "inputs": json.dumps(inputs)}
        content = save(arrays, {**said, "facts": json.dumps(dict(made.facts)), "reason": reason})
        with (
            self._explain_write_errors(),
            tempfile.NamedTemporaryFile(dir=self.folder, prefix=WRITING, delete=False) as file,
        ):
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, self._mode())  # a temporary file is its owner's alone
                os.replace(file.name, self._path(name))
            except BaseException:
                os.unlink(file.name)
                raise

    def _mode(self) -> int:
        return self.folder.stat().st_mode & 0o666

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the folder's lock; goes on without one where the file system has none, which is slower and as safe."""
        from filelock import FileLock, Timeout

        with self._explain_write_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock", mode=self._mode())
            try:
                lock.acquire(timeout=0)
            except Timeout:
                warn(f"waiting for another process that fills {self.folder}")
                lock.acquire()
            except NotImplementedError:
                warn(
                    f"{self.folder}: no locks on this file system, several processes may read the same patients"
                )
            if lock.is_locked:
                for leftover in self.folder.glob(f"{WRITING}*"):  # of a process that was killed
                    leftover.unlink(missing_ok=True)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _explain_write_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or error
            raise StudioError(
                f"{self.folder}: cannot be written: {why}; set data.cache or {CACHE} to another folder"
            ) from None
