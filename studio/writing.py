"""Files that are written whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

from studio.errors import StudioError

__all__ = ["write_file", "write_json", "write_text"]


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
    partial = path.with_name(f".writing-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StudioError(f"{path}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
