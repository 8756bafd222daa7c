"""Data sets: each is one class with index-addressed, seeded items and attributes that say where they belong."""

from studio.data.cifar_mnist import CifarMnist
from studio.data.dataset import Attribute, DataConfig, Dataset
from studio.data.dsprites_mnist import DspritesMnist
from studio.data.folders import Folders
from studio.data.grassy_mnist import GrassyMnist
from studio.data.pairs import PairStream
from studio.data.textured_digits import TexturedDigits

__all__ = ["ALIASES", "DATASETS", "Attribute", "DataConfig", "Dataset", "PairStream"]

DATASETS: dict[str, type[Dataset]] = {
    "textured_digits": TexturedDigits,
    "folders": Folders,
    "cifar_mnist": CifarMnist,
    "dsprites_mnist": DspritesMnist,
    "grassy_mnist": GrassyMnist,
}
ALIASES = {"digits": "textured_digits"}  # config file names take the short form
