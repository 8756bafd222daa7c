"""Configs: one YAML file per experiment, which states only values that differ from the defaults.

The defaults are the values of the papers. A config is validated completely before anything runs.
One message lists all faults, each with its path and, for an unknown name, the nearest valid name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import SerializeAsAny

from nets import plan_stages
from studio import methods
from studio.analysis_config import AnalysisConfig
from studio.config_check import Head, raise_faults, validate, validate_sections
from studio.config_files import (
    FOLDERS,
    apply_assignments,
    find_config,
    list_configs,
    list_presets,
    parse_assignment,
    parse_duration,
)
from studio.data import DataConfig
from studio.method_config import MethodConfig
from studio.schema import NetsConfig, PaperConfig, Section, TrainConfig
from studio.strict_yaml import dump_yaml, read_yaml

__all__ = [
    "FOLDERS",
    "Config",
    "Head",
    "dump",
    "find_config",
    "flatten",
    "list_configs",
    "list_presets",
    "load",
    "parse_assignment",
    "parse_duration",
    "read_yaml",
    "resolve",
    "validate_section",
]

SectionType = TypeVar("SectionType", bound=Section)


class Config(Head):
    """An experiment."""

    data: SerializeAsAny[DataConfig]
    """The data set. `data.name` selects it and determines the other fields."""
    nets: NetsConfig = NetsConfig()
    """The networks."""
    method: SerializeAsAny[MethodConfig]
    """The method. `method.name` selects it and determines the other fields."""
    train: TrainConfig = TrainConfig()
    """The training."""
    analysis: AnalysisConfig = AnalysisConfig()
    """The analysis of held-out subjects by `studio analyse`."""
    paper: PaperConfig | None = None
    """Published results for comparison."""


def load(name: str, assignments: Sequence[str] = ()) -> Config:
    """Reads a config, applies overrides and validates it.

    Args:
        name: a path, or the name of a config that the studio ships.
        assignments: overrides `a.b=v` with v in YAML.

    Raises:
        StudioError: the config is invalid. One message lists all faults.
    """
    path = find_config(name)
    return resolve(read_yaml(path), path.stem, str(path), assignments)


def resolve(
    raw: Mapping[str, Any], name: str, source: str, assignments: Sequence[str] = ()
) -> Config:
    """Validates a raw mapping and fills in the defaults.

    Args:
        raw: sections as read from YAML.
        name: of the experiment, unless `raw` contains a name.
        source: name of the config in messages.
        assignments: overrides `a.b=v` with v in YAML.

    Raises:
        StudioError: the config is invalid. One message lists all faults.
    """
    faults: list[str] = []
    tree = apply_assignments(raw, assignments)
    sections = validate_sections(tree, name, methods.METHODS, methods.ALIASES, faults)
    faults += _conflicts(sections["data"], sections["nets"])
    raise_faults(source, faults)
    return _round_budget(Config(**dict(sections.pop("head")), **sections))


def validate_section(
    cls: type[SectionType], raw: Mapping[str, Any], source: str, path: str = ""
) -> SectionType:
    """Validates a mapping against a section that is not part of a config.

    Args:
        cls: the section.
        raw: the mapping.
        source: name of the mapping in messages.
        path: of the section in messages, "" for none.

    Raises:
        StudioError: the mapping is invalid. One message lists all faults and begins with `source`.
    """
    faults: list[str] = []
    section = validate(cls, raw, path, faults)
    raise_faults(source, faults)
    return section


def dump(config: Config) -> str:
    """Returns the resolved config as YAML. `resolve` turns it into the same config again."""
    return dump_yaml(config.model_dump(mode="json"))


def _conflicts(data: DataConfig | None, nets: NetsConfig | None) -> list[str]:
    """Returns faults that concern several fields, each of which is valid on its own."""
    # Listed layers are checked later, when the shape of the images is known.
    side = getattr(data, "resolution", None)  # vectors have none
    if side is not None and (nets is None or nets.encoder is None or nets.decoder is None):
        try:
            plan_stages((1, side, side), 1)
        except ValueError as error:
            return [f"data.resolution: {error}"]
    return []


def _round_budget(config: Config) -> Config:
    """Rounds the budget up to whole iterations."""
    batch = config.train.batch
    images = -(-config.train.images // batch) * batch
    return config.model_copy(update={"train": config.train.model_copy(update={"images": images})})


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the fields of nested sections by their dotted names, for example `train.batch`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
