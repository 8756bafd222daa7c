"""The config of a run, as an earlier studio meant it."""

from pathlib import Path

from studio.config import Config, read_yaml, resolve

__all__ = ["read_stored_config"]


def read_stored_config(folder: Path) -> Config:
    """Reads `config.yaml` of a run or an export.

    Runs of `folders` from before the field `data.split_rule` keep the rule of that time, so that
    no training image becomes a test image.

    Raises:
        StudioError: the config is invalid.
    """
    path = folder / "config.yaml"
    raw = read_yaml(path)
    data = raw.get("data")
    if isinstance(data, dict) and data.get("name") == "folders" and "split_rule" not in data:
        raw = {**raw, "data": {**data, "split_rule": "names"}}
    return resolve(raw, folder.name, str(path))
