"""Labels and folder names of the rows of a comparison."""

import hashlib
import json
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from studio.errors import StudioError

__all__ = ["describe_overrides", "folder_name", "join_words", "to_json"]

LONGEST = 120  # characters in the name of a folder
Overrides = Mapping[str, Any]


def to_json(key: str, value: object) -> str:
    """Returns a value of a field as JSON, which is also YAML.

    Raises:
        StudioError: the value has no JSON form.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise StudioError(
            f"{key}: found {value!r}, expected a finite number, a word, a list or a mapping"
        ) from None


def describe_overrides(overrides: Overrides, without: Container[str] = ()) -> str:
    """Returns overrides as `field=value` words, without those of some fields or sections."""
    plain = {
        key: value
        for key, value in overrides.items()
        if key not in without and key.partition(".")[0] != "paper"
    }
    return " ".join(
        f"{k}={v if isinstance(v, str) else to_json(k, v).replace(' ', '')}"
        for k, v in plain.items()
    )


def join_words(words: Sequence[str]) -> str:
    """Joins words by spaces and drops empty ones."""
    return " ".join(filter(None, words))


def folder_name(label: str) -> str:
    """Returns a name for a folder.

    If characters had to be replaced, a hash of the whole label distinguishes it from other names.
    """
    plain = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.-")
    if plain == label.replace(" ", "_") and len(plain) <= LONGEST:
        return plain
    return f"{plain[:LONGEST]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}".lstrip("-")
