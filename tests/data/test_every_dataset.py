"""Every data set: shapes, ranges, labels and items as `Dataset` promises them."""

import pickle
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bids_files import write_bids
from support.folder_files import fill, write_table
from support.picture_files import write_affectnet, write_celeba, write_xrays
from support.source_files import cifar_arrays, mnist_arrays
from support.vector_files import write_mice_csv, write_rna

from studio.data import DATASETS, Dataset, PairStream, dataset_class
from studio.data.brain_phantom import write_brats
from studio.data.dataset import (
    SPLITS,
    CounterfactualDataset,
    FactorDataset,
    MaskedDataset,
    is_known,
)
from studio.data.item_tables import ContaminationConfig
from studio.data.training_set import TrainingSet
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.schema import field_docs

PLACES = tuple(product(SPLITS, DOMAINS))


def prepare_folders(root: Path) -> dict[str, object]:
    fill(root)
    lines = [f"{domain}/{i:03}.png,{i % 3}" for domain in DOMAINS for i in range(20)]
    write_table(root, "\n".join(["file,kind", *lines]))
    return {"resolution": 8, "attributes": {"kind": "salient"}}


def prepare_sources(root: Path) -> dict[str, object]:
    np.savez(root / "mnist.npz", **mnist_arrays())
    np.savez(root / "cifar10.npz", **cifar_arrays())
    return {}


def prepare_brats(root: Path) -> dict[str, object]:
    write_brats(root, 8, side=48, slices=range(82, 100))
    return {"resolution": 24, "slices": [82, 98], "min_tumour": 0.1, "test_share": 0.4}


def prepare_brains(root: Path) -> dict[str, object]:
    write_brats(root, 8, seed=1, side=32, slices=range(20, 130))
    return {"dims": 3, "resolution": 16, "min_tumour": 0.1, "test_share": 0.4}


def prepare_celeba(root: Path) -> dict[str, object]:
    write_celeba(root)
    return {"split": "louiset"}


def prepare_xrays(root: Path) -> dict[str, object]:
    write_xrays(root)
    return {"resolution": 16}


def prepare_affectnet(root: Path) -> dict[str, object]:
    write_affectnet(root)
    return {"resolution": 16}


def prepare_mice(root: Path) -> dict[str, object]:
    write_mice_csv(root)
    return {}


def prepare_nothing(_: Path) -> dict[str, object]:
    return {"root": None}


def prepare_volumes(_: Path) -> dict[str, object]:
    return {"root": None, "dims": 3, "resolution": 32}


# Data set, and words for a variant -> function that writes its files into a folder and returns its
# options.
PREPARE: dict[str, Callable[[Path], dict[str, object]]] = {
    "textured_digits": prepare_nothing,
    "folders": prepare_folders,
    "cifar_mnist": prepare_sources,
    "dsprites_mnist": prepare_sources,
    "grassy_mnist": prepare_sources,
    "brats": prepare_brats,
    "brain_phantom": prepare_nothing,
    "celeba_accessories": prepare_celeba,
    "pneumonia": prepare_xrays,
    "affectnet": prepare_affectnet,
    "mice_protein": prepare_mice,
    "rna": write_rna,
    "vbm": write_bids,
    "brain_phantom 3-D": prepare_volumes,
    "brats 3-D": prepare_brains,
}


@pytest.fixture(scope="module", params=PREPARE)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("data")
    cls = DATASETS[request.param.split()[0]]
    config = cls.Config(**{"root": str(root), **PREPARE[request.param](root)})
    return dataset_class(config)(config)


def test_every_dataset_is_tested() -> None:
    assert {name.split()[0] for name in PREPARE} == set(DATASETS)


def some(dataset: Dataset, split: str, domain: str) -> np.ndarray:
    """Returns up to ten indices."""
    return np.arange(min(10, dataset.size(split, domain)))


def test_images_have_the_declared_shape_type_and_range(dataset: Dataset) -> None:
    for place in PLACES:
        indices = some(dataset, *place)
        assert len(indices)
        images = dataset.images(*place, indices)
        assert images.shape == (len(indices), *dataset.shape)
        assert images.dtype == torch.float32
        assert images.abs().max() <= 1 + 1e-6


def test_images_do_not_depend_on_order_or_copy(dataset: Dataset) -> None:
    copy = pickle.loads(pickle.dumps(dataset))
    for place in PLACES:
        indices = some(dataset, *place)
        images = dataset.images(*place, indices)
        assert torch.equal(dataset.images(*place, indices[::-1].copy()).flip(0), images)
        assert torch.equal(copy.images(*place, indices), images)


