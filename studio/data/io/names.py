"""Names of files: one spelling for each, short lists in messages, and words for no value."""

import unicodedata
from collections.abc import Sequence

__all__ = ["LISTED", "format_lines", "is_missing", "join_names", "normalise_name"]

LISTED = 5  # names or lines in a message
# Words by which spreadsheets, R, pandas and people mean "no value", in lower case.
MISSING = frozenset(
    (
        *("", "na", "n/a", "n.a.", "n.a", "#n/a", "#na", "<na>", "#n/a n/a", "nan", "-nan", "#nan"),
        *("none", "null", "nil", "nat", "-", "--", "---", "\u2013", "\u2014", ".", "?", "??"),
        *("unknown", "unk", "missing", "not available", "not applicable"),
        *("#value!", "#ref!", "#div/0!", "#name?", "#null!", "#num!"),
    )
)


def normalise_name(name: str) -> str:
    """Returns a name in composed Unicode (NFC), because systems store accents differently."""
    return unicodedata.normalize("NFC", name)


def is_missing(text: str) -> bool:
    """Returns whether a cell of a table has no value, or a word for it such as NA."""
    return text.strip().lower() in MISSING


def format_lines(lines: Sequence[str]) -> str:
    """Returns the first `LISTED` lines, each on its own indented line, as the end of a message."""
    rest = [f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "".join(f"\n  {line}" for line in (*lines[:LISTED], *rest))


def join_names(names: Sequence[str], most: int = LISTED) -> str:
    """Returns the first `most` names, separated by commas, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
