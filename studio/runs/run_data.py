"""The data of a run: opened as they were at its training, and compared with them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from studio.build import build_dataset
from studio.config import Config
from studio.data import Dataset
from studio.data.folders import QuarantineError
from studio.data.folders_config import FoldersConfig
from studio.data.io.files import FilesConfig
from studio.errors import StudioError, warn
from studio.runs.data_file import DataFile

__all__ = ["RunData", "absolute_paths", "compare_data", "open_data"]

PATHS = ("root", "cache", "grass_root", "healthy")  # fields of `data` that are folders


class RunData(NamedTuple):
    """A data set that was opened for a run.

    Attributes:
        dataset: the data set, with the window and the split of the training.
        changes: differences from the data of the training, "" if there are none.
        sha256: hash of the content. Equal for contents that are equal up to rounding.
    """

    dataset: Dataset
    changes: str
    sha256: str


def open_data(
    folder: Path, config: Config, stored: DataFile | None, shape: tuple[int, ...]
) -> RunData:
    """Opens the data of a run. A warning says if they differ from those of its training.

    Args:
        folder: the run's directory.
        config: its config.
        stored: its `data.json`, or None for a run of an older studio.
        shape: of the images of the run.

    Raises:
        StudioError: the data cannot be opened, or their images have another shape. The message
            says how to name another place.
    """
    try:
        dataset = build_dataset(config, {} if stored is None else stored.derived)
    except QuarantineError:
        raise
    except StudioError as error:
        if not isinstance(config.data, FilesConfig | FoldersConfig):
            raise
        remedy = f"--data-root DIR, or edit data.root in {folder / 'config.yaml'}"
        raise StudioError(f"{error}\nif the data have moved: {remedy}") from None
    if tuple(dataset.shape) != tuple(shape):
        raise StudioError(
            f"{folder}: was trained on images of shape {tuple(shape)}, "
            f"and those in {config.data.root} have the shape {tuple(dataset.shape)}"
        )
    changes, sha256 = compare_data(dataset, stored)
    if changes:
        warn(
            f"{folder}: the data differ from those of its training: {changes}"
            + ("; its window and split are used" if dataset.FREEZES else "")
        )
    return RunData(dataset, changes, sha256)


def compare_data(dataset: Dataset, stored: DataFile | None) -> tuple[str, str]:
    """Compares a data set with a stored fingerprint.

    Returns:
        the differences as text, and the hash of the content. It is the stored one if there are no
        differences.
    """
    now = dataset.fingerprint()
    if stored is None or stored.fingerprint is None:
        return "", now.sha256
    if stored.dataset != dataset.config.name:
        return f"the data set is {dataset.config.name}, it was {stored.dataset}", now.sha256
    changes = stored.fingerprint.changes(now)
    return changes, now.sha256 if changes else stored.fingerprint.sha256


def absolute_paths(config: Config) -> Config:
    """Returns a config with absolute folders, which holds in every working directory."""
    changes: Mapping[str, Any] = {
        field: os.path.abspath(os.path.expanduser(given))
        for field in PATHS
        if (given := getattr(config.data, field, None))
    }
    return config.model_copy(update={"data": config.data.model_copy(update=changes)})
