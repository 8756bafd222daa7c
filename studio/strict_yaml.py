"""Reads and writes YAML with the plain values of YAML 1.2. Repeated keys are errors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from studio.errors import StudioError

__all__ = ["dump_yaml", "parse_yaml", "read_yaml"]


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
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise StudioError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StudioError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise StudioError(f"{path}: found a {type(raw).__name__}, expected a mapping of sections")
    return raw
