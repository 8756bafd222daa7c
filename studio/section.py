"""The base class of every section of a config, and the documentation of its fields.

The text below a field of a section documents it. `field_docs` reads it, and pydantic puts it into
the JSON schema.
"""

import inspect
import re
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["FieldDoc", "Flag", "Section", "field_docs"]

WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class Section(BaseModel):
    """A part of the config, strictly typed and immutable. Unknown fields are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class FieldDoc(NamedTuple):
    """The documentation of a field.

    Attributes:
        description: meaning of the field, in one or more sentences.
        unit: of a number.
        source: paper, table or section that the default comes from, if it comes from one.
    """

    description: str
    unit: str | None
    source: str | None


def field_docs(section: type[Section]) -> dict[str, FieldDoc]:
    """Returns the documentation of every field of a section by name, taken from the text below each
    field.

    The text is a description, followed by paragraphs that begin with `Unit:` or `Source:` where
    they apply.
    """
    return {name: _field_doc(field.description) for name, field in section.model_fields.items()}


def _field_doc(text: str | None) -> FieldDoc:
    description, *tags = re.split(r"\n\s*(?=(?:Unit|Source):)", inspect.cleandoc(text or ""))
    found = {}
    for tag in tags:
        key, _, value = tag.partition(":")
        found[key] = " ".join(value.split()).rstrip(".")
    return FieldDoc(" ".join(description.split()), found.get("Unit"), found.get("Source"))


# The YAML reader keeps `no` and `off` as words, because `mixed_precision: no` is a word. A flag
# accepts them as false.
Flag = Annotated[
    bool, BeforeValidator(lambda v: WORDS.get(v.lower(), v) if isinstance(v, str) else v)
]
