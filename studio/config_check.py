"""Validation of the sections of a config, and of a config before torch is imported.

The classes of the methods need torch, whose import takes seconds. Their fields are in
`configs/schema.json` as well, which `refuse_faults` reads, so that a mistake is reported at once.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import Field, ValidationError, create_model, field_validator

from studio import config_files
from studio import data as data_sets
from studio.analysis_config import AnalysisConfig
from studio.config_files import apply_assignments, find_config, list_presets
from studio.errors import StudioError, nearest
from studio.expectations import describe_fault, show_value
from studio.limits import Most
from studio.method_config import MethodConfig
from studio.published import PaperConfig
from studio.schema import NetsConfig, Section, TrainConfig
from studio.strict_yaml import read_yaml

__all__ = ["Head", "raise_faults", "refuse_faults", "validate", "validate_sections"]

BASES = (3, 4, 5, 6, 7)  # sides of the smallest feature maps
LONGEST_NAME = 240  # bytes, so that the name of a run's folder fits into a file system
SECTIONS = ("name", "seed", "data", "nets", "method", "train", "analysis", "paper")
SCALARS = {"integer": int, "number": float, "string": str, "boolean": bool, "null": None}
BOUNDS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}


class Head(Section):
    """The fields of a config outside of its sections."""

    name: str
    """Name of the experiment. It names the run directory. Default: the file name of the config."""
    seed: int = Field(default=0, ge=0, le=Most.SEED)
    """Seed of the initial weights, the order of the images and all random numbers of training.

    Unit: none.
    """

    @field_validator("name")
    @classmethod
    def _check_plain_name(cls, name: str) -> str:
        short = len(name.encode(errors="replace")) <= LONGEST_NAME
        plain = name.isprintable() and name.strip(" .") and not set(name) & set("/\\")
        if not (short and plain):
            raise ValueError(
                f"found {show_value(name)}, expected a plain name: one line of at most "
                f"{LONGEST_NAME} letters without / and \\"
            )
        return name


def validate_sections(
    tree: dict[str, Any],
    name: str,
    methods: Mapping[str, Any],
    aliases: Mapping[str, str],
    faults: list[str],
) -> dict[str, Any]:
    """Validates the sections of a raw config, and fills in the defaults.

    Args:
        tree: the raw config.
        name: of the experiment, unless `tree` contains one.
        methods: objects with the attribute `Config` by the names of the methods.
        aliases: other names of methods.
        faults: receives the faults.

    Returns:
        `head` and the sections by name. None stands for a section that is not valid.
    """
    tree = dict(tree)
    head = validate(Head, {"name": tree.pop("name", name), "seed": tree.pop("seed", 0)}, "", faults)
    tree["nets"] = _fill_from_preset(tree.get("nets", {}), faults)
    sections: dict[str, Any] = {"head": head}
    for key, choices, other in (
        ("data", data_sets.DATASETS, data_sets.ALIASES),
        ("method", methods, aliases),
    ):
        sections[key] = _validate_by_name(key, tree.pop(key, None), choices, other, faults)
    sections["nets"] = validate(NetsConfig, tree.pop("nets", {}), "nets", faults)
    training = tree.pop("train", {})
    if sections["method"] is not None and isinstance(training, dict):
        training = {**sections["method"].train_defaults, **training}
    sections["train"] = validate(TrainConfig, training, "train", faults)
    sections["analysis"] = validate(AnalysisConfig, tree.pop("analysis", {}), "analysis", faults)
    published = tree.pop("paper", None)
    sections["paper"] = (
        None if published is None else validate(PaperConfig, published, "paper", faults)
    )
    faults += [f"{key}: no such section{nearest(key, SECTIONS)}" for key in tree]
    train = sections["train"]
    if train is not None and train.batch % 2:
        faults.append(
            f"train.batch: found {train.batch}, expected an even number (half for each domain)"
        )
    return sections


def refuse_faults(name: str, assignments: Sequence[str] = ()) -> None:
    """Reports the faults of a config that can be found without torch, in the words of `load`.

    Args:
        name: a path, or the name of a config that the studio ships.
        assignments: overrides `a.b=v` with v in YAML.

    Raises:
        StudioError: the config is not there, or invalid.
    """
    path = find_config(name)
    tree = apply_assignments(read_yaml(path), assignments)
    schemas = [folder / "schema.json" for folder in config_files.FOLDERS]
    schema = next((file for file in schemas if file.is_file()), None)
    if schema is None:
        return
    faults: list[str] = []
    methods, aliases = _read_methods(json.loads(schema.read_text(encoding="utf-8")))
    sections = validate_sections(tree, path.stem, methods, aliases, faults)
    data = sections["data"]
    # `load` lists a side that the nets cannot divide with all other faults. Vectors have no side.
    side = getattr(data, "resolution", None)
    if side is None or any(side == base << k for base in BASES for k in range(12)):
        raise_faults(str(path), faults)


class _Described:
    """A method as the schema describes it."""

    def __init__(self, config: type[MethodConfig]) -> None:
        self.Config = config


def _read_methods(schema: Mapping[str, Any]) -> tuple[dict[str, _Described], dict[str, str]]:
    """Returns the methods of a schema by name, and the other names of methods."""
    definitions, methods, aliases = schema["$defs"], {}, {}
    for branch in schema["properties"]["method"]["allOf"]:
        name, *others = branch["if"]["properties"]["name"]["enum"]
        definition = definitions[branch["then"]["$ref"].rpartition("/")[2]]
        methods[name] = _Described(_section_of(definition, definitions, MethodConfig))
        aliases |= dict.fromkeys(others, name)
    return methods, aliases


def _section_of(
    definition: Mapping[str, Any], definitions: Mapping[str, Any], base: type[Section]
) -> Any:  # noqa: ANN401 - a class that is made here
    """Returns a section with the fields of a definition of the schema."""
    fields: dict[str, Any] = {}
    required = definition.get("required", ())
    for name, field in definition["properties"].items():
        if name in ("name", "weights") and base is MethodConfig:
            continue
        default = ... if name in required else field.get("default")
        fields[name] = (_annotation(field, definitions), default)
    section = create_model(definition.get("title", "Described"), __base__=base, **fields)
    if issubclass(section, MethodConfig):
        weights = definition["properties"].get("weights", {}).get("properties", {})
        section.default_weights = {term: weight["default"] for term, weight in weights.items()}
    return section


def _annotation(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Returns the type of a field of the schema, Any if it is none of the simple ones."""
    if "$ref" in field:
        definition = definitions[field["$ref"].rpartition("/")[2]]
        return _section_of(definition, definitions, Section) if "properties" in definition else Any
    if "enum" in field:
        return Literal[tuple(field["enum"])]
    if "anyOf" in field:
        # A text with a pattern is a number in other words, which the studio's reader knows.
        parts = [part for part in field["anyOf"] if "pattern" not in part]
        if any(part.get("type") == "boolean" for part in parts):
            return Any
        return Union[tuple(_annotation(part, definitions) for part in parts)]  # noqa: UP007
    kind = SCALARS.get(field.get("type", ""), Any)
    if kind not in (int, float):
        return kind if kind is not bool else Any
    bounds = {word: field[key] for key, word in BOUNDS.items() if key in field}
    return Annotated[kind, Field(**bounds, allow_inf_nan=False)] if bounds else kind


