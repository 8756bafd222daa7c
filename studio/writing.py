"""Files that are written whole or not at all."""

import json
from pathlib import Path

__all__ = ["write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text beside the file and renames it into place."""
    partial = path.with_name(f".writing-{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
