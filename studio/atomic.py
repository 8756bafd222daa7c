"""Files that are written whole or not at all."""

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
    """Writes UTF-8 text, whole or not at all; see `write_file`."""
    write_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Writes JSON, whole or not at all; see `write_file`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file, such as a picture, whole or not at all; the folder is made if it is missing.

    Raises:
        StudioError: the file cannot be written.
    """
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # a name that is too long cannot be removed, either
            partial.unlink(missing_ok=True)
        raise StudioError(f"{path}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    """Returns where to write what is to be `path`: a name of the same ending, which may say the format, and never too long."""
    prefix, name = ".writing-", path.name
    if len(os.fsencode(prefix + name)) <= LONGEST_NAME:
        return path.with_name(prefix + name)
    return path.with_name(prefix + sha256(os.fsencode(name)).hexdigest()[:16] + path.suffix)


@contextmanager
def appearing(place: Path, what: str) -> Iterator[Path]:
    """Gives a folder beside `place` to write into, which then takes its place; nothing stays if the writing fails.

    Args:
        place: the folder, new or empty.
        what: is to stand there, e.g. `an export`.

    Raises:
        StudioError: something else stands there.
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
