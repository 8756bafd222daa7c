"""Gaussian noise during training, and none in eval mode."""

import re

import pytest
import torch
from support.architectures import FULLY_CONNECTED, headed_trunk, section

from nets import GaussianNoise, build_encoder, memory_format


@pytest.mark.parametrize("shape", [(64, 16, 16), (8, 16, 16), (8, 16, 16, 8), (2000,)], ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_noise_has_its_std_in_training_and_is_off_in_eval_mode(
    shape: tuple[int, ...], last: bool
) -> None:
    order = memory_format(shape) if last else torch.contiguous_format
    noise, x = GaussianNoise(0.2), torch.zeros(16, *shape).contiguous(memory_format=order)
    added = noise(x)
    assert added.std().item() == pytest.approx(0.2, rel=0.03)
    assert abs(added.mean().item()) < 0.005
    assert added.stride() == x.stride()
    assert not torch.equal(noise(x), added)
    noise.eval()
    assert noise(x) is x


def test_eval_mode_reaches_every_noise_and_norm_layer() -> None:
    # A parent can be in eval mode while noise and batch normalisation below it still train.
    D = headed_trunk().eval()
    assert not any(m.training for m in D.modules())
    x = torch.randn(4, 1, 32, 32)
    first, second = D(x), D(x)
    assert all(torch.equal(first[name], second[name]) for name in first)
    D.train()
    assert not torch.equal(D(x)["z"], D(x)["z"])


def test_outputs_depend_on_the_batch_in_training_only() -> None:
    D = headed_trunk(noise=0.0)
    x = torch.randn(6, 1, 32, 32)
    D.eval()
    torch.testing.assert_close(D(x)["z"][:2], D(x[:2])["z"])
    D.train()
    assert (D(x)["z"][:2] - D(x[:2])["z"]).abs().max() > 1e-4


def test_noise_of_a_listed_encoder_is_before_every_layer() -> None:
    D = build_encoder(
        (1, 8, 8), {"D": 1, "z": 2}, section(**FULLY_CONNECTED, head=[{"linear": 4}]), noise=0.2
    )
    noises = [name for name, m in D.named_modules() if type(m).__name__ == "GaussianNoise"]
    assert len(noises) == 1 + 2 * 2
    x = torch.randn(3, 1, 8, 8)
    assert not torch.equal(D(x)["z"], D(x)["z"])
    D.eval()
    assert torch.equal(D(x)["z"], D(x)["z"])
    quiet = build_encoder((1, 8, 8), {"D": 1}, section(**FULLY_CONNECTED))
    assert not re.search("GaussianNoise", str(quiet.trunk))