def test_labels_match_the_declared_attributes(dataset: Dataset) -> None:
    for split, domain in PLACES:
        labels = dataset.labels(split, domain)
        expected = {
            name
            for name, attribute in dataset.attributes.items()
            if domain == "target" or not attribute.target_only
        }
        assert set(labels) == expected
        for name, values in labels.items():
            assert values.shape == (dataset.size(split, domain),)
            assert is_known(values).any()
            classes = dataset.attributes[name].classes
            assert values.dtype.kind == ("i" if classes else "f")
            assert not classes or values.max() < len(classes)


def test_masks_have_the_size_of_the_images(dataset: Dataset) -> None:
    if not isinstance(dataset, MaskedDataset):
        pytest.skip("this data set has no masks")
    indices = some(dataset, "test", "target")
    masks = dataset.masks("test", indices)
    assert masks.shape == (len(indices), *dataset.shape[1:])
    assert masks.dtype == torch.bool
    assert masks.flatten(1).any(1).all()


def test_images_of_has_the_declared_shape(dataset: Dataset) -> None:
    if not isinstance(dataset, FactorDataset):
        pytest.skip("this data set has no generative factors")
    factors = np.zeros((3, len(dataset.generative_factors)), np.int64)
    assert dataset.images_of(factors, 0).shape == (3, *dataset.shape)
    assert dataset.canonical_factors(factors).shape == factors.shape


def test_pair_stream_gives_pairs_of_equal_halves(dataset: Dataset) -> None:
    pair = PairStream(dataset, half=3, seed=0)[5]
    assert pair.x.shape == pair.y.shape == (3, *dataset.shape)


def test_contamination_gives_images_of_the_other_set(dataset: Dataset) -> None:
    wrong = {"contamination_background": 1.0}
    if isinstance(dataset.config, ContaminationConfig):  # its own tests look at its images
        cls, config = type(dataset), dataset.config
        mixed = cls(config.model_copy(update={**wrong, "name": config.name}))
        assert np.array_equal(
            TrainingSet(mixed).items["background"], np.arange(mixed.size("train", "background"))
        )
        return
    plain, dataset.config = dataset.config, dataset.config.model_copy(update=wrong)
    stream = PairStream(dataset, half=3, seed=0)
    dataset.config = plain
    others = stream.indices(5, "background") - dataset.size("train", "background")
    assert torch.equal(stream[5].x, dataset.images("train", "target", others))


def test_config_documents_every_field(dataset: Dataset) -> None:
    assert all(doc.description for doc in field_docs(dataset.Config).values())


def test_notes_are_single_texts(dataset: Dataset) -> None:
    assert all(isinstance(note, str) and note for note in dataset.notes())


@pytest.mark.parametrize("none", [[], (), np.empty(0), np.empty(0, np.int64)], ids=repr)
def test_empty_selection_is_an_empty_tensor(dataset: Dataset, none: object) -> None:
    for place in PLACES:
        images = dataset.images(*place, none)
        assert images.shape == (0, *dataset.shape)
        assert images.dtype == torch.float32
    if isinstance(dataset, MaskedDataset):
        masks = dataset.masks("test", none)
        assert (masks.shape, masks.dtype) == ((0, *dataset.shape[1:]), torch.bool)
    if isinstance(dataset, CounterfactualDataset):
        assert dataset.healthy("test", none).shape == (0, *dataset.shape)
        images, masks = dataset.transplant("test", none, none)
        assert (images.shape, masks.shape) == ((0, *dataset.shape), (0, *dataset.shape[1:]))
    if isinstance(dataset, FactorDataset):
        factors = np.empty((0, len(dataset.generative_factors)), np.int64)
        assert dataset.images_of(factors, 0).shape == (0, *dataset.shape)
        assert dataset.canonical_factors(factors).shape == factors.shape


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([0.5], "found float64 numbers, expected whole numbers"),
        (["a"], "expected whole numbers"),
        ([True], "found bool numbers"),
        ([-1], "found -1, expected 0 to "),
        ([10**9], "found 1000000000, expected 0 to "),
        ([[0]], "expected a list of indices"),
        (0, "expected a list of indices"),
    ],
)
def test_selection_of_items_that_do_not_exist_is_refused(
    dataset: Dataset, wrong: object, words: str
) -> None:
    for place in PLACES:
        with pytest.raises(StudioError, match=f"^indices: .*{words}"):
            dataset.images(*place, wrong)