def raise_faults(source: str, faults: Sequence[str]) -> None:
    """Raises all faults as one error, if there are any.

    Raises:
        StudioError: there are faults.
    """
    if faults:
        raise StudioError(
            f"{source}: {len(faults)} fault{'s' * (len(faults) > 1)}\n"
            + "\n".join(f"  {f}" for f in faults)
        )


def _fill_from_preset(section: object, faults: list[str]) -> object:
    """Fills a nets section with the fields of its preset. Fields of the section take precedence.

    A resolved config contains the fields instead of the preset's name, so that a run can be opened
    after the file has changed.
    """
    if not isinstance(section, dict) or section.get("preset") is None:
        return section
    name, own = section["preset"], {key: value for key, value in section.items() if key != "preset"}
    if name not in list_presets():
        faults.append(f"nets.preset: found {name!r}{nearest(name, list_presets())}")
        return own
    files = [folder / "nets" / f"{name}.yaml" for folder in config_files.FOLDERS]
    path = next(file for file in files if file.is_file())
    return {**read_yaml(path), **own}


def _validate_by_name(
    key: str,
    section: object,
    choices: Mapping[str, Any],
    aliases: Mapping[str, str],
    faults: list[str],
) -> Section | None:
    """Validates a section that has its class from its field `name`."""
    if not isinstance(section, dict) or "name" not in section:
        faults.append(f"{key}.name: missing; one of {', '.join(choices)}")
        return None
    given = str(section["name"])
    name = aliases.get(given, given)
    if name not in choices:
        faults.append(f"{key}.name: found {given!r}{nearest(given, [*choices, *aliases])}")
        return None
    return validate(choices[name].Config, {**section, "name": name}, key, faults)


def validate(cls: type[Section], section: object, path: str, faults: list[str]) -> Any:  # noqa: ANN401
    """Returns a section, or None if it is not valid. `faults` receives the reasons."""
    if not isinstance(section, dict):
        faults.append(f"{path}: found {show_value(section)}, expected a mapping")
        return None
    try:
        return cls.model_validate(section)
    except ValidationError as error:
        # The alternatives of one field are one fault.
        faults += dict.fromkeys(describe_fault(cls, path, item) for item in error.errors())
        return None
