"""`log.jsonl` of a run: one JSON object per line, each with the images seen."""

import json
from pathlib import Path
from typing import Any

from studio.errors import StudioError

__all__ = ["read_log"]


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
        raise StudioError(f"{path}: cannot be read: {error}") from None
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("images_seen"), int):
            lines.append(entry)
    return lines
