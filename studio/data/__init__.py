"""Data sets, each in one file of this package.

To add a data set `NAME`:

1. Write `studio/data/NAME.py` with a section `NameConfig` (a `DataConfig`, a `FilesConfig` if it
   reads files, a `VectorConfig` if its items are vectors, or a `ContaminationConfig` if its
   training sets can be mixed) and a class `Name` (a `Dataset`, or a `Vectors`). The module
   docstring of `studio.data.dataset` lists the methods that it needs.
2. Add it to `DATASETS` below.
3. Write one config per method in `configs/`, such as `NAME_dig.yaml`.
4. Write `tests/data/test_NAME.py`, and add a function that writes small files of it to `PREPARE` in
   `tests/data/test_every_dataset.py`, which runs the tests of all data sets.
"""

from typing import TYPE_CHECKING

from studio.data.affectnet import AffectNet
from studio.data.brain_phantom import BrainPhantom
from studio.data.brats.dataset import Brats
from studio.data.brats.volumes import BratsVolumes
from studio.data.celeba_accessories import CelebaAccessories
from studio.data.cifar_mnist import CifarMnist
from studio.data.dataset import Attribute, DataConfig, Dataset
from studio.data.dsprites_mnist import DspritesMnist
from studio.data.folders import Folders
from studio.data.grassy_mnist import GrassyMnist
from studio.data.mice_protein import MiceProtein
from studio.data.pneumonia import Pneumonia
from studio.data.rna import Rna
from studio.data.textured_digits import TexturedDigits
from studio.data.vbm.dataset import Vbm

if TYPE_CHECKING:
    from studio.data.pairs import PairStream

__all__ = [
    "ALIASES",
    "DATASETS",
    "Attribute",
    "DataConfig",
    "Dataset",
    "PairStream",
    "dataset_class",
]

DATASETS: dict[str, type[Dataset]] = {
    "textured_digits": TexturedDigits,
    "folders": Folders,
    "cifar_mnist": CifarMnist,
    "dsprites_mnist": DspritesMnist,
    "grassy_mnist": GrassyMnist,
    "brats": Brats,
    "brain_phantom": BrainPhantom,
    "celeba_accessories": CelebaAccessories,
    "pneumonia": Pneumonia,
    "affectnet": AffectNet,
    "mice_protein": MiceProtein,
    "rna": Rna,
    "vbm": Vbm,
}
VOLUMES: dict[str, type[Dataset]] = {"brats": BratsVolumes}  # classes for `data.dims: 3`
ALIASES = {  # short names, as in the names of config files
    "digits": "textured_digits",
    "mice": "mice_protein",
}


def dataset_class(config: DataConfig) -> type[Dataset]:
    """Returns the class that opens a section."""
    name = config.name
    volumes = getattr(config, "dims", 2) == 3 and name in VOLUMES
    return VOLUMES[name] if volumes else DATASETS[name]


def __getattr__(name: str) -> "type[PairStream]":
    # Imported on first use, because it imports torch, which `studio data list` does not need.
    if name == "PairStream":
        from studio.data.pairs import PairStream

        return PairStream
    raise AttributeError(f"module 'studio.data' has no attribute {name!r}")
