"""Lines on stderr about work whose parts are not known in advance, at most one in two seconds."""

import time
from collections.abc import Callable

from studio.errors import inform

__all__ = ["SILENT", "Log", "pace", "paced_count"]

SILENT = 2.0  # seconds between two lines
Log = Callable[[str], object]


def pace(log: Log = inform) -> Log:
    """Returns a function that passes a line on unless it has passed one within two seconds."""
    last = time.monotonic()

    def say(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SILENT:
            last = now
            log(line)

    return say


def paced_count(title: str, log: Log = inform) -> Callable[[int, int], object]:
    """Returns a function of (done, total) that says how far the work is, see `pace`."""
    say = pace(log)
    return lambda done, total: say(f"{title}: {done:,} of {total:,}")
