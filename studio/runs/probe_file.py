"""`probe.json` of a run: the measurements that a training writes at its end."""

import json
from pathlib import Path
from typing import Any

from studio.errors import warn

__all__ = ["ROW_KEYS", "read_probe"]

ROW_KEYS = (
    "attribute",
    "belongs",
    "metric",
    "salient",
    "common",
    "whole",
    "chance",
    "error",
    "n",
    "also",
)


def read_probe(
    folder: Path, images_seen: int, data_sha256: str | None = None
) -> dict[str, Any] | None:
    """Reads `probe.json` if it is complete and belongs to a checkpoint and to the data.

    Args:
        folder: the run's directory.
        images_seen: number of the checkpoint.
        data_sha256: hash of the present data. None: whatever the data were. A file of an older
            studio does not name its data, and is taken to belong to them.

    Returns:
        the content, or None if the file does not exist, or belongs to another checkpoint or to
        other data. An incomplete file is ignored with a warning.
    """
    path = folder / "probe.json"
    if not path.is_file():
        return None
    try:
        probe = json.loads(path.read_text(encoding="utf-8"))
        complete = all(key in row for row in probe["rows"] for key in ROW_KEYS)
    except (OSError, ValueError, KeyError, TypeError):
        complete, probe = False, {}
    if not complete:
        warn(f"{path}: not a complete probe as a training writes it; ignored")
        return None
    if probe.get("images_seen") != images_seen:
        return None
    measured = probe.get("data_sha256")
    return None if data_sha256 and measured and measured != data_sha256 else probe
