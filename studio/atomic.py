"""Files and folders that are written whole or not at all."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from studio.errors import StudioError

__all__ = ["appearing", "write_file", "write_json", "write_text"]

LONGEST_NAME = 255  # bytes, on most file systems


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all. See `write_file`."""
    write_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Writes JSON, whole or not at all. See `write_file`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file, such as a picture, whole or not at all.

    Args:
        path: the file. Its folder is made if it is missing.
        write: writes to the path that it gets, which becomes `path` if no error occurs.

    Raises:
        StudioError: the file cannot be written.
    """
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # a name that is too long cannot be removed either
            partial.unlink(missing_ok=True)
        raise StudioError(f"{path}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    """Returns the path of the temporary file next to a file.

    It has the same ending, because the ending may decide the format, and its name is never longer
    than a file system allows.
    """
    prefix, name = ".writing-", path.name
    if len(os.fsencode(prefix + name)) <= LONGEST_NAME:
        return path.with_name(prefix + name)
    return path.with_name(prefix + sha256(os.fsencode(name)).hexdigest()[:16] + path.suffix)


@contextmanager
def appearing(place: Path, what: str) -> Iterator[Path]:
    """Yields a folder next to `place`, which is renamed to `place` after the block.

    If the block raises an error, nothing stays.

    Args:
        place: the final folder, which must be new or empty.
        what: the content, for the message, e.g. `an export`.

    Raises:
        StudioError: `place` is not an empty folder.
    """
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise StudioError(f"{place}: not an empty folder; {what} needs a new or an empty one")
    place = place.resolve()
    folder = place.with_name(f".writing-{place.name}-{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        yield folder
        if place.exists():
            place.rmdir()
        folder.rename(place)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
