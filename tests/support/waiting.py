"""Waiting for a process to get somewhere."""

import json
import time
from collections.abc import Callable
from pathlib import Path


def seen(folder: Path = Path("run")) -> int:
    text = (folder / "log.jsonl").read_text() if (folder / "log.jsonl").exists() else ""
    lines = text.split("\n")[:-1]  # the last may be half there
    return json.loads(lines[-1])["images_seen"] if lines else 0


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
