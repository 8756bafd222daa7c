"""A cache of slices or volumes on disk, so that scans are read once, and again if they change.

The cache has one safetensors file per patient, in one folder per set of options. (In `vbm` a
patient is a volume.) The header of a
file states the version of the cache, the options, and the source files (name, size, time). If any
of these differs, the file is written again. Files are written under a temporary name and then
renamed, so each is complete or absent. A lock lets only one of several processes do the work.
Everyone who may read the folder may read its files. If a patient's files cannot be used, the cache
stores the reason. If the system refuses them at the moment, nothing is stored, and the next run
tries again.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from studio.data.io.images import UnreadableError
from studio.data.io.slices import UnavailableError
from studio.errors import StudioError, inform, warn
from studio.kernel_lock import kernel_lock
from studio.progress import show_progress

__all__ = ["CACHE", "CacheEntry", "PatientSlices", "SliceCache"]

CACHE = "STUDIO_CACHE"  # environment variable with the folder of the cache, if a config names none
VERSION = 3  # of the stored slices. Increase it whenever the same volumes would give others.
READERS = 4  # patients that are read in parallel. Decompression and numpy release the GIL.
WRITING = ".writing-"


@dataclass(frozen=True, eq=False)
class PatientSlices:
    """The stored data of a patient.

    Attributes:
        arrays: name -> array with one row per slice, or per volume. One is `numbers`.
        facts: values to store as JSON.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """A patient in the cache.

    Attributes:
        file: file in the cache.
        facts: see `PatientSlices`.
        reason: why the patient cannot be used, or ''.
        numbers: the array of that name, one row per slice.
        inputs: name, size and time of the source files.
    """

    file: Path
    facts: Mapping[str, Any]
    reason: str
    numbers: np.ndarray
    inputs: list


class _Header(Protocol):
    """An opened safetensors file, as far as its header is concerned."""

    def metadata(self) -> dict[str, str] | None: ...


