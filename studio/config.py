"""Configs: one YAML file per experiment, which states only values that differ from the defaults.

The defaults are the values of the papers. A config is validated completely before anything runs.
One message lists all faults, each with its path and, for an unknown name, the nearest valid name.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, field_validator

from nets import plan_stages
from studio import data as data_sets
from studio import methods
from studio.analysis_config import AnalysisConfig
from studio.data import DataConfig
from studio.errors import StudioError, nearest
from studio.expectations import describe_fault, show_value
from studio.limits import Most
from studio.method import MethodConfig
from studio.schema import NetsConfig, PaperConfig, Section, TrainConfig
from studio.strict_yaml import describe_yaml_error, dump_yaml, parse_yaml, read_yaml

__all__ = [
    "Config",
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

HERE = Path(__file__).resolve().parent
LONGEST_NAME = 240  # bytes, so that the name of a run's folder fits into a file system
# The configs of a checkout, then those of the installed package.
FOLDERS = (HERE.parent / "configs", HERE / "configs")


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


def list_configs() -> list[str]:
    """Returns the file names of the configs that the studio ships."""
    return sorted({path.name for folder in FOLDERS for path in folder.glob("*.yaml")})


def find_config(name: str) -> Path:
    """Returns the path of a config.

    The name is tried as a path, then as a file of the checkout's `configs/`, then as a file of the
    installed package's.

    Raises:
        StudioError: no such file exists. The message contains the nearest name.
    """
    given = Path(os.path.expanduser(name))
    if given.is_file():
        return given
    for folder in FOLDERS:
        for candidate in (folder / name, folder / f"{name}.yaml"):
            if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
                return candidate
    if given.is_dir():
        raise StudioError(
            f"--cfg {name}: a folder, expected a YAML file or one of the studio's configs"
        )
    raise StudioError(f"--cfg {name}: no such file or config{nearest(given.name, list_configs())}")


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
    tree = _apply_assignments(raw, assignments)
    faults: list[str] = []
    head = _validate(
        Head, {"name": tree.pop("name", name), "seed": tree.pop("seed", 0)}, "", faults
    )
    tree["nets"] = _fill_from_preset(tree.get("nets", {}), faults)
    sections: dict[str, Any] = {}
    for key, choices, aliases in (
        ("data", data_sets.DATASETS, data_sets.ALIASES),
        ("method", methods.METHODS, methods.ALIASES),
    ):
        sections[key] = _validate_by_name(key, tree.pop(key, None), choices, aliases, faults)
    sections["nets"] = _validate(NetsConfig, tree.pop("nets", {}), "nets", faults)
    training = tree.pop("train", {})
    if sections["method"] is not None and isinstance(training, dict):
        training = {**sections["method"].train_defaults, **training}
    sections["train"] = _validate(TrainConfig, training, "train", faults)
    analysis = _validate(AnalysisConfig, tree.pop("analysis", {}), "analysis", faults)
    published = tree.pop("paper", None)
    paper = None if published is None else _validate(PaperConfig, published, "paper", faults)
    faults += [f"{key}: no such section{nearest(key, Config.model_fields)}" for key in tree]
    faults += _conflicts(**sections)
    _raise_faults(source, faults)
    return _round_budget(Config(**dict(head), **sections, analysis=analysis, paper=paper))


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
    section = _validate(cls, raw, path, faults)
    _raise_faults(source, faults)
    return section


def dump(config: Config) -> str:
    """Returns the resolved config as YAML. `resolve` turns it into the same config again."""
    return dump_yaml(config.model_dump(mode="json"))


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """Splits an override `a.b=v` into the path `a.b` and the value v, which is parsed as YAML.

    Raises:
        StudioError: the override has another form.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise StudioError(f"--set {assignment}: expected a.b=value")
    if text.strip().startswith("*"):  # a pattern of file names; YAML would look for an alias
        return path.strip(), text.strip()
    try:
        return path.strip(), parse_yaml(text)
    except RecursionError:
        raise StudioError(f"--set {assignment[:80]}...: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = describe_yaml_error(error, one_line=True)
        shown = assignment if len(assignment) <= 100 else f"{assignment[:100]}..."
        raise StudioError(f"--set {shown}: {reason}") from None


def _raise_faults(source: str, faults: Sequence[str]) -> None:
    if faults:
        raise StudioError(
            f"{source}: {len(faults)} fault{'s' * (len(faults) > 1)}\n"
            + "\n".join(f"  {f}" for f in faults)
        )


def _apply_assignments(raw: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    tree = {
        str(key): dict(value) if isinstance(value, dict) else value for key, value in raw.items()
    }
    for assignment in assignments:
        path, value = parse_assignment(assignment)
        keys, node = path.split("."), tree
        for key in keys[:-1]:
            child = node.get(key)
            node[key] = dict(child) if isinstance(child, dict) else {}
            node = node[key]
        node[keys[-1]] = value
    return tree


def list_presets() -> list[str]:
    """Returns the names of the published architectures, which are the files of `configs/nets`."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("nets/*.yaml")})


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
    path = next(path for folder in FOLDERS if (path := folder / "nets" / f"{name}.yaml").is_file())
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
    return _validate(choices[name].Config, {**section, "name": name}, key, faults)


def _validate(cls: type[Section], section: object, path: str, faults: list[str]) -> Any:  # noqa: ANN401
    if not isinstance(section, dict):
        faults.append(f"{path}: found {show_value(section)}, expected a mapping")
        return None
    try:
        return cls.model_validate(section)
    except ValidationError as error:
        # The alternatives of one field are one fault.
        faults += dict.fromkeys(describe_fault(cls, path, item) for item in error.errors())
        return None


def _conflicts(
    data: DataConfig | None,
    method: MethodConfig | None,
    nets: NetsConfig | None,
    train: TrainConfig | None,
) -> list[str]:
    """Returns faults that concern several fields, each of which is valid on its own."""
    faults = []
    # Listed layers are checked later, when the shape of the images is known.
    side = getattr(data, "resolution", None)  # vectors have none
    if side is not None and (nets is None or nets.encoder is None or nets.decoder is None):
        try:
            plan_stages((1, side, side), 1)
        except ValueError as error:
            faults.append(f"data.resolution: {error}")
    if train is not None and train.batch % 2:
        faults.append(
            f"train.batch: found {train.batch}, expected an even number (half for each domain)"
        )
    return faults


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


def parse_duration(text: str) -> float:
    """Reads a duration such as `3h50m`, `90s`, `25m` or plain seconds, and returns seconds.

    Raises:
        StudioError: the text is not a duration.
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not text.strip() or match is None:
        raise StudioError(f"--stop-after {text}: expected a duration such as 3h50m, 25m or 90s")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
