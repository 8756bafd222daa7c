"""Generator, trunk, reader: shapes, parameters and layers of Table 4; noise; statistics."""

import pytest
import torch
from torch import nn

from nets import GaussianNoise, Generator, Reader, Trunk, stages, untracked

SIZES = [(28, 1), (32, 3), (48, 4), (64, 3), (96, 1), (128, 1)]


def reader(resolution: int = 32, channels: int = 1, width: int = 4, noise: float = 0.2) -> Reader:
    return Reader(Trunk(channels, resolution, width, noise), {"D": 1, "C": 1, "z": 5, "s": 2})


@pytest.mark.parametrize(("resolution", "channels"), SIZES)
def test_every_resolution_and_every_parameter_gets_a_gradient(resolution: int, channels: int) -> None:
    G, D = Generator(7, channels, resolution, width=4), reader(resolution, channels)
    images = G(torch.randn(3, 7))
    assert images.shape == (3, channels, resolution, resolution)
    assert images.abs().max() <= 1
    read = D(images)
    assert {name: tuple(out.shape) for name, out in read.items()} == {"D": (3, 1), "C": (3, 1), "z": (3, 5), "s": (3, 2)}
    sum(out.sum() for out in read.values()).backward()
    for net in (G, D):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_generator_is_table_4() -> None:
    G = Generator(100, 3, 64)
    layers = [m for m in G.modules() if isinstance(m, nn.ConvTranspose2d | nn.BatchNorm2d | nn.ReLU | nn.Tanh)]
    conv = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0]) for m in layers[::3]]
    assert conv == [(100, 512, 4, 1, 0), (512, 256, 4, 2, 1), (256, 128, 4, 2, 1), (128, 64, 4, 2, 1), (64, 3, 4, 2, 1)]
    assert [type(m).__name__ for m in layers] == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 4 + ["ConvTranspose2d", "Tanh"]
    assert all(m.bias is None for m in layers[::3])
    assert sum(p.numel() for p in G.parameters()) == 3_576_704  # 3.58 M


def test_reader_is_table_4() -> None:
    D = Reader(Trunk(3, 64), {"D": 1, "C": 1, "z": 64, "s": 36})
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU, GaussianNoise)
    trunk = [type(m).__name__ for m in D.trunk.modules() if isinstance(m, kinds)]
    stage = ["GaussianNoise", "Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert trunk == ["GaussianNoise", "Conv2d", "LeakyReLU", *stage * 3]
    convs = [m for m in D.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.stride[0]) for m in convs[:4]] == [
        (3, 64, 2),
        (64, 128, 2),
        (128, 256, 2),
        (256, 512, 2),
    ]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.padding[0]) for m in convs[4:]] == [
        (512, 1, 4, 0), (512, 1, 4, 0), (512, 64, 4, 0), (512, 36, 4, 0)
    ]  # fmt: skip
    assert all(m.bias is None for m in convs)
    assert all(m.std == 0.2 for m in D.modules() if isinstance(m, GaussianNoise))
    assert all(m.negative_slope == 0.2 for m in D.modules() if isinstance(m, nn.LeakyReLU))
    noise = [m for m in D.modules() if isinstance(m, GaussianNoise)]
    assert len(noise) == 8  # at the image, before three more layers, before four heads
    assert (
        sum(p.numel() for p in D.parameters()) == 3_072 + 131_072 + 524_288 + 2_097_152 + 2 * (128 + 256 + 512) + 512 * 16 * 102
    )


def test_initialisation_is_dcgans() -> None:
    torch.manual_seed(1)
    for net in (Generator(100, 3, 64), Reader(Trunk(3, 64), {"z": 64})):
        for m in net.modules():
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
                assert m.weight.std().item() == pytest.approx(0.02, rel=0.06)
                assert abs(m.weight.mean().item()) < 1e-3
            if isinstance(m, nn.BatchNorm2d):
                assert torch.equal(m.weight, torch.ones_like(m.weight))


@pytest.mark.parametrize("resolution", [0, 1, 5, 13, 33, 44, 100])
def test_impossible_resolutions_are_refused_with_the_nearest(resolution: int) -> None:
    with pytest.raises(ValueError, match=r"b = 3\.\.7") as caught:
        stages(resolution, 64)
    nearest = [int(word.strip(",")) for word in str(caught.value).split("are: ")[1].split()]
    assert all(stages(side, 64) for side in nearest)


def test_stages_prefer_a_base_of_four_and_stop_widening_at_eight_times() -> None:
    assert stages(64, 64) == (4, (64, 128, 256, 512))
    assert stages(128, 64) == (4, (64, 128, 256, 512, 512))  # Table 5
    assert stages(28, 8) == (7, (8, 16))
    assert stages(96, 8) == (3, (8, 16, 32, 64, 64))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_noise_has_its_std_while_training_and_is_off_in_eval(layout: torch.memory_format) -> None:
    noise, x = GaussianNoise(0.2), torch.zeros(16, 8, 16, 16).contiguous(memory_format=layout)
    added = noise(x)
    assert added.std().item() == pytest.approx(0.2, rel=0.03)
    assert abs(added.mean().item()) < 0.005
    assert added.stride() == x.stride()
    assert not torch.equal(noise(x), added)
    noise.eval()
    assert noise(x) is x


def test_eval_mode_reaches_every_noise_and_norm() -> None:
    # Peers' trap 1: the parent in eval mode while noise and batch normalisation below it still train.
    D = reader().eval()
    assert not any(m.training for m in D.modules())
    x = torch.randn(4, 1, 32, 32)
    first, second = D(x), D(x)
    assert all(torch.equal(first[name], second[name]) for name in first)
    D.train()
    assert not torch.equal(D(x)["z"], D(x)["z"])


def test_eval_does_not_depend_on_the_batch_but_training_does() -> None:
    D = reader(noise=0.0)
    x = torch.randn(6, 1, 32, 32)
    D.eval()
    torch.testing.assert_close(D(x)["z"][:2], D(x[:2])["z"])
    D.train()
    assert (D(x)["z"][:2] - D(x[:2])["z"]).abs().max() > 1e-4


def test_untracked_normalises_by_the_batch_and_learns_nothing() -> None:
    D = reader(noise=0.0)
    x = torch.randn(6, 1, 32, 32) * 3 + 1
    before = {k: v.clone() for k, v in D.named_buffers()}
    with untracked(D):
        inside = D(x)["z"]
    assert all(torch.equal(v, before[k]) for k, v in D.named_buffers())
    torch.testing.assert_close(D(x)["z"], inside)
    assert all(not torch.equal(v, before[k]) for k, v in D.named_buffers())
    with untracked(D, but=[D.trunk.halvings[1]]):
        moved = {k: v.clone() for k, v in D.named_buffers()}
        D(x)
    changed = {k for k, v in D.named_buffers() if not torch.equal(v, moved[k])}
    assert changed
    assert all(k.startswith("trunk.halvings.1.") for k in changed)