class SliceCache:
    """A folder of slices.

    Args:
        place: folder of all caches. The folder for these options is created in it.
        name: name of the data set.
        options: everything except the files that determines the slices. It is stored as JSON.
        unit: what a patient is called in messages, in the plural.

    Attributes:
        folder: folder for these options.
    """

    def __init__(
        self, place: Path, name: str, options: Mapping[str, object], unit: str = "patients"
    ) -> None:
        self._unit = unit
        self._options = json.dumps(options, sort_keys=True)
        self.folder = place / f"{name}-{hashlib.sha256(self._options.encode()).hexdigest()[:16]}"

    def entries(
        self, inputs: Mapping[str, list], cut: Callable[[str], PatientSlices]
    ) -> dict[str, CacheEntry]:
        """Returns an entry per patient.

        Entries that do not exist for exactly these files are created.

        Args:
            inputs: patient -> name, size and time of each of its files.
            cut: reads a patient's files. The message of an UnreadableError becomes the entry's
                reason.

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
                    inform(f"reading {len(missing)} {self._unit} once into {self.folder}")
                refused = self._write_all(missing, inputs, cut)
            found = {
                name: entry or refused.get(name) or self._open(name, inputs[name])
                for name, entry in found.items()
            }
        return {name: self._require(name, entry) for name, entry in found.items()}

    def _write_all(
        self,
        names: Sequence[str],
        inputs: Mapping[str, list],
        cut: Callable[[str], PatientSlices],
    ) -> dict[str, CacheEntry | None]:
        """Writes patients in parallel. Returns what `_write` returns for each."""
        written: dict[str, CacheEntry | None] = {}
        with (
            ThreadPoolExecutor(READERS) as pool,
            show_progress("reading", len(names), self._unit, shown=bool(names)) as advance,
        ):
            entries = pool.map(lambda name: self._write(name, inputs[name], cut), names)
            for name, entry in zip(names, entries, strict=True):
                written[name] = entry
                advance(1)
        return written

    def read_rows(
        self, entry: CacheEntry, array: str, rows: Sequence[int] | None = None
    ) -> np.ndarray:
        """Returns some rows of an array of a patient, or all. Other rows are not read.

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
        """Returns the file of a patient in the cache."""
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"

    def _read_header(self, file: "_Header") -> tuple[list | None, dict, str]:
        """Returns the inputs, facts and reason stored in an opened file.

        The inputs are None if the file belongs to another version or to other options.
        """
        header = file.metadata() or {}
        if header.get("version") != str(VERSION) or header.get("options") != self._options:
            return None, {}, ""
        return json.loads(header["inputs"]), json.loads(header["facts"]), header["reason"]

    def _open(self, name: str, inputs: list) -> CacheEntry | None:
        """Returns the entry of a patient, or None if there is none for exactly these inputs."""
        from safetensors import SafetensorError, safe_open

        path = self._path(name)
        try:
            with safe_open(path, framework="numpy") as file:
                stored_inputs, facts, reason = self._read_header(file)
                return (
                    CacheEntry(path, facts, reason, file.get_tensor("numbers"), inputs)
                    if stored_inputs == inputs
                    else None
                )
        except (OSError, SafetensorError, ValueError, KeyError):
            return None  # the file is missing, cut short, or not a file of this cache

    def _require(self, name: str, entry: CacheEntry | None) -> CacheEntry:
        """Returns an entry that must exist.

        Raises:
            StudioError: it does not exist, although it was written.
        """
        if entry is None:
            raise StudioError(
                f"{self._path(name)}: was written and is gone or different: does another "
                "program use this folder?"
            )
        return entry

    def _write(
        self, name: str, inputs: list, cut: Callable[[str], PatientSlices]
    ) -> CacheEntry | None:
        """Writes a patient.

        If the system refuses the volumes at the moment, returns an entry without a file.
        """
        from safetensors.numpy import save

        nothing = np.empty((0, 0), np.float32)
        try:
            slices, reason = cut(name), ""
        except UnavailableError as error:
            return CacheEntry(self._path(name), {}, str(error), nothing, inputs)
        except UnreadableError as error:
            slices, reason = PatientSlices({"numbers": nothing}, {}), str(error)
        arrays = {key: np.ascontiguousarray(array) for key, array in slices.arrays.items()}
        header = {"version": str(VERSION), "options": self._options, "inputs": json.dumps(inputs)}
        content = save(
            arrays, {**header, "facts": json.dumps(dict(slices.facts)), "reason": reason}
        )
        with (
            self._explain_write_errors(),
            tempfile.NamedTemporaryFile(dir=self.folder, prefix=WRITING, delete=False) as file,
        ):
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, self._mode())  # temporary files are private by default
                os.replace(file.name, self._path(name))
            except BaseException:
                os.unlink(file.name)
                raise

    def _mode(self) -> int:
        """Returns the file permissions that match those of the folder."""
        return self.folder.stat().st_mode & 0o666

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the folder's lock.

        If the file system has no locks, the work continues without one, which is slower and
        equally safe.
        """
        with ExitStack() as stack:
            with self._explain_write_errors():
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = kernel_lock(
                    self.folder / ".lock",
                    mode=self._mode(),
                    waiting=lambda: inform(f"waiting for another process that fills {self.folder}"),
                )
                if stack.enter_context(lock) is None:
                    warn(
                        f"{self.folder}: no locks on this file system, several processes may read "
                        f"the same {self._unit}"
                    )
                else:
                    for leftover in self.folder.glob(f"{WRITING}*"):  # by a process that was killed
                        leftover.unlink(missing_ok=True)
            yield

    @contextmanager
    def _explain_write_errors(self) -> Iterator[None]:
        """Translates errors of the file system.

        Raises:
            StudioError: the block raised an OSError.
        """
        try:
            yield
        except OSError as error:
            why = error.strerror or error
            raise StudioError(
                f"{self.folder}: cannot be written: {why}; set data.cache or {CACHE} to "
                "another folder"
            ) from None
