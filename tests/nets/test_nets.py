"""Generator, trunk, reader: shapes, parameters and layers of Table 4; images, volumes, vectors; noise; statistics."""

import re

import pytest
import torch
from torch import Tensor, nn

from nets import (
    GaussianNoise,
    Generator,
    HeadedTrunk,
    Trunk,
    frozen_statistics,
    memory_format,
    plan_stages,
)

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (4, 48, 48), (3, 64, 64), (1, 96, 96), (1, 128, 128)]
SHAPES = [*IMAGES, (1, 16, 16, 16), (2, 32, 32, 32), (7,), (77,), (2000,)]


def reader(shape: tuple[int, ...] = (1, 32, 32), width: int = 4, noise: float = 0.2) -> HeadedTrunk:
    return HeadedTrunk(Trunk(shape, width, noise), {"D": 1, "C": 1, "z": 5, "s": 2})


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_and_every_parameter_gets_a_gradient(shape: tuple[int, ...]) -> None:
    G, D = Generator(7, shape, width=4), reader(shape)
    images = G(torch.randn(3, 7))
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    read = D(images)
    assert {name: tuple(out.shape) for name, out in read.items()} == {
        "D": (3, 1),
        "C": (3, 1),
        "z": (3, 5),
        "s": (3, 2),
    }
    sum(out.sum() for out in read.values()).backward()
    for net in (G, D):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_generator_is_table_4() -> None:
    G = Generator(100, (3, 64, 64))
    layers = [
        m
        for m in G.modules()
        if isinstance(m, nn.ConvTranspose2d | nn.BatchNorm2d | nn.ReLU | nn.Tanh)
    ]
    conv = [
        (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0])
        for m in layers[::3]
    ]
    assert conv == [
        (100, 512, 4, 1, 0),
        (512, 256, 4, 2, 1),
        (256, 128, 4, 2, 1),
        (128, 64, 4, 2, 1),
        (64, 3, 4, 2, 1),
    ]
    assert [type(m).__name__ for m in layers] == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 4 + [
        "ConvTranspose2d",
        "Tanh",
    ]
    assert all(m.bias is None for m in layers[::3])
    assert sum(p.numel() for p in G.parameters()) == 3_576_704  # 3.58 M


def test_reader_is_table_4() -> None:
    D = HeadedTrunk(Trunk((3, 64, 64)), {"D": 1, "C": 1, "z": 64, "s": 36})
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
        (512, 1, 4, 0),
        (512, 1, 4, 0),
        (512, 64, 4, 0),
        (512, 36, 4, 0),
    ]
    assert all(m.bias is None for m in convs)
    assert all(m.std == 0.2 for m in D.modules() if isinstance(m, GaussianNoise))
    assert all(m.negative_slope == 0.2 for m in D.modules() if isinstance(m, nn.LeakyReLU))
    noise = [m for m in D.modules() if isinstance(m, GaussianNoise)]
    assert len(noise) == 8  # at the image, before three more layers, before four heads
    assert (
        sum(p.numel() for p in D.parameters())
        == 3_072 + 131_072 + 524_288 + 2_097_152 + 2 * (128 + 256 + 512) + 512 * 16 * 102
    )


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 16, 16, 16), (77,)], ids=str)
def test_initialisation_is_dcgans(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    for net in (Generator(100, shape), HeadedTrunk(Trunk(shape), {"z": 64})):
        for m in net.modules():
            if isinstance(
                m, nn.Conv2d | nn.ConvTranspose2d | nn.Conv3d | nn.ConvTranspose3d | nn.Linear
            ):
                assert m.weight.std().item() == pytest.approx(0.02, rel=0.06)
                assert abs(m.weight.mean().item()) < 1e-3
            if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                assert torch.equal(m.weight, torch.ones_like(m.weight))


@pytest.mark.parametrize("resolution", [1, 5, 13, 33, 44, 100])
def test_impossible_resolutions_are_refused_with_the_nearest(resolution: int) -> None:
    with pytest.raises(ValueError, match=r"b = 3\.\.7") as caught:
        plan_stages((1, resolution, resolution), 64)
    nearest = [int(word.strip(",")) for word in str(caught.value).split("valid: ")[1].split()]
    assert all(
        plan_stages((1, side, side), 64) and plan_stages((1, side, side, side), 64)
        for side in nearest
    )


def test_stages_prefer_a_base_of_four_and_stop_widening_at_eight_times() -> None:
    assert plan_stages((3, 64, 64), 64) == (4, (64, 128, 256, 512))
    assert (
        plan_stages((1, 128, 128), 64)
        == plan_stages((1, 128, 128, 128), 64)
        == (4, (64, 128, 256, 512, 512))
    )  # Table 5
    assert plan_stages((1, 28, 28), 8) == (7, (8, 16))
    assert plan_stages((1, 96, 96), 8) == (3, (8, 16, 32, 64, 64))
    assert plan_stages((77,), 8) == (1, (64, 64))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 32, 16), "images must be square, found 32 x 16"),
        ((1, 32, 32, 16), "volumes must be cubes, found 32 x 32 x 16"),
        ((1, 0, 0), "found shape (1, 0, 0), expected (C, H, W), (C, D, H, W) or (F,)"),
        ((32, 32), "found shape (32, 32), expected"),
        ((1, 2, 8, 8, 8), "expected (C, H, W)"),
    ],
)
def test_other_shapes_are_refused_by_name(shape: tuple[int, ...], expected: str) -> None:
    for make in (lambda: Generator(3, shape, 4), lambda: Trunk(shape, 4)):
        with pytest.raises(ValueError, match=re.escape(expected)):
            make()


