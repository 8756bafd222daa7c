"""Types of config fields in words, so that a message says what a field expects and not what a
library thinks of it."""

import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from studio.errors import nearest
from studio.section import Section

__all__ = ["Place", "describe_fault", "expected_value", "find_place", "show_value"]

LONGEST = 100  # letters of a value in a message
SPELLED = {None: "null", True: "true", False: "false"}


class Place(NamedTuple):
    """A place in a section.

    Attributes:
        path: names of fields, keys and numbers of items.
        expected: the value that belongs there, in words, or "" if the place has no type.
        section: the innermost section around the place.
    """

    path: tuple[str, ...]
    expected: str
    section: type[Section]


def find_place(cls: type[Section], loc: Sequence[str | int]) -> Place:
    """Returns the place of an error of pydantic, without pydantic's names of alternatives."""
    path: list[str] = []
    annotation: Any = cls
    metadata: tuple[Any, ...] = ()
    section = cls
    for part in loc:
        annotation, metadata = _unwrap(annotation, metadata)
        if len(given := _without_none(annotation)) == 1:
            annotation, metadata = _unwrap(given[0], metadata)
        owner = _section_in(annotation)
        origin = get_origin(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Section):
            section, field = annotation, annotation.model_fields.get(str(part))
            path.append(str(part))
            if field is None:
                return Place(tuple(path), "", section)
            annotation, metadata = field.annotation, tuple(field.metadata)
        elif origin in (list, tuple) and isinstance(part, int):
            path.append(str(part))
            inner = [a for a in get_args(annotation) if a is not Ellipsis]
            annotation, metadata = inner[min(part, len(inner) - 1)], ()
        elif origin in (dict, Mapping):
            path.append(str(part))
            annotation, metadata = get_args(annotation)[-1], ()
        elif owner is not None and isinstance(part, str) and part in owner.model_fields:
            section, field = owner, owner.model_fields[part]
            path.append(part)
            annotation, metadata = field.annotation, tuple(field.metadata)
        # Otherwise the part names an alternative of a union.
    return Place(tuple(path), expected_value(annotation, metadata), section)


def describe_fault(cls: type[Section], path: str, error: Mapping[str, Any]) -> str:
    """Describes an error of pydantic with its place, the value, and the value that is expected.

    Args:
        cls: the section that was validated.
        path: of the section in the config.
        error: one of `ValidationError.errors()`.
    """
    place = find_place(cls, error["loc"])
    where = ".".join([path, *place.path]).strip(".")
    if error["type"] == "extra_forbidden":
        return f"{where}: no such field{nearest(place.path[-1], place.section.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: missing" + (f"; expected {place.expected}" if place.expected else "")
    if error["type"] == "value_error":  # in words of a section
        return f"{where}: {str(error['msg']).removeprefix('Value error, ')}"
    value, expected = error["input"], place.expected or "another value"
    return f"{where}: found {show_value(value)}, expected {expected}{_hint(value, expected)}"


def show_value(value: object) -> str:
    """Returns a value as YAML spells it, in at most `LONGEST` letters."""
    if value is None or isinstance(value, bool):
        return SPELLED[value]
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _hint(value: object, expected: str) -> str:
    """Returns the spelling that was probably meant, or ""."""
    if isinstance(value, float) and value.is_integer() and "whole number" in expected:
        return f"; write {value:.0f}"
    if not isinstance(value, str):
        return ""
    near = nearest(value, re.findall(r"'([^']*)'", expected))
    if "did you mean" in near:
        return near
    if "number" in expected and re.fullmatch(r"[-+]?\d+(\.\d+)?", value.strip()):
        return f"; write {value.strip()} without quotes"
    if "a number" in expected and re.fullmatch(r"[-+]?\d+,\d+", value.strip()):
        return f"; write {value.strip().replace(',', '.')}"
    return ""


