"""The nets of Table 4 of Carton et al. (2024) for images, volumes and vectors."""

import pytest
import torch
from support.architectures import count, headed_trunk
from torch import Tensor, nn

from nets import GaussianNoise, Generator, HeadedTrunk, Trunk

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (4, 48, 48), (3, 64, 64), (1, 96, 96), (1, 128, 128)]

SHAPES = [*IMAGES, (1, 16, 16, 16), (2, 32, 32, 32), (7,), (77,), (2000,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nets_of_every_shape_pass_a_gradient_to_every_parameter(shape: tuple[int, ...]) -> None:
    G, D = Generator(7, shape, width=4), headed_trunk(shape)
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
    assert sum(p.numel() for p in G.parameters()) == 3_576_704


def test_headed_trunk_is_table_4() -> None:
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
def test_nets_have_the_initial_weights_of_dcgan(shape: tuple[int, ...]) -> None:
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


def test_nets_of_volumes_and_vectors_have_the_parameters_counted_by_hand() -> None:
    # 16^3 = 4 * 2^2: stages of 8 and 16 channels, kernels of 4^3 = 64 numbers, and the gain and
    # shift of batch normalisation.
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


def draw_weights(layers: list[nn.Module]) -> list[Tensor]:
    """Draws DCGAN's initial weights for layers, in order of their construction."""
    return [
        nn.init.normal_(m.weight, 0.0, 0.02) for m in layers if not isinstance(m, nn.BatchNorm2d)
    ]


def test_nets_of_images_keep_their_names_and_initial_weights() -> None:
    # Runs of earlier versions must reopen, and a seed must give the same results as before.
    torch.manual_seed(3)
    G, D = Generator(6, (1, 16, 16), width=4), headed_trunk((1, 16, 16))
    torch.manual_seed(3)
    layers = [nn.ConvTranspose2d(6, 8, 4, bias=False), nn.ConvTranspose2d(8, 4, 4, bias=False)]
    generator = draw_weights([*layers, nn.ConvTranspose2d(4, 1, 4, bias=False)])
    trunk = draw_weights([nn.Conv2d(1, 4, 4, bias=False), nn.Conv2d(4, 8, 4, bias=False)])
    heads = draw_weights([nn.Conv2d(8, outputs, 4, bias=False) for outputs in (1, 1, 5, 2)])
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