def test_volumes_and_vectors_have_the_parameters_that_one_counts_by_hand() -> None:
    # 16^3 = 4 * 2^2: stages of 8 and 16 channels, kernels of 4^3 = 64 numbers, batch norm's gain and shift.
    assert count(Trunk((2, 16, 16, 16), 8)) == 64 * (2 * 8 + 8 * 16) + 2 * 16
    assert count(Generator(5, (2, 16, 16, 16), 8)) == 64 * (5 * 16 + 16 * 8 + 8 * 2) + 2 * (16 + 8)
    assert (
        count(HeadedTrunk(Trunk((2, 16, 16, 16), 8), {"z": 3}))
        == count(Trunk((2, 16, 16, 16), 8)) + 64 * 16 * 3
    )
    # Vectors: two layers of 8 * 8 = 64.
    assert count(Trunk((77,), 8)) == 77 * 64 + 64 * 64 + 2 * 64
    assert count(Generator(5, (77,), 8)) == 5 * 64 + 64 * 64 + 64 * 77 + 2 * (64 + 64)
    assert count(HeadedTrunk(Trunk((77,), 8), {"z": 3})) == count(Trunk((77,), 8)) + 64 * 3


def redrawn(layers: list[nn.Module]) -> list[Tensor]:
    """DCGAN's initialisation over layers in the order in which they were made."""
    return [
        nn.init.normal_(m.weight, 0.0, 0.02) for m in layers if not isinstance(m, nn.BatchNorm2d)
    ]


def test_names_and_first_weights_of_two_dimensional_nets_never_change() -> None:
    # Runs of every earlier version reopen, and measured figures stay what the same seed gives.
    torch.manual_seed(3)
    G, D = Generator(6, (1, 16, 16), width=4), reader((1, 16, 16))
    torch.manual_seed(3)
    made = [nn.ConvTranspose2d(6, 8, 4, bias=False), nn.ConvTranspose2d(8, 4, 4, bias=False)]
    generator = redrawn([*made, nn.ConvTranspose2d(4, 1, 4, bias=False)])
    trunk = redrawn([nn.Conv2d(1, 4, 4, bias=False), nn.Conv2d(4, 8, 4, bias=False)])
    heads = redrawn([nn.Conv2d(8, outputs, 4, bias=False) for outputs in (1, 1, 5, 2)])
    names = ["first.0", "doublings.0.0", "last.0"]
    expected = {f"{name}.weight": weight for name, weight in zip(names, generator, strict=True)}
    found = {name: p for name, p in G.named_parameters() if p.ndim == 4}
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    names = ["trunk.halvings.0.1", "trunk.halvings.1.1", *(f"heads.{head}.1" for head in "DCzs")]
    expected = {
        f"{name}.weight": weight for name, weight in zip(names, [*trunk, *heads], strict=True)
    }
    found = {name: p for name, p in D.named_parameters() if p.ndim == 4}
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    norms = {
        name.rsplit(".", 1)[0]
        for net in (G, D)
        for name in net.state_dict()
        if "running_mean" in name
    }
    assert norms == {"first.1", "doublings.0.1", "trunk.halvings.1.2"}


@pytest.mark.parametrize("shape", [(64, 16, 16), (8, 16, 16), (8, 16, 16, 8), (2000,)], ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_noise_has_its_std_while_training_and_is_off_in_eval(
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


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 16, 16, 16), (9,)], ids=str)
def test_untracked_normalises_by_the_batch_and_learns_nothing(shape: tuple[int, ...]) -> None:
    D = reader(shape, noise=0.0)
    x = torch.randn(6, *shape) * 3 + 1
    before = {k: v.clone() for k, v in D.named_buffers()}
    with frozen_statistics(D):
        inside = D(x)["z"]
    assert all(torch.equal(v, before[k]) for k, v in D.named_buffers())
    torch.testing.assert_close(D(x)["z"], inside)
    assert all(not torch.equal(v, before[k]) for k, v in D.named_buffers())
    with frozen_statistics(D, except_for=[D.trunk.halvings[1]]):
        moved = {k: v.clone() for k, v in D.named_buffers()}
        D(x)
    changed = {k for k, v in D.named_buffers() if not torch.equal(v, moved[k])}
    assert changed
    assert all(k.startswith("trunk.halvings.1.") for k in changed)
