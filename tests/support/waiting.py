"""Waiting for the progress of another process."""

import json
import time
from collections.abc import Callable
from pathlib import Path


def images_logged(folder: Path = Path("run")) -> int:
    """Returns `images_seen` of the last complete line of a run's log, or 0."""
    text = (folder / "log.jsonl").read_text() if (folder / "log.jsonl").exists() else ""
    lines = text.split("\n")[:-1]  # the last line may be incomplete
    return json.loads(lines[-1])["images_seen"] if lines else 0


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Waits for a condition, and fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition was still false after {seconds} s"
        time.sleep(0.01)
