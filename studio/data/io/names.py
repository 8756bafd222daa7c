"""Names of files: one spelling for each, and short lists of them in messages."""

import unicodedata
from collections.abc import Sequence

__all__ = ["LISTED", "format_lines", "join_names", "normalise_name"]

LISTED = 10  # lines in a message


def normalise_name(name: str) -> str:
    """Returns a name in composed Unicode (NFC), because systems store accents differently."""
    return unicodedata.normalize("NFC", name)


def format_lines(lines: Sequence[str]) -> str:
    """Returns the first `LISTED` lines, each on its own indented line, as the end of a message."""
    rest = [f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "".join(f"\n  {line}" for line in (*lines[:LISTED], *rest))


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Returns the first `most` names, separated by commas, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
