"""Images on the device give the same pairs as the loader."""

import numpy as np
import pytest
import torch
from support.experiments import tiny

from studio.build import build_dataset
from studio.data import DataConfig, PairStream
from studio.training import batches
from studio.training.batches import Batches, ResidentPairs, fits_on_device
from studio.training.engine import Engine

CPU = torch.device("cpu")


class Images:
    """A data set of given images, the same in both domains."""

    def __init__(self, images: torch.Tensor) -> None:
        self.all, self.shape = images, images.shape[1:]
        self.config = DataConfig(name="images")

    def size(self, split: str, domain: str) -> int:
        return len(self.all)

    def images(self, split: str, domain: str, rows: object) -> torch.Tensor:
        return self.all[np.asarray(rows)]


def stream(images: torch.Tensor) -> PairStream:
    return PairStream(Images(images), 4, seed=3)


def levels(count: int, images: int = 40) -> torch.Tensor:
    """Returns images with `count` different values, in no order."""
    values = torch.linspace(-1, 1, count)[torch.randperm(count)]
    places = torch.arange(images * 3 * 8 * 8).remainder(count)
    return values[places].reshape(images, 3, 8, 8)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 5_000])
@pytest.mark.parametrize("chunk", [7, 512])
def test_resident_pairs_equal_those_of_the_stream(
    monkeypatch: pytest.MonkeyPatch, count: int, chunk: int
) -> None:
    monkeypatch.setattr(batches, "CHUNK", chunk)
    pairs = stream(levels(count))
    resident = ResidentPairs(pairs, CPU)
    for iteration in (0, 1, 9, 25):
        for expected, found in zip(pairs[iteration], resident[iteration], strict=True):
            assert (expected is None) == (found is None)
            assert expected is None or torch.equal(expected, found)


def test_resident_pairs_keep_a_byte_per_value_when_256_values_occur() -> None:
    kept = ResidentPairs(stream(levels(256)), CPU).images["background"]
    assert kept.codes.dtype == torch.uint8
    assert ResidentPairs(stream(levels(257)), CPU).images["background"].dtype == torch.float32


@pytest.mark.parametrize("method", ["dig", "sepvae"])
def test_engine_reaches_the_same_weights_with_data_on_the_device(method: str) -> None:
    found = []
    for where in ("yes", "no"):
        config = tiny(method, data_on_device=where)
        e = Engine(config, build_dataset(config))
        for _ in e.iterations(48):
            pass
        found.append(e.method.state_dict())
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_batches_use_the_loader_on_a_processor_when_auto() -> None:
    config = tiny().train
    pairs = stream(levels(9))
    assert isinstance(Batches(pairs, config, CPU).between(0, 2), torch.utils.data.DataLoader)


def test_fits_on_device_asks_for_a_quarter_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, gpu = Images(levels(9)), torch.device("cuda")
    size = 2 * 40 * 3 * 8 * 8
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * size, 8 * size))
    assert fits_on_device(dataset, gpu)
    assert not fits_on_device(dataset, CPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * size - 1, 8 * size))
    assert not fits_on_device(dataset, gpu)
