"""`log.jsonl` of a run: one JSON object per line, each with the images seen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.atomic import write_text
from studio.errors import StudioError, reason_of

__all__ = ["drop_lines_after", "read_log"]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Reads `log.jsonl`. Lines that are cut short or not written by a training are skipped.

    Raises:
        StudioError: the file is missing or cannot be read.
    """
    path = folder / "log.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudioError(f"{path}: no such file; a training writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError(f"{path}: cannot be read: {reason_of(error)}") from None
    return [entry for _, entry in _entries(text)]


def drop_lines_after(folder: Path, images_seen: int) -> None:
    """Drops the lines of images after `images_seen`, and those that `read_log` skips."""
    path = folder / "log.jsonl"
    if path.is_file():
        entries = _entries(path.read_text(encoding="utf-8"))
        kept = [line for line, entry in entries if entry["images_seen"] <= images_seen]
        write_text(path, "".join(line + "\n" for line in kept))


def _entries(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each line that a training wrote, with its content."""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("images_seen"), int):
            yield line, entry
