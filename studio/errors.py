"""The one exception for everything that is the user's to mend; it is printed as a plain line, never as a traceback."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["StudioError", "nearest", "warn"]


class StudioError(Exception):
    """Says which file, field or option is wrong, what was found and what is expected."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns '; did you mean X?' for the closest valid name, or the whole list when none is close."""
    valid = list(valid)
    match = get_close_matches(str(name), valid, n=1, cutoff=0.6)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; valid: {', '.join(valid)}" if valid else ""


def warn(line: str) -> None:
    """Prints a plain line on stderr."""
    print(f"warning: {line}", file=sys.stderr)
