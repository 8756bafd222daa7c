"""Swap accuracy of methods whose mistakes are known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.experiments import tiny
from torch import Tensor

from studio.build import build_method
from studio.data import Dataset
from studio.data.dataset import Attribute
from studio.evaluate import swaps
from studio.evaluate.probe_table import swap_lines
from studio.evaluate.swaps import measure_swaps
from studio.method import Code

SIDE, DEPTH = 32, 4
SIZE = {"train": 400, "test": 200}


class Halves(Dataset):
    """The left half shows a common class, and in targets the right half a salient one."""

    def __init__(self) -> None:
        self.shape = (1, SIDE, SIDE)
        self.attributes = {
            "shape": Attribute("salient", ("a", "b"), target_only=True),
            "ground": Attribute("common", ("dark", "light", "striped")),
            "nonsense": Attribute("common", ("x", "y")),
        }

    def size(self, split: str, domain: str) -> int:
        return SIZE[split]

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        random = np.random.default_rng([len(split), len(domain)])
        n = self.size(split, domain)
        labels = {"ground": random.integers(0, 3, n), "nonsense": random.integers(0, 2, n)}
        return labels | ({"shape": random.integers(0, 2, n)} if domain == "target" else {})

    def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
        labels = self.labels(split, domain)
        images = torch.full((len(indices), 1, SIDE, SIDE), -1.0)
        half = SIDE // 2
        for image, i in zip(images, indices, strict=True):
            ground = labels["ground"][i]
            image[0, :, :half] = -0.5 if ground == 0 else 0.8
            if ground == 2:
                image[0, ::4, :half] = -1.0
            if domain == "target":
                rows = slice(0, half) if labels["shape"][i] else slice(half, SIDE)
                image[0, rows, half + 4 :] = 0.9
        return images


class Method(torch.nn.Module):
    """z is the left half of an image and s the right half; `mix` says what is decoded."""

    contrastive = True

    def __init__(self, mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.mix, self.anchor = mix, torch.nn.Parameter(torch.zeros(1))
        self.device = torch.device("cpu")

    def encode(self, images: Tensor) -> Code:
        left, right = images.chunk(2, -1)
        return Code(left.flatten(1), right.flatten(1) + 1)

    def decode(self, code: Code) -> Tensor:
        left, right = self.mix(code.z, code.s)
        parts = [part.reshape(-1, 1, SIDE, SIDE // 2) for part in (left, right - 1)]
        return torch.cat(parts, -1)

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, SIDE * SIDE // 2)


def measured(mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> dict:
    found = measure_swaps(Method(mix).eval(), Halves())  # type: ignore[arg-type]
    assert found is not None
    return found


def test_measure_swaps_is_full_for_a_perfect_method() -> None:
    found = measured(lambda z, s: (z, s))
    assert found["n"] == dict.fromkeys(found["directions"], SIZE["test"])
    for direction, read in found["directions"].items():
        assert read["target"] > 0.95, direction
        assert read["ground"] > 0.95, direction
        assert read["all"] > 0.9, direction
        assert ("shape" in read) == (direction.endswith("to_target"))
        assert read.get("shape", 1.0) > 0.95, direction


class Blocks(Halves):
    """The same as volumes: each image is the sheet of a volume, 4 voxels deep."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (1, DEPTH, SIDE, SIDE)

    def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
        return super().images(split, domain, indices)[:, :, None].repeat(1, 1, DEPTH, 1, 1)


class SheetMethod(Method):
    """The same for volumes of equal sheets."""

    def encode(self, images: Tensor) -> Code:
        return super().encode(images[:, :, 0])

    def decode(self, code: Code) -> Tensor:
        return super().decode(code)[:, :, None].repeat(1, 1, DEPTH, 1, 1)


@pytest.fixture(scope="module")
def volume_swaps() -> list[dict]:
    """Results of a perfect method on volumes, and of one that ignores the salient code."""
    mixes = (lambda z, s: (z, s), lambda z, s: (z, torch.zeros_like(s)))
    found = [measure_swaps(SheetMethod(mix).eval(), Blocks()) for mix in mixes]  # type: ignore[arg-type]
    assert None not in found
    return found  # type: ignore[return-value]


def test_measure_swaps_reads_volumes(volume_swaps: list[dict]) -> None:
    perfect, blind = volume_swaps
    assert perfect["n"] == dict.fromkeys(perfect["directions"], SIZE["test"])
    for direction, read in perfect["directions"].items():
        assert read["target"] > 0.95, direction
        assert read["ground"] > 0.9, direction
        assert read.get("shape", 1.0) > 0.9, direction
        assert read["all"] > 0.85, direction
    assert blind["directions"]["target_to_target"]["target"] < 0.1
    assert blind["directions"]["target_to_target"]["shape"] == pytest.approx(0.5, abs=0.1)
    assert not perfect["classifiers"]["nonsense"]["reliable"]


def test_measure_swaps_refuses_an_attribute_that_images_do_not_show() -> None:
    found = measured(lambda z, s: (z, s))
    assert not found["classifiers"]["nonsense"]["reliable"]
    assert found["classifiers"]["ground"]["reliable"]
    assert found["directions"]["healed"]["nonsense"] is None
    assert "nonsense not counted" in swap_lines(found)[-1]


def test_measure_swaps_finds_a_method_that_ignores_the_salient_code() -> None:
    found = measured(lambda z, s: (z, torch.zeros_like(s)))["directions"]
    assert found["healed"]["target"] > 0.95
    assert found["target_to_target"]["target"] < 0.05
    assert found["target_to_target"]["shape"] == pytest.approx(0.5, abs=0.1)
    assert found["background_to_target"]["all"] < 0.05


def test_measure_swaps_finds_a_method_that_keeps_the_content_in_the_common_code() -> None:
    found = measured(lambda z, s: (z, torch.where(s.sum(1, True) == 0, s + 1.9, s)))["directions"]
    assert found["healed"]["target"] < 0.5
    assert found["target_to_target"]["target"] > 0.95


def test_measure_swaps_finds_a_method_that_loses_the_common_code() -> None:
    found = measured(lambda z, s: (z.mean(0, True).expand_as(z), s))["directions"]
    assert found["target_to_target"]["ground"] < 0.5
    assert found["target_to_target"]["shape"] > 0.9


def test_measure_swaps_says_nothing_when_no_classifier_is_reliable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(swaps, "FLOOR", 1.1)
    found = measured(lambda z, s: (z, s))
    assert all(value is None for read in found["directions"].values() for value in read.values())
    assert sum("not measured" in line for line in swap_lines(found)) == 4


def test_measure_swaps_is_none_for_vectors() -> None:
    config = tiny("dig")
    dataset = Halves()
    dataset.shape = (7,)
    method = build_method(config, (1, SIDE, SIDE)).eval()
    assert measure_swaps(method, dataset) is None


def test_measure_swaps_repeats_itself() -> None:
    first, second = (measured(lambda z, s: (z, s)) for _ in range(2))
    assert first == second
    assert swaps.FLOOR == 0.5
