"""HTML pages and pieces of pages from jinja2 templates.

Every value that a template shows is escaped, because names come from files and configs. A template
that uses an unknown name fails. Characters that no document may contain are replaced.
"""

import re
from base64 import b64encode
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["data_uri", "load_templates"]

NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
LONGEST_WORD = 24  # letters of a word that a table cell never breaks


@lru_cache
def load_templates(folder: Path) -> Environment:
    """Returns the templates `*.jinja` of a folder.

    Their filter `long` tells whether a text has a word that must be broken.
    """
    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_replace_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["long"] = _has_long_word
    return templates


def data_uri(file: bytes, kind: str) -> str:
    """Returns an image file as a data URI, so that a page needs no other file.

    Args:
        file: content of the file.
        kind: `png` or `webp`.
    """
    return f"data:image/{kind};base64,{b64encode(file).decode()}"


def _replace_controls(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return NOT_TEXT.sub("�", value)
    return value


def _has_long_word(text: str) -> bool:
    """Returns whether a word, such as a path, is too long for a page that does not break it."""
    return max(map(len, text.split()), default=0) > LONGEST_WORD
