"""Reads and writes YAML with the plain values of YAML 1.2. Repeated keys are errors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from studio.errors import StudioError

__all__ = ["describe_yaml_error", "dump_yaml", "parse_yaml", "read_yaml"]

QUOTE = "put the text in single quotes"
# Parts of messages of the YAML reader, and the fault with its remedy in our words. {0} is the part
# of the message in quotes.
FAULTS = (
    (
        r"unknown escape character '(.*)'",
        "\\{0} means nothing in double quotes; use single quotes, as in 'C:\\data'",
    ),
    (
        r"expected escape sequence of .*, but found (.*)",
        "a backslash in double quotes begins an escape; use single quotes, as in 'C:\\users'",
    ),
    (r"character '\\t' that cannot start", "a tab; indent with spaces"),
    (r"character '(.*)' that cannot start", "a text cannot begin with {0}; " + QUOTE),
    (r"unexpected end of stream", "a quote is not closed, or the file ends too early"),
    (
        r"mapping values are not allowed",
        "a colon that YAML does not expect here; indent the fields "
        "of a section alike, and " + QUOTE + " if it contains a colon and a space",
    ),
    (r"could not find expected ':'", "a line without a colon; expected name: value"),
    (r"expected '?,'? or '([\]}])'", "a comma or {0} is missing"),
    (
        r"but found '<scalar>'",
        "text where none is expected; a quote in single quotes is written ''",
    ),
    (
        r"expected <block end>",
        "this line does not fit those above; indent the fields of a section alike",
    ),
    (
        r"sequence entries are not allowed",
        "a list begins in the line of its name; write it below, or in [ ]",
    ),
    (r"chomping or indentation", "a text cannot begin with | or >; " + QUOTE),
    (r"undefined alias", "a text that begins with * means something else to YAML; " + QUOTE),
    (
        r"alphabetic or numeric character",
        "a text that begins with * or & means something else to YAML; " + QUOTE,
    ),
    (
        r"determine a constructor for the tag '(.*)'",
        "a text that begins with ! means something else to YAML; " + QUOTE,
    ),
    (r"found unhashable key", "a list or a mapping where a name is expected"),
    (r"found another document", "a second document after ---; expected one"),
    (r"special characters are not allowed", "a control character; is this a text file?"),
    (r"unexpected ':'", "a colon that YAML does not expect here; " + QUOTE),
    (r"expected the node content, but found '(.*)'", "found {0}, expected a value"),
    (r"expected a digit|Exceeds the limit", "a number with too many digits"),
)
TYPES = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


class Loader(yaml.SafeLoader):
    """Reads plain values as YAML 1.2 does: `no` and 1:30 are text, `1e-4` is a number.

    A repeated key is an error.
    """

    # Overrides the resolvers of the parent class.
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {', '.join(repeated)}", node.start_mark
            )
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """Quotes text that `Loader` or a YAML 1.1 reader would read as another type.

    For example, a run with the name 08 must be read as text again.
    """


# The dumper quotes text that a resolver of its own matches, so it needs those of the loader too.
for _tag, _pattern, _first in (
    ("null", r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9][0-9_]*$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
        r"|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$",
        list("-+0123456789."),
    ),
):
    for _class in (Loader, Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value.replace("_", "")))


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - YAML contains any type
    """Returns the value that a YAML text describes.

    Raises:
        yaml.YAMLError: the text is not valid YAML.
        ValueError: a value cannot be converted.
    """
    return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader


def describe_yaml_error(error: yaml.YAMLError | ValueError, one_line: bool = False) -> str:
    """Describes why a text is not valid YAML, with the remedy.

    Args:
        error: of `parse_yaml`.
        one_line: leaves out the place, because the text has only one line.
    """
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    if "stream end" in str(problem) or "end of stream" in str(problem):  # it begins further up
        mark = getattr(error, "context_mark", None) or mark
    said = " ".join(str(problem).split())
    for pattern, words in FAULTS:
        found = re.search(pattern, said)
        if found:
            said = words.replace("{0}", next(iter(found.groups()), "") or "")
            break
    where = "" if mark is None or one_line else f"line {mark.line + 1}, column {mark.column + 1}: "
    return where + said


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Returns a mapping as YAML. `parse_yaml` and any YAML 1.1 reader give it back."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        StudioError: the file cannot be read, or does not contain a YAML mapping.
    """
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudioError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise StudioError(
            f"{path}: not a text in UTF-8 (byte {error.start + 1}); save it as UTF-8"
        ) from None
    except RecursionError:
        raise StudioError(f"{path}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StudioError(f"{path}: not valid YAML: {describe_yaml_error(error)}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise StudioError(
            f"{path}: found {TYPES.get(type(raw), 'a value')}, expected a mapping of sections"
        )
    return raw
