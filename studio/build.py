"""Builds the data set and the method that a config describes."""

from collections.abc import Mapping
from typing import Any

import torch

from nets import check_nets, memory_format
from studio.config import Config
from studio.data import Dataset, dataset_class
from studio.errors import StudioError
from studio.method import Method
from studio.methods import METHODS
from studio.seeds import seed_everything

__all__ = ["build_dataset", "build_method"]


def build_dataset(config: Config, derived: Mapping[str, Any] | None = None) -> Dataset:
    """Opens the config's data set.

    Args:
        config: the experiment.
        derived: the result of `Dataset.derived` when a run was trained. The data set then uses it
            instead of the files. Empty for a run of an older studio, which stored nothing. None
            for a new run.

    Raises:
        StudioError: files of the data set are missing or invalid.
    """
    dataset = dataset_class(config.data)
    if derived is None or not dataset.FREEZES:
        return dataset(config.data)
    return dataset(config.data, derived)  # pyright: ignore[reportCallIssue] - the class takes it


def build_method(config: Config, shape: tuple[int, ...]) -> Method:
    """Builds the config's method, with initial weights that depend on the config's seed.

    Args:
        config: the experiment.
        shape: of one image, channels first.

    Raises:
        StudioError: the nets of the config do not fit the shape.
    """
    try:
        check_nets(shape, config.nets, config.method.z + config.method.s)
    except ValueError as error:
        faults = "\n".join(f"  nets: {line}" for line in str(error).splitlines())
        raise StudioError(
            f"{config.name}: the nets do not fit images of shape {tuple(shape)}\n{faults}"
        ) from None
    with torch.random.fork_rng(devices=[]):
        seed_everything("init", config.seed)
        method = METHODS[config.method.name](config.method, config.nets, shape)
    return method.to(memory_format=memory_format(shape))
