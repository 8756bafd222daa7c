"""The files of configs: finding them, and overriding their values. No torch needed."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from studio.errors import StudioError, nearest
from studio.strict_yaml import describe_yaml_error, parse_yaml

__all__ = [
    "FOLDERS",
    "apply_assignments",
    "find_config",
    "find_config_or_sweep",
    "list_configs",
    "list_presets",
    "list_sweeps",
    "parse_assignment",
    "parse_duration",
]

HERE = Path(__file__).resolve().parent
# The configs of a checkout, then those of the installed package.
FOLDERS = (HERE.parent / "configs", HERE / "configs")


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


def list_sweeps() -> list[str]:
    """Returns the file names of the sweeps that are shipped with the studio."""
    return sorted({path.name for folder in FOLDERS for path in (folder / "sweeps").glob("*.yaml")})


def find_config_or_sweep(cfg: str) -> Path:
    """Returns the file of a config or a sweep: the given path, or a name among the shipped ones.

    Raises:
        StudioError: it does not exist. The message has the nearest valid name.
    """
    try:
        return find_config(cfg)
    except StudioError:
        for folder in FOLDERS:
            for candidate in (folder / "sweeps" / cfg, folder / "sweeps" / f"{cfg}.yaml"):
                if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
                    return candidate
        if Path(cfg).is_dir():
            raise
    raise StudioError(
        f"compare {cfg}: no such file, config or sweep{nearest(Path(cfg).name, _list_names())}"
    ) from None


def _list_names() -> list[str]:
    return [name.removesuffix(".yaml") for name in [*list_configs(), *list_sweeps()]]


def list_presets() -> list[str]:
    """Returns the names of the published architectures, which are the files of `configs/nets`."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("nets/*.yaml")})


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


def apply_assignments(raw: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Returns a copy of a raw config with overrides `a.b=v`."""
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
