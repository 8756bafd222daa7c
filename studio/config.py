"""Configs: one YAML file per experiment that states only what differs from the papers' values.

Everything is checked before anything runs, and all faults come in one message, each with its path and, for a name that
does not exist, the nearest one that does.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, field_validator

from nets import stages
from studio import data as data_sets
from studio import methods
from studio.data import DataConfig
from studio.errors import StudioError, nearest
from studio.method import MethodConfig
from studio.schema import NetsConfig, PaperConfig, Section, TrainConfig

__all__ = [
    "Config",
    "available",
    "checked",
    "dump",
    "find",
    "load",
    "parse_assignment",
    "presets",
    "read_yaml",
    "resolve",
]

SectionType = TypeVar("SectionType", bound=Section)

HERE = Path(__file__).resolve().parent
FOLDERS = (HERE.parent / "configs", HERE / "configs")  # a checkout's, then the installed package's


class Head(Section):
    """What belongs to no section."""

    name: str
    seed: int = Field(default=0, ge=0)

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not re.fullmatch(r"[^/\\\0]+", name) or name in (".", ".."):
            raise ValueError(f"found {name!r}, expected a plain name")
        return name


class Config(Head):
    """A whole experiment."""

    data: SerializeAsAny[DataConfig]
    nets: NetsConfig = NetsConfig()
    method: SerializeAsAny[MethodConfig]
    train: TrainConfig = TrainConfig()
    paper: PaperConfig | None = None


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain words: `no` is a word, `1e-4` a number, 1:30 text, and a repeated key an error."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - overrides the parent's table

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {', '.join(repeated)}", node.start_mark
            )
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` or any YAML 1.1 reader would take for something else: a run named 08 must open again."""


for _tag, _pattern, _first in (
    ("null", r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9][0-9_]*$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$",
        list("-+0123456789."),
    ),
):
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value.replace("_", "")))


def available() -> list[str]:
    """Returns the file names of the configs that come with the studio."""
    return sorted({path.name for folder in FOLDERS for path in folder.glob("*.yaml")})


def find(name: str) -> Path:
    """Finds a config: the path as given, then the checkout's `configs/`, then the installed package's.

    Raises:
        StudioError: there is none; the message names the nearest.
    """
    given = Path(name)
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
    raise StudioError(f"--cfg {name}: no such file or config{nearest(given.name, available())}")


def load(name: str, assignments: Sequence[str] = ()) -> Config:
    """Reads, overrides and checks a config.

    Args:
        name: a path or the name of a config that comes with the studio.
        assignments: overrides `a.b=v`, v in YAML.

    Raises:
        StudioError: everything that is wrong with it, in one message.
    """
    path = find(name)
    return resolve(read_yaml(path), path.stem, str(path), assignments)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        StudioError: it cannot be read, is no YAML or no mapping.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise StudioError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StudioError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise StudioError(f"{path}: found a {type(raw).__name__}, expected a mapping of sections")
    return raw


def resolve(
    raw: Mapping[str, Any], name: str, source: str, assignments: Sequence[str] = ()
) -> Config:
    """Checks a raw mapping and fills in the defaults.

    Args:
        raw: sections as read from YAML.
        name: of the experiment, unless `raw` has one.
        source: what to call it in messages.
        assignments: overrides `a.b=v`.

    Raises:
        StudioError: everything that is wrong with it, in one message.
    """
    tree = _merged(raw, assignments)
    faults: list[str] = []
    head = _validated(
        Head, {"name": tree.pop("name", name), "seed": tree.pop("seed", 0)}, "", faults
    )
    tree["nets"] = _with_preset(tree.get("nets", {}), faults)
    sections: dict[str, Any] = {}
    for key, choices, aliases in (
        ("data", data_sets.DATASETS, data_sets.ALIASES),
        ("method", methods.METHODS, methods.ALIASES),
    ):
        sections[key] = _chosen(key, tree.pop(key, None), choices, aliases, faults)
    sections["nets"] = _validated(NetsConfig, tree.pop("nets", {}), "nets", faults)
    training = tree.pop("train", {})
    if sections["method"] is not None and isinstance(training, dict):
        training = {**sections["method"].train_defaults, **training}
    sections["train"] = _validated(TrainConfig, training, "train", faults)
    published = tree.pop("paper", None)
    paper = None if published is None else _validated(PaperConfig, published, "paper", faults)
    faults += [f"{key}: no such section{nearest(key, Config.model_fields)}" for key in tree]
    faults += _misfits(**sections)
    _refuse(source, faults)
    return _rounded(Config(**dict(head), **sections, paper=paper))


def checked(cls: type[SectionType], raw: Mapping[str, Any], source: str) -> SectionType:
    """Checks a mapping that is no config but as strict as one.

    Raises:
        StudioError: everything that is wrong with it, in one message that begins with `source`.
    """
    faults: list[str] = []
    section = _validated(cls, raw, "", faults)
    _refuse(source, faults)
    return section


