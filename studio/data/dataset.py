"""The interface of a data set: two domains, two splits, images by index, and attributes.

A data set implements `size`, `images` and `labels`, sets `shape` and `attributes` in `__init__`,
and names its section of the config in `Config`. It may also define

- `LAYOUT`: the files that it expects, as text for `studio data list` and error messages.
- `notes`: facts about this copy of the data that a user should know.
- `quarantined`: (file, reason) for each file that it could not use.
- `derived` and `fingerprint`, if a user can change the files. `derived` returns the facts that were
  taken from the files as a whole, such as the window of intensity. A run stores them. A class with
  `FREEZES = True` receives them when the run is opened again, and then does not take them from the
  files a second time.
- `item_names` and `item_subjects`: the file and the subject of each item. Or, for generated images,
  `composition`: the parts of each item.
- `masks`, `healthy` and `transplant`, if it knows where the salient content is or the true
  counterfactual images (`MaskedDataset`, `CounterfactualDataset`). `studio probe` then measures
  counterfactuals.
- `generative_factors`, `images_of` and `canonical_factors`, if it can generate images of chosen
  factors (`FactorDataset`). `studio probe` then measures disentanglement.

An item can be an image, a volume or a vector. A section of images has a field `resolution`, the
side of an image in pixels. Vectors have none (`studio.data.vectors`). `studio score` and masks need
images.

Item i of a split and domain must always show the same image: draw with a generator that depends on
nothing but the item (`studio.data.item_tables` has helpers). Import torch inside of methods,
because `studio data list` and `check` do not need it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    runtime_checkable,
)

import numpy as np

from studio.data.data_config import AttributeChoice, AttributeConfig, Belongs, DataConfig
from studio.data.fingerprint import Fingerprint, Value, project
from studio.data.io.names import LISTED, join_names
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SPLITS",
    "Attribute",
    "AttributeChoice",
    "AttributeConfig",
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
    "describe_shape",
    "is_known",
    "label_notes",
]

SAMPLED = 16  # images of each split and domain in a fingerprint, unless a data set has its own
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
Labels = dict[str, np.ndarray]


@dataclass(frozen=True)
class Attribute:
    """A known property of the images, used for measuring and never for training.

    Attributes:
        belongs: code that should encode it, `salient` or `common`.
        classes: names of the categories, or () for a number.
        target_only: whether background images lack this attribute.
    """

    belongs: Belongs
    classes: tuple[str, ...] = ()
    target_only: bool = False


class Dataset(ABC):
    """Two unpaired sets of images, each split into train and test.

    Item i of a split and domain never changes: it is the same on every machine, in every run and
    after every resume.

    Args:
        config: the data set's section.

    Attributes:
        shape: shape of every image: (channels, height, width), or (channels, depth, height, width)
            for volumes, or (features,) for vectors. The axes of a body's volume run from head to
            feet, from front to back, and from left to right.
        attributes: name -> Attribute.
        quarantined: (file, reason) for each file that could not be used.
        show_names: whether pictures, reports and the app name files and subjects.
        condition: attribute with the conditions of the target set, such as two diseases, which
            pictures show one by one. "": there is one condition.
    """

    Config: ClassVar[type[DataConfig]]
    LAYOUT: ClassVar[str] = "nothing: it is bundled"
    # Whether `__init__` takes the result of `derived` as a second argument.
    FREEZES: ClassVar[bool] = False
    shape: tuple[int, ...]
    attributes: dict[str, Attribute]
    quarantined: Sequence[tuple[str, str]] = ()
    show_names: bool = True
    condition: str = ""

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    @abstractmethod
    def size(self, split: Split, domain: str) -> int:
        """Returns the number of images of a domain in a split."""

    @abstractmethod
    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns the images at `indices`, (len(indices), C, H, W) float32 in [-1, 1]."""

    @abstractmethod
    def labels(self, split: Split, domain: str) -> Labels:
        """Returns attribute -> one class number (int64) or number (float) per item of the domain.

        An item without a value has -1 or NaN. An attribute that the domain lacks is absent.
        """

    def notes(self) -> list[str]:
        """Returns facts about this copy of the data: files set aside, sizes, windows."""
        return []

    def derived(self) -> dict[str, Any]:
        """Returns the facts that opening took from the data as a whole, as plain JSON.

        It is stored with a run. `split` maps the name of an item or a subject to its split.
        """
        return {}

    def affine(self) -> np.ndarray | None:
        """Returns the affine (4, 4) from the voxels (d, h, w) of every volume to mm, as in NIfTI.

        None: the volumes lie in no common space, or the items are no volumes.
        """
        return None

    def fingerprint(self) -> Fingerprint:
        """Returns the content in short, so that a run can tell whether its data have changed."""
        items: dict[str, Value] = {}
        for split, domain in product(SPLITS, DOMAINS):
            size = self.size(split, domain)
            chosen = np.unique(np.linspace(0, size - 1, min(size, SAMPLED)).astype(np.int64))
            images = self.images(split, domain, chosen).numpy() if size else []
            place = f"{domain} {split}"
            items[f"{place} size"] = [float(size)]
            for index, image in zip(chosen, images, strict=True):
                items[f"{place} image {index}"] = project(image)
            for name, column in self.labels(split, domain).items():
                items[f"{place} {name}"] = project(column)
        covers = f"numbers of images, all labels, and {SAMPLED} images of each split and domain"
        return Fingerprint(covers, "sample", items)

    def _declare(self, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """Returns the attributes of the data set with the config's `attributes` applied.

        Raises:
            StudioError: the config names an attribute that the data set does not have.
        """
        for name in self.config.attributes:
            if name not in attributes:
                raise StudioError(
                    f"data.attributes.{name}: {self.config.name} has no such "
                    f"attribute{nearest(name, attributes)}"
                )
            self._refuse_other_kind(name, attributes[name])
        return {
            name: replace(attribute, belongs=self.config.belongs_of(name, attribute.belongs))
            for name, attribute in attributes.items()
        }

    def _refuse_other_kind(self, name: str, attribute: Attribute) -> None:
        """Raises an error if the config states another kind than the attribute has."""
        choice = self.config.attributes[name]
        kind = choice.kind if isinstance(choice, AttributeConfig) else "auto"
        own = "category" if attribute.classes else "number"
        if kind not in ("auto", own):
            raise StudioError(
                f"data.attributes.{name}.kind: found {kind}, but {self.config.name} declares a "
                f"{own}; leave it out"
            )


def is_known(values: np.ndarray) -> np.ndarray:
    """Returns which labels of an attribute have a value, i.e. are neither -1 nor NaN, (n,) bool."""
    return ~np.isnan(values) if values.dtype.kind == "f" else values >= 0


def describe_shape(shape: Sequence[int]) -> str:
    """Returns the shape of an item with the names of its axes."""
    if len(shape) == 1:
        return f"{shape[0]} numbers"
    axes = "channels, depth, height, width" if len(shape) == 4 else "channels, height, width"
    return f"{' x '.join(map(str, shape))} ({axes})"


def label_notes(dataset: Dataset) -> Iterator[str]:
    """Yields a note for each attribute that cannot be measured well.

    These are attributes with the same value on all images, and categories with at most one image.
    """
    for split, domain in product(SPLITS, DOMAINS):
        for name, column in dataset.labels(split, domain).items():
            values, classes = column[is_known(column)], dataset.attributes[name].classes
            if len(np.unique(values)) < 2:
                found = "the same value on every" if len(values) else "no value on any"
                yield f"attribute {name} has {found} {domain} image of the {split} split"
                continue
            counts = (
                np.bincount(values.astype(np.int64), minlength=len(classes))
                if classes
                else np.empty(0)
            )
            rare = np.flatnonzero(counts < 2)
            if len(rare) > LISTED:
                yield (
                    f"attribute {name}: {len(rare)} of {len(classes)} classes have no or only one "
                    f"{domain} image in the {split} split"
                )
                continue
            for few, words in enumerate(("no {} image", "only one {} image each")):
                found = join_names([classes[i] for i in rare if counts[i] == few])
                if found:
                    yield (
                        f"attribute {name}: the {split} split has {words.format(domain)} of {found}"
                    )


@dataclass(frozen=True)
class Factor:
    """A factor of variation with the classes 0 to size - 1, from which images can be generated.

    Attributes:
        name: name of the factor.
        size: number of its classes.
        category: whether the classes have no order.
        period: number of classes in a full turn for a factor that is an angle, else 0.
    """

    name: str
    size: int
    category: bool = False
    period: int = 0


@runtime_checkable
class FactorDataset(Protocol):
    """A data set that generates target images of chosen factors, to measure disentanglement.

    Attributes:
        generative_factors: factors of an image's salient content, in the order of the columns
            below.
    """

    generative_factors: tuple[Factor, ...]

    def images_of(self, factors: np.ndarray, seed: int, split: Split = "test") -> "Tensor":
        """Generates target images (n, C, H, W) in [-1, 1].

        Args:
            factors: class numbers (n, f).
            seed: seed of everything that is not a factor.
            split: split from which the rest of the image is drawn.
        """
        ...

    def canonical_factors(self, factors: np.ndarray) -> np.ndarray:
        """Returns class numbers (n, f) that are equal for images that look the same."""
        ...


@runtime_checkable
class MaskedDataset(Protocol):
    """A data set that knows where the salient content of a target image is."""

    def masks(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns the pixels of target images that show salient content, (n, H, W) bool."""
        ...


class Transplant(NamedTuple):
    """Images that combine the common content of some images with the salient content of others.

    Attributes:
        images: the true images, (n, C, H, W) in [-1, 1].
        masks: pixels that show the salient content, (n, H, W) bool.
    """

    images: "Tensor"
    masks: "Tensor"


@runtime_checkable
class CounterfactualDataset(MaskedDataset, Protocol):
    """A data set that knows the true image for other salient content, and for none."""

    def healthy(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns target images without their salient content, (n, C, H, W) in [-1, 1]."""
        ...

    def transplant(
        self,
        split: Split,
        a_indices: Sequence[int] | np.ndarray,
        b_indices: Sequence[int] | np.ndarray,
    ) -> Transplant:
        """Returns the background images a with the salient content of the target images b."""
        ...
