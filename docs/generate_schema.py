"""The JSON schema of a config file, generated from the pydantic models."""

from collections.abc import Mapping
from typing import Any

from studio import config, data, methods, schema, section
from studio.analysis_config import AnalysisConfig
from studio.data import DataConfig
from studio.method import MethodConfig

__all__ = ["config_schema"]

# Texts that the studio reads as integers and flags, and an editor, by YAML 1.2, as text.
SPELLINGS: dict[str, dict[str, Any]] = {
    "integer": {"type": "string", "pattern": "^[-+]?[0-9][0-9_]*$"},
    "boolean": {"enum": sorted(section.WORDS)},
}


def config_schema() -> dict[str, Any]:
    """Returns the JSON schema of a config file, for completion and checks in editors."""
    definitions: dict[str, Any] = {}
    choices = {
        "data": _choice(data.DATASETS, data.ALIASES, definitions),
        "method": _choice(methods.METHODS, methods.ALIASES, definitions),
    }
    nets = _definition(schema.NetsConfig, definitions)
    definitions[nets]["properties"]["preset"] = {
        "enum": [None, *config.list_presets()],
        "description": str(schema.NetsConfig.model_fields["preset"].description),
    }
    paper = _definition(schema.PaperConfig, definitions)
    # A number alone stands for its average.
    definitions["Published"] = {"anyOf": [{"type": "number"}, definitions["Published"]]}
    head = _plain(config.Head.model_json_schema(), definitions)["properties"]
    reference = "#/$defs/"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A config of Contrastive studio",
        "type": "object",
        "additionalProperties": False,
        "required": ["data", "method"],
        "properties": {
            **head,
            **choices,
            "nets": {"$ref": reference + nets},
            "train": {"$ref": reference + _definition(schema.TrainConfig, definitions)},
            "analysis": {"$ref": reference + _definition(AnalysisConfig, definitions)},
            "paper": {"$ref": reference + paper},
        },
        "$defs": definitions,
    }


def _choice(
    classes: Mapping[str, Any], aliases: Mapping[str, str], definitions: dict[str, Any]
) -> dict[str, Any]:
    """Returns a schema that requires a name and takes the fields of the class of this name."""
    branches = []
    for name, owner in classes.items():
        part: type[DataConfig] | type[MethodConfig] = owner.Config
        key = _definition(part, definitions)
        names = [name, *(alias for alias, full in aliases.items() if full == name)]
        properties = definitions[key]["properties"]
        properties["name"] = {"enum": names, "description": f"Name of {key}."}
        weights = getattr(part, "default_weights", None)
        if weights:
            number = {"type": "number", "minimum": 0}
            properties["weights"] = {
                "description": properties["weights"].get("description", ""),
                "type": "object",
                "additionalProperties": False,
                "properties": {term: {**number, "default": w} for term, w in weights.items()},
            }
        branches.append(
            {
                "if": {"properties": {"name": {"enum": names}}},
                "then": {"$ref": f"#/$defs/{key}"},
            }
        )
    every = [*classes, *aliases]
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": every}},
        "allOf": branches,
    }


def _definition(part: type[schema.Section], definitions: dict[str, Any]) -> str:
    """Adds the schema of a section to the definitions and returns its key."""
    key = part.__name__
    if key not in definitions:
        found = _plain(part.model_json_schema(mode="validation"), definitions)
        found["properties"] = {
            name: value for name, value in found["properties"].items() if name != "preset"
        }
        found["required"] = [name for name in found.get("required", []) if name != "name"]
        definitions[key] = found
    return key


def _plain(tree: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Moves nested definitions up, drops generated titles and accepts underscores in integers."""
    for key, value in tree.pop("$defs", {}).items():
        definitions.setdefault(key, _simplified(value))
    return _simplified(tree)


def _simplified(node: Any) -> Any:
    if isinstance(node, list):
        return [_simplified(part) for part in node]
    if not isinstance(node, dict):
        return node
    found = {k: _simplified(v) for k, v in node.items() if not (k == "title" and v == str(v))}
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    spelled = SPELLINGS.get(str(found.get("type")))
    if spelled is None:
        return found
    rest = {k: v for k, v in found.items() if k in ("default", "description")}
    return {"anyOf": [{k: v for k, v in found.items() if k not in rest}, spelled], **rest}