def dump(config: Config) -> str:
    """Returns the resolved config as YAML; reading it back gives the same config."""
    return yaml.dump(
        config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True
    )


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """Takes an override `a.b=v` apart, v in YAML.

    Raises:
        StudioError: it is none.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise StudioError(f"--set {assignment}: expected a.b=value")
    try:
        return path.strip(), yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise StudioError(f"--set {assignment}: {' '.join(str(error).split())}") from None


def _refuse(source: str, faults: Sequence[str]) -> None:
    if faults:
        raise StudioError(
            f"{source}: {len(faults)} fault{'s' * (len(faults) > 1)}\n"
            + "\n".join(f"  {f}" for f in faults)
        )


def _merged(raw: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
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


def presets() -> list[str]:
    """Returns the names of the papers' architectures, files of `configs/nets`."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("nets/*.yaml")})


def _with_preset(section: object, faults: list[str]) -> object:
    """Fills a nets section with the fields of its preset; what the section states itself wins.

    A resolved config has the fields and not the preset's name, so a run reopens whatever becomes of the file.
    """
    if not isinstance(section, dict) or section.get("preset") is None:
        return section
    name, own = section["preset"], {key: value for key, value in section.items() if key != "preset"}
    if name not in presets():
        faults.append(f"nets.preset: found {name!r}{nearest(name, presets())}")
        return own
    path = next(path for folder in FOLDERS if (path := folder / "nets" / f"{name}.yaml").is_file())
    return {**read_yaml(path), **own}


def _chosen(
    key: str,
    section: object,
    choices: Mapping[str, Any],
    aliases: Mapping[str, str],
    faults: list[str],
) -> Section | None:
    """Validates a section whose class depends on its `name`."""
    if not isinstance(section, dict) or "name" not in section:
        faults.append(f"{key}.name: missing; one of {', '.join(choices)}")
        return None
    given = str(section["name"])
    name = aliases.get(given, given)
    if name not in choices:
        faults.append(f"{key}.name: found {given!r}{nearest(given, [*choices, *aliases])}")
        return None
    return _validated(choices[name].Config, {**section, "name": name}, key, faults)


def _validated(cls: type[Section], section: object, path: str, faults: list[str]) -> Any:  # noqa: ANN401
    if not isinstance(section, dict):
        faults.append(f"{path}: found {section!r}, expected a mapping")
        return None
    try:
        return cls.model_validate(section)
    except ValidationError as error:
        faults += [_fault(cls, path, item) for item in error.errors()]
        return None


def _fault(cls: type[Section], path: str, error: Mapping[str, Any]) -> str:
    loc = [str(part) for part in error["loc"]]
    where = ".".join([path, *loc]).strip(".")
    if error["type"] == "extra_forbidden":
        return f"{where}: no such field{nearest(loc[-1], _fields(cls, loc[:-1]))}"
    if error["type"] == "missing":
        return f"{where}: missing"
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")
    found = f"found {error['input']!r}, " if error["type"] != "value_error" else ""
    hint = ""
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        hint = nearest(error["input"], re.findall(r"'([^']*)'", message))
        hint = hint if "did you mean" in hint else ""
    return f"{where}: {found}{message}{hint}"


def _fields(cls: type[Section], loc: Sequence[str]) -> list[str]:
    for part in loc:
        if part not in cls.model_fields:  # a key of a mapping, whose values are sections
            continue
        inner = _section(cls.model_fields[part].annotation)
        if inner is None:
            return []
        cls = inner
    return list(cls.model_fields)


def _section(annotation: object) -> type[Section] | None:
    """Returns the section in a type such as `Section`, `Section | None` or `dict[str, Section]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(
        (found for part in get_args(annotation) if (found := _section(part)) is not None), None
    )


def _misfits(
    data: DataConfig | None,
    method: MethodConfig | None,
    nets: NetsConfig | None,
    train: TrainConfig | None,
) -> list[str]:
    """Returns what is wrong between fields, of whatever is right in itself."""
    faults = []
    # Listed layers say themselves what they fit; that is checked as soon as the data's shape is known.
    if data is not None and (nets is None or nets.encoder is None or nets.decoder is None):
        try:
            stages((1, data.resolution, data.resolution), 1)
        except ValueError as error:
            faults.append(f"data.resolution: {error}")
    if train is not None and train.batch % 2:
        faults.append(
            f"train.batch: found {train.batch}, expected an even number (it counts both halves)"
        )
    return faults


def _rounded(config: Config) -> Config:
    """Rounds the budget up to whole iterations."""
    batch = config.train.batch
    images = -(-config.train.images // batch) * batch
    return config.model_copy(update={"train": config.train.model_copy(update={"images": images})})
