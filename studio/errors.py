"""The exception for every fault that the user can correct, and messages with the nearest name.

The command line prints a `StudioError` as plain text, without a traceback.
"""

import sys
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["NotDamagedError", "StudioError", "nearest", "warn"]


class StudioError(Exception):
    """A fault in a file, field or option, which its message names with the expected value."""


class NotDamagedError(StudioError):
    """A file of a run that cannot be used and is not damaged, so that nothing may replace it."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns "; did you mean X?" with the closest valid name, or the list if no name is close."""
    valid = list(valid)
    match = get_close_matches(str(name), valid, n=1, cutoff=0.6)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; valid: {', '.join(valid)}" if valid else ""


def warn(line: str) -> None:
    """Prints a warning on stderr."""
    print(f"warning: {line}", file=sys.stderr)
