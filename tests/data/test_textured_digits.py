"""textured_digits: composition, splits, stability."""

import hashlib

import numpy as np
import pytest
import torch
from support.experiments import tiny

from studio.build import build_dataset
from studio.config import resolve
from studio.data.textured_digits import (
    DIGITS,
    TEST_DIGITS,
    TexturedDigits,
    digit_images,
    digit_numbers,
    photograph_windows,
)


@pytest.fixture(scope="module")
def digits() -> TexturedDigits:
    return build_dataset(tiny())


def at(resolution: int) -> TexturedDigits:
    raw = {"data": {"name": "digits", "resolution": resolution}, "method": {"name": "dig"}}
    return build_dataset(resolve(raw, "x", "x"))


def test_items_never_change(digits: TexturedDigits) -> None:
    chosen = digits.images("train", "target", [0, 1, 24_999])
    assert torch.equal(digits.images("train", "target", [24_999, 0])[0], chosen[2])
    assert torch.equal(build_dataset(tiny()).images("train", "target", [0, 1, 24_999]), chosen)
    labels = digits.labels("train", "target")
    assert labels["digit"][:8].tolist() == [1, 6, 4, 6, 9, 3, 7, 4]
    table = digits.composition("test", "target")
    digest = hashlib.sha256(
        np.stack([table["texture"], table["digit"], table["flip"]]).astype("<i8").tobytes()
    ).hexdigest()
    assert digest.startswith("234ffcf67b828adc"), digest


def test_target_is_half_photograph_plus_half_digit(digits: TexturedDigits) -> None:
    x = digits.images("train", "background", range(64))
    y = digits.images("train", "target", range(64))
    assert x.shape == y.shape == (64, 1, 32, 32)
    assert x.dtype == torch.float32
    assert x.min() >= -1
    assert x.max() <= 0  # half of the range, as in CIFAR-10-MNIST
    assert y.min() >= -1
    assert 0 < y.max() <= 1
    number = digits.composition("train", "target")["digit"][:64]
    rest = y[:, 0] - digit_images(32)[number]
    assert rest.min() >= -1 - 1e-6
    assert rest.max() <= 1e-6


def test_splits_share_neither_digit_nor_region(digits: TexturedDigits) -> None:
    train, test = set(digit_numbers("train")), set(digit_numbers("test"))
    assert not train & test
    assert len(train) == DIGITS - TEST_DIGITS
    assert len(test) == TEST_DIGITS
    for split, allowed in (("train", train), ("test", test)):
        assert set(digits.composition(split, "target")["digit"]) == allowed
    for name in ("brick", "coins", "grass", "gravel"):
        windows = photograph_windows(name, 32)
        memory = [
            (w.__array_interface__["data"][0], w.shape) for w in (windows["train"], windows["test"])
        ]
        # Pixels in a row of the photograph.
        row = windows["train"].strides[0] // windows["train"].strides[1]
        last_of_train = windows["train"].shape[1] + 31
        first_of_test = (memory[1][0] - memory[0][0]) // windows["train"].strides[1]
        assert last_of_train <= first_of_test < row


def test_splits_have_every_class(digits: TexturedDigits) -> None:
    for split in ("train", "test"):
        assert set(digits.labels(split, "target")["digit"]) == set(range(10))
        for domain in ("background", "target"):
            assert set(digits.labels(split, domain)["texture"]) == {0, 1, 2, 3}
        assert "digit" not in digits.labels(split, "background")


def test_items_show_the_same_scene_at_either_resolution() -> None:
    small, large = at(32), at(64)
    a = small.images("test", "background", range(16))
    b = torch.nn.functional.avg_pool2d(large.images("test", "background", range(16)), 2)
    # The large window may start on an odd pixel, half a small pixel away.
    assert np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1] > 0.9
    assert np.array_equal(
        small.labels("test", "target")["digit"], large.labels("test", "target")["digit"]
    )


def test_config_chooses_photographs_and_moves_an_attribute() -> None:
    raw = {
        "data": {
            "name": "digits",
            "photographs": ["moon", "camera"],
            "attributes": {"texture": "salient"},
        },
        "method": {"name": "dig"},
    }
    data = build_dataset(resolve(raw, "x", "x"))
    assert data.attributes["texture"].classes == ("moon", "camera")
    assert data.attributes["texture"].belongs == "salient"
    assert data.attributes["digit"].belongs == "salient"
    assert set(data.labels("train", "target")["texture"]) == {0, 1}
