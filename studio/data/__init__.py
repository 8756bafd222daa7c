"""Data sets: each is one class with index-addressed, seeded items and attributes that say where they belong."""

from typing import TYPE_CHECKING, Any

from studio.data.brain_phantom import BrainPhantom
from studio.data.brats.dataset import Brats
from studio.data.cifar_mnist import CifarMnist
from studio.data.dataset import Attribute, DataConfig, Dataset
from studio.data.dsprites_mnist import DspritesMnist
from studio.data.folders import Folders
from studio.data.grassy_mnist import GrassyMnist
from studio.data.textured_digits import TexturedDigits

if TYPE_CHECKING:
    from studio.data.pairs import PairStream

__all__ = ["ALIASES", "DATASETS", "Attribute", "DataConfig", "Dataset", "PairStream"]

DATASETS: dict[str, type[Dataset]] = {
    "textured_digits": TexturedDigits,
    "folders": Folders,
    "cifar_mnist": CifarMnist,
    "dsprites_mnist": DspritesMnist,
    "grassy_mnist": GrassyMnist,
    "brats": Brats,
    "brain_phantom": BrainPhantom,
}
ALIASES = {"digits": "textured_digits"}  # config file names take the short form


def __getattr__(name: str) -> Any:  # noqa: ANN401 - imported on first use, so that `studio data list` needs no torch
    if name == "PairStream":
        from studio.data.pairs import PairStream

        return PairStream
    raise AttributeError(f"module 'studio.data' has no attribute {name!r}")
