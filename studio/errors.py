"""The exception for every fault that the user can correct, and messages with the nearest name.

The command line prints a `StudioError` as plain text, without a traceback.
"""

import json
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["NotDamagedError", "StudioError", "inform", "nearest", "reason_of", "warn"]

NAMED = 3  # names of weights in a message
CHOICES = 16  # names that a list of valid names may have
LISTED = 5  # names that a longer list shows


class StudioError(Exception):
    """A fault in a file, field or option, which its message names with the expected value."""


class NotDamagedError(StudioError):
    """A file of a run that cannot be used and is not damaged, so that nothing may replace it."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns "; did you mean X?" with the closest valid name, or a list if no name is close.

    A list of more than `CHOICES` names ends after the first `LISTED` of them.
    """
    valid = list(valid)
    match = get_close_matches(str(name), valid, n=1, cutoff=0.6)
    if match:
        return f"; did you mean {match[0]!r}?"
    shown = valid if len(valid) <= CHOICES else [*valid[:LISTED]]
    more = f" and {len(valid) - len(shown)} more" if len(shown) < len(valid) else ""
    return f"; valid: {', '.join(shown)}{more}" if valid else ""


def reason_of(error: BaseException) -> str:
    """Returns why a file cannot be used, in words instead of those of a library, on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"not a text in UTF-8 (byte {error.start + 1})"
    if isinstance(error, KeyError):
        return f"{text} is missing"
    if isinstance(error, TypeError | AttributeError | IndexError):
        return "its structure is another one"
    if "loading state_dict" in text:
        names = re.findall(r"size mismatch for ([\w.]+)", text) + re.findall(r'"([\w.]+)"', text)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f"its weights are those of other nets: {', '.join(names[:NAMED])}{more}"
    return text or type(error).__name__


def inform(line: str) -> None:
    """Prints a line on stderr about work that takes time, so that stdout stays as asked."""
    print(line, file=sys.stderr)


def warn(line: str) -> None:
    """Prints a warning on stderr."""
    print(f"warning: {line}", file=sys.stderr)
