"""From a config to the things it describes."""

import torch

from nets import check_nets, layout
from studio.config import Config
from studio.data import DATASETS, Dataset
from studio.errors import StudioError
from studio.method import Method
from studio.methods import METHODS
from studio.seeds import seed_everything

__all__ = ["build_dataset", "build_method"]


def build_dataset(config: Config) -> Dataset:
    """Opens the config's data set.

    Raises:
        StudioError: its files are missing or faulty.
    """
    return DATASETS[config.data.name](config.data)


def build_method(config: Config, shape: tuple[int, ...]) -> Method:
    """Makes the config's method for images of a shape, initialised from the config's seed.

    Raises:
        StudioError: the nets that the config describes do not fit the shape.
    """
    latents = sum(getattr(config.method, code, 0) for code in ("z", "s"))
    try:
        check_nets(shape, config.nets, latents)
    except ValueError as error:
        faults = "\n".join(f"  nets: {line}" for line in str(error).splitlines())
        raise StudioError(
            f"{config.name}: the nets do not fit images of shape {tuple(shape)}\n{faults}"
        ) from None
    with torch.random.fork_rng(devices=[]):
        seed_everything("init", config.seed)
        method = METHODS[config.method.name](config.method, config.nets, shape)
    return method.to(memory_format=layout(shape))
