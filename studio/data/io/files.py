"""Files of a data set: their folder, memory-mapped arrays, and checks for missing and truncated
files.

Opening a data set reads names, headers and sizes only. Values are memory-mapped where the layout
allows it (plain arrays, and arrays that an npz stores without compression). Otherwise they are
read on first use. They stay uint8 in either case.
"""

import gzip
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import IO, cast

import numpy as np
from pydantic import Field, field_validator

from studio.data.dataset import DataConfig
from studio.errors import StudioError
from studio.lfs import POINTER, is_pointer

__all__ = [
    "DAMAGE_ERRORS",
    "ROOT",
    "FilesConfig",
    "LabelledImages",
    "StoredArray",
    "check_listable",
    "data_folder",
    "first_existing",
    "open_maybe_gzip",
    "open_npz",
    "raise_unlistable",
    "read_error",
    "read_npy_header",
    "uncompressed_size",
]

ROOT = "STUDIO_DATA"  # environment variable with the folder of the files, if a config names none
CLASSES = 10  # of MNIST and of CIFAR-10
# Exceptions that readers of compressed files raise for broken ones.
# RuntimeError is that of zipfile for a password or an unknown compression.
DAMAGE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    SyntaxError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)


class FilesConfig(DataConfig):
    """The section of a data set that reads files from a folder."""

    root: str | None = Field(default=None, validate_default=True)
    """Folder of the files. null: the folder that the environment variable STUDIO_DATA names."""

    @field_validator("root")
    @classmethod
    def _or_environment(cls, root: str | None) -> str | None:
        return root or os.environ.get(ROOT) or None


@dataclass
class StoredArray:
    """One array of a file: its shape is known at once, its values are opened on first use.

    Attributes:
        path: the file, for messages.
        shape: shape of the array.
        load: opens or reads the values.
    """

    path: Path
    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]
    _values: np.ndarray | None = field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether the values have been opened or read."""
        return self._values is not None

    @property
    def values(self) -> np.ndarray:
        """The array.

        Raises:
            StudioError: the file is damaged.
        """
        if self._values is None:
            try:
                self._values = self.load()
            except DAMAGE_ERRORS as error:
                raise read_error(self.path, error, "damaged") from None
        return self._values

    def __getstate__(self) -> dict:
        # A loader process opens the file itself instead of receiving its content.
        return {**self.__dict__, "_values": None}


class LabelledImages:
    """The train or the test part of a set of images with classes.

    Args:
        images: arrays (N_i, ...) uint8, concatenated in this order.
        labels: one array of N_i classes for each of them.
        arrange: converts a few images from the file's layout to ours.

    Attributes:
        arrays: all arrays, of images and labels.
        size: number of images.
    """

    def __init__(
        self,
        images: Sequence[StoredArray],
        labels: Sequence[StoredArray],
        arrange: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> None:
        self.arrays = (*images, *labels)
        self._images, self._labels, self._arrange = images, labels, arrange
        self._starts = np.cumsum([0, *(array.shape[0] for array in images)])
        self.size = int(self._starts[-1])

    @cached_property
    def classes(self) -> np.ndarray:
        """Class of each image, (size,) int64.

        Raises:
            StudioError: a label is not one of 0 to 9, or the file is damaged.
        """
        columns = []
        for array in self._labels:
            column = np.asarray(array.values).reshape(-1).astype(np.int64)
            if len(column) and not (column.min() >= 0 and column.max() < CLASSES):
                wrong = column[(column < 0) | (column >= CLASSES)][0]
                raise StudioError(f"{array.path}: a label is {wrong}, expected 0 to {CLASSES - 1}")
            columns.append(column)
        return np.concatenate(columns)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Returns the images at `indices`, uint8, in our layout. The others are not read."""
        indices = np.asarray(indices)
        which = np.searchsorted(self._starts, indices, side="right") - 1
        taken = np.empty(0, np.uint8)
        for number in np.unique(which) if len(which) else [0]:
            rows = which == number
            some = self._arrange(self._images[number].values[indices[rows] - self._starts[number]])
            if taken.ndim == 1:
                taken = np.empty((len(indices), *some.shape[1:]), np.uint8)
            taken[rows] = some
        return taken


def data_folder(config: DataConfig, layout: str) -> Path:
    """Returns the folder of a data set's files.

    Args:
        config: the data set's section.
        layout: expected files, for messages.

    Raises:
        StudioError: the config names no folder, or it does not exist.
    """
    if config.root is None:
        raise StudioError(
            f"data.root: not given, and the environment variable {ROOT} is not set; expected "
            f"{layout}"
        )
    option = f"{ROOT} (data.root)" if config.root == os.environ.get(ROOT) else "data.root"
    return check_listable(config.root, option, layout)


