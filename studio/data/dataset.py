"""What a data set is: two domains, two splits, images by index, and attributes with where they belong."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from studio.domains import DOMAINS
from studio.errors import StudioError, nearest
from studio.schema import Section

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SPLITS",
    "Attribute",
    "Belongs",
    "CounterfactualDataset",
    "DataConfig",
    "Dataset",
    "Factor",
    "FactorDataset",
    "Labels",
    "MaskedDataset",
    "Split",
    "Transplant",
    "is_known",
    "label_notes",
]

Belongs = Literal["salient", "common"]
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
Labels = dict[str, np.ndarray]


@dataclass(frozen=True)
class Attribute:
    """A known factor of the images, used to measure and never to train.

    Attributes:
        belongs: the code in which it should be found.
        classes: names of the categories, or () for a number.
        target_only: whether background images have no such attribute.
    """

    belongs: Belongs
    classes: tuple[str, ...] = ()
    target_only: bool = False


class DataConfig(Section):
    """What every data set's section of a config has.

    Attributes:
        name: of the data set.
        root: folder of the files, for sets that need any.
        resolution: side of the square images in pixels.
        attributes: where attributes belong, beyond or against what the data set declares.
    """

    name: str
    root: str | None = None
    resolution: int = Field(ge=6)
    attributes: dict[str, Belongs] = Field(default={})


class Dataset(ABC):
    """Two unpaired sets of images, each split into train and test.

    Item i of a split and domain is the same for ever: the same on every machine, in every run, after every resume.

    Args:
        config: the data set's section.

    Attributes:
        shape: of every image: (channels, height, width), (channels, depth, height, width) of a volume, (features,) of a vector.
        attributes: name -> Attribute.
    """

    Config: ClassVar[type[DataConfig]]
    shape: tuple[int, ...]
    attributes: dict[str, Attribute]

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    @abstractmethod
    def size(self, split: Split, domain: str) -> int:
        """Returns how many images a domain has in a split."""

    @abstractmethod
    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns the images (len(indices), C, H, W), float32 in [-1, 1]."""

    @abstractmethod
    def labels(self, split: Split, domain: str) -> Labels:
        """Returns attribute -> one value per item of the domain: class numbers, or floats.

        An item without a value has -1 or NaN; an attribute that the domain does not have is absent.
        """

    def notes(self) -> list[str]:
        """Returns what a user should know of this copy of the data: files set aside, sizes, windows."""
        return []

    def _declare(self, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """Applies the config's `attributes` to those that the data set knows."""
        for name in self.config.attributes:
            if name not in attributes:
                raise StudioError(
                    f"data.attributes.{name}: {self.config.name} has no such attribute{nearest(name, attributes)}"
                )
        return {
            name: replace(attribute, belongs=self.config.attributes.get(name, attribute.belongs))
            for name, attribute in attributes.items()
        }


def is_known(values: np.ndarray) -> np.ndarray:
    """Returns which labels of one attribute are there: neither -1 nor NaN."""
    return ~np.isnan(values) if values.dtype.kind == "f" else values >= 0


def label_notes(dataset: Dataset) -> Iterator[str]:
    """Says where an attribute cannot be measured well: one value on all images, or a category on one image or none."""
    for split, domain in product(SPLITS, DOMAINS):
        for name, column in dataset.labels(split, domain).items():
            values, classes = column[is_known(column)], dataset.attributes[name].classes
            if len(np.unique(values)) < 2:
                what = "the same value" if len(values) else "no value"
                yield f"attribute {name} has {what} on every {domain} image of the {split} split"
                continue
            counts = (
                np.bincount(values.astype(np.int64), minlength=len(classes))
                if classes
                else np.empty(0)
            )
            for few, words in enumerate(("no {} image", "only one {} image each")):
                rare = ", ".join(classes[i] for i in np.flatnonzero(counts == few))
                if rare:
                    yield f"attribute {name}: the {split} split has {words.format(domain)} of {rare}"


@dataclass(frozen=True)
class Factor:
    """A generative factor: images can be made of any of its classes, 0 to size - 1.

    Attributes:
        name: of the factor.
        size: number of its classes.
        category: whether the classes have no order.
        period: number of classes in a full circle, for a factor that returns to where it began; 0 for others.
    """

    name: str
    size: int
    category: bool = False
    period: int = 0


@runtime_checkable
class FactorDataset(Protocol):
    """A data set that can make target images of given factors, whose disentanglement can then be measured.

    Attributes:
        generative_factors: what makes an image's salient content, in the order of the columns below.
    """

    generative_factors: tuple[Factor, ...]

    def images_of(self, factors: np.ndarray, seed: int, split: Split = "test") -> "Tensor":
        """Makes target images (n, C, H, W) of class numbers (n, f); what is not a factor comes from the seed."""
        ...

    def canonical_factors(self, factors: np.ndarray) -> np.ndarray:
        """Returns class numbers (n, f) by which images that look the same are the same."""
        ...


@runtime_checkable
class MaskedDataset(Protocol):
    """A data set that knows where the salient content of a target image is."""

    def masks(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns which pixels of target images show salient content, (n, H, W) bool."""
        ...


class Transplant(NamedTuple):
    """True images (n, C, H, W) of the common content of some and the salient content of others, and its masks (n, H, W)."""

    images: "Tensor"
    masks: "Tensor"


@runtime_checkable
class CounterfactualDataset(MaskedDataset, Protocol):
    """A data set that knows what its images would look like with other salient content, or without any."""

    def healthy(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns target images without their salient content, all else the same, (n, C, H, W) in [-1, 1]."""
        ...

    def transplant(
        self,
        split: Split,
        a_indices: Sequence[int] | np.ndarray,
        b_indices: Sequence[int] | np.ndarray,
    ) -> Transplant:
        """Returns background images a with the salient content of target images b."""
        ...