def expected_value(annotation: Any, metadata: Sequence[Any] = ()) -> str:  # noqa: ANN401 - any type
    """Returns the values of a type in words, such as `a whole number from 1 to 10`."""
    words = list(dict.fromkeys(_alternatives(annotation, tuple(metadata))))
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _alternatives(annotation: Any, metadata: tuple[Any, ...]) -> list[str]:  # noqa: ANN401
    """Returns the values of a type in words, the alternatives of a union apart."""
    annotation, metadata = _unwrap(annotation, metadata)
    origin = get_origin(annotation)
    if origin is Literal:
        return [repr(value) for value in get_args(annotation)]
    if origin in (Union, types.UnionType):
        given = _without_none(annotation)
        words = [word for part in given for word in _alternatives(part, metadata)]
        return words + ["null"] * (len(given) < len(get_args(annotation)))
    if origin in (list, tuple):
        return [_sequence(annotation, metadata)]
    if annotation in (int, float):
        return [_number(annotation, metadata)]
    simple = {bool: ["true", "false"], str: ["text"], type(None): ["null"]}
    if annotation in simple:
        return simple[annotation]
    named = isinstance(annotation, type) and issubclass(annotation, Section)
    return ["a mapping"] * (named or origin in (dict, Mapping) or annotation is dict)


def _without_none(annotation: Any) -> list[Any]:  # noqa: ANN401
    """Returns the alternatives of a union except None, or the type itself."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    return [part for part in get_args(annotation) if part is not type(None)]


def _section_in(annotation: object) -> type[Section] | None:
    """Returns the section in a type such as `Section`, `Section | None` or `dict[str, Section]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = (_section_in(part) for part in get_args(annotation))
    return next((found for found in inner if found is not None), None)


def _unwrap(annotation: Any, metadata: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401
    """Returns a type without `Annotated` and `| None`, and its bounds."""
    while get_origin(annotation) is Annotated:
        inner, *own = get_args(annotation)
        annotation, metadata = inner, (*metadata, *own)
    return annotation, metadata


def _constraints(metadata: Sequence[Any]) -> dict[type, Any]:
    """Returns the bounds among the metadata of a field, by kind."""
    found: dict[type, Any] = {}
    for item in metadata:
        parts = item.metadata if isinstance(item, FieldInfo) else [item]
        for part in parts:
            if isinstance(part, Interval | Len):
                found |= _constraints(list(part))
            else:
                found[type(part)] = part
    return found


def _number(annotation: type, metadata: Sequence[Any]) -> str:
    bounds = _constraints(metadata)
    noun = "a whole number" if annotation is int else "a number"
    least = bounds[Ge].ge if Ge in bounds else None
    most = bounds[Le].le if Le in bounds else None
    if least is not None and most is not None:
        return f"{noun} from {_text(least)} to {_text(most)}"
    words = [
        *([f"of at least {_text(least)}"] if least is not None else []),
        *([f"above {_text(bounds[Gt].gt)}"] if Gt in bounds else []),
        *([f"at most {_text(most)}"] if most is not None else []),
        *([f"below {_text(bounds[Lt].lt)}"] if Lt in bounds else []),
    ]
    return f"{noun} {' and '.join(words)}".strip()


def _text(bound: float) -> str:
    return f"{int(bound):,}" if float(bound).is_integer() else f"{bound:g}"


def _sequence(annotation: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401
    arguments = [a for a in get_args(annotation) if a is not Ellipsis]
    fixed = get_origin(annotation) is tuple and Ellipsis not in get_args(annotation)
    bounds = _constraints(metadata)
    least = bounds[MinLen].min_length if MinLen in bounds else 0
    most = bounds[MaxLen].max_length if MaxLen in bounds else None
    if fixed:
        least = most = len(arguments)
    count = {
        least == most: f"{least} values",
        most is None: f"{least} or more values" if least else "values",
    }.get(True, f"{least} to {most} values")
    each = expected_value(arguments[0])
    return f"a list of {count}" + (f", each {each}" if each else "")