def check_listable(given: str, option: str, layout: str) -> Path:
    """Returns a folder after checking that its files can be listed.

    Args:
        given: the folder. A leading ~ is expanded.
        option: option that gave it, for messages.
        layout: expected files, for messages.

    Raises:
        StudioError: the folder is missing, a file, or may not be read.
    """
    # Not Path.expanduser, which raises for the home of a user who does not exist.
    root = Path(os.path.expanduser(given))
    try:
        os.scandir(root).close()
    except NotADirectoryError:
        raise StudioError(
            f"{option}: {root.absolute()} is a file, not a folder; expected {layout}"
        ) from None
    except PermissionError as error:
        raise StudioError(f"{option}: {root.absolute()} cannot be read: {error.strerror}") from None
    except (OSError, ValueError):
        raise StudioError(f"{option}: no folder {root.absolute()}; expected {layout}") from None
    return root


def raise_unlistable(error: OSError) -> None:
    """Raises an error for a folder that `os.walk` could not list and would otherwise skip silently.

    Raises:
        StudioError: always.
    """
    raise StudioError(f"{error.filename}: cannot be read: {error.strerror}")


def first_existing(root: Path, names: Sequence[str]) -> Path | None:
    """Returns the first of some paths below a folder that exists, or None."""
    return next((root / name for name in names if os.path.lexists(root / name)), None)


def read_error(path: Path, error: BaseException, fault: str) -> StudioError:
    """Returns the error to raise for a file that could not be read.

    If the system refused the access, the message says so instead of blaming the content of the
    file.

    Args:
        path: the file.
        error: the exception that was caught.
        fault: description of a damaged file of this kind.
    """
    if isinstance(
        error, FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError
    ):
        return StudioError(f"{path}: cannot be read: {error.strerror}")
    if is_pointer(path):
        return StudioError(f"{path}: {POINTER}")
    return StudioError(f"{path}: {fault}: {error}")


def open_npz(path: Path, expected: Mapping[str, tuple[int | None, ...]]) -> dict[str, StoredArray]:
    """Opens arrays of an npz file by reading their headers.

    Args:
        path: the file.
        expected: key -> shape, with None for any length. An extra last axis of length 1 is
            dropped.

    Raises:
        StudioError: the file is not an npz file or cut short, a key is missing, a shape differs,
            or an array does not hold integers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            for key in expected:
                if key not in keys:
                    wanted, found = ", ".join(expected), ", ".join(keys) or "nothing"
                    raise StudioError(
                        f"{path}: no array {key!r}, found {found}; expected the arrays {wanted}"
                    )
            return {
                key: _locate_array(archive, path, key, shape) for key, shape in expected.items()
            }
    except DAMAGE_ERRORS as error:
        raise read_error(path, error, "not a whole npz file, perhaps cut short") from None


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of an npy stream: shape, whether the order is Fortran's, and type."""
    version = np.lib.format.read_magic(stream)
    reader = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    return reader(stream)


def _locate_array(
    archive: zipfile.ZipFile, path: Path, key: str, expected: tuple[int | None, ...]
) -> StoredArray:
    """Reads the header of one array in an npz file and returns the array without its values."""
    entry = archive.getinfo(f"{key}.npy")
    with archive.open(entry) as stream:
        shape, fortran, dtype = read_npy_header(stream)
        header = stream.tell()
    if dtype.kind not in "ui" or (len(expected) > 2 and dtype != np.uint8):
        raise StudioError(
            f"{path}: {key} holds {dtype}, expected {'uint8' if len(expected) > 2 else 'integers'}"
        )
    # Keras stores labels as (N, 1).
    plain = shape[:-1] if len(shape) == len(expected) + 1 and shape[-1] == 1 else shape
    if len(plain) != len(expected) or any(
        want not in (None, found) for want, found in zip(expected, plain, strict=True)
    ):
        wanted = ", ".join("N" if length is None else str(length) for length in expected)
        raise StudioError(
            f"{path}: {key} has the shape {shape}, expected ({wanted}{',' * (len(expected) == 1)})"
        )
    if entry.file_size != header + dtype.itemsize * int(np.prod(shape)):
        raise StudioError(
            f"{path}: {key} is cut short: {entry.file_size - header} bytes for the shape "
            f"{shape} of {dtype}"
        )
    if entry.compress_type != zipfile.ZIP_STORED:
        return StoredArray(path, plain, partial(_load_array, path, key, plain))
    offset = _data_offset(path, entry) + header
    order = "F" if fortran else "C"
    return StoredArray(path, plain, partial(np.memmap, path, dtype, "r", offset, plain, order))


def _load_array(path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Reads a compressed array of an npz file."""
    with np.load(path, allow_pickle=False) as file:
        return file[key].reshape(shape)


def _data_offset(path: Path, entry: zipfile.ZipInfo) -> int:
    """Returns where the bytes of an entry begin.

    The length of its local header is stored in that header.
    """
    with open(path, "rb") as file:
        file.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return entry.header_offset + 30 + name + extra


def uncompressed_size(path: Path) -> int:
    """Returns the size of a file in bytes after decompression.

    For a gzip file (name ending in .gz) it is stored in the last four bytes.
    """
    size = path.stat().st_size
    if path.suffix != ".gz":
        return size
    with open(path, "rb") as file:
        file.seek(max(0, size - 4))
        return int.from_bytes(file.read(4), "little")


def open_maybe_gzip(path: Path) -> IO[bytes]:
    """Opens a file for reading, through gzip if its name ends in .gz."""
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return open(path, "rb")
