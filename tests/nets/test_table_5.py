"""The nets of Table 5 of Carton et al. (2024)."""

import re

import pytest
import torch
from support.architectures import count, spectral_trunk
from torch import nn

from nets import (
    GaussianNoise,
    Generator,
    HeadedTrunk,
    Trunk,
    build_decoder,
    build_encoder,
    check_nets,
)
from studio.build import build_method
from studio.config import resolve
from studio.errors import StudioError
from studio.schema import NetsConfig

TABLE_5 = NetsConfig(norm="spectral", upsample="nearest", attention=32)

HEADS = {"D": 1, "C": 1, "z": 95, "s": 15}


def test_preset_carton_128_is_table_5() -> None:
    raw = {"data": {"name": "digits"}, "nets": {"preset": "carton_128"}, "method": {"name": "dig"}}
    assert resolve(raw, "t", "t", ["data.resolution=64"]).nets == TABLE_5
    assert NetsConfig().width == 64


def test_generator_is_table_5() -> None:
    G = build_decoder(110, (1, 128, 128), TABLE_5)
    kinds = (nn.ConvTranspose2d, nn.Conv2d, nn.Upsample, nn.BatchNorm2d, nn.ReLU, nn.Tanh)
    # From side 8 on, one layer does the upsampling and the convolution.
    folded = {"UpsampledConv2d": ["Upsample", "Conv2d"]}
    rows = [
        name
        for part in (G.first, G.doublings, G.last)
        for m in part.modules()
        if isinstance(m, kinds)
        for name in folded.get(type(m).__name__, [type(m).__name__])
    ]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert rows == [
        "ConvTranspose2d",
        *(["Upsample", *block] * 4),
        *block,
        "Upsample",
        *block,
        "Conv2d",
        "Tanh",
    ]
    convs = [
        m for part in (G.doublings, G.last) for m in part.modules() if isinstance(m, nn.Conv2d)
    ]
    assert [m.out_channels for m in convs] == [1024, 512, 256, 256, 128, 64, 1]
    assert [m.bias is None for m in convs] == [True] * 6 + [False]
    layers = [(512, 1024), (1024, 512), (512, 256), (256, 256), (256, 128), (128, 64)]
    by_hand = 110 * 8192 + sum(9 * a * b + 2 * b for a, b in layers) + 9 * 64 + 1
    assert count(G.attention) == 2 * 256 * 32 + 2 * 256 * 128 + 1
    assert count(G) == by_hand + count(G.attention) == 12_563_394


def test_generator_starts_with_the_linear_layer_of_table_5() -> None:
    G = Generator(7, (1, 32, 32), 4, upsample="nearest")
    code = torch.randn(3, 7)
    expected = (code @ G.first[0].weight.flatten(1)).unflatten(1, (16, 4, 4))  # 4 widths at 32 px
    assert len(G.first) == 1
    torch.testing.assert_close(G.first(code[..., None, None]), expected)


def test_headed_trunk_is_table_5() -> None:
    D = build_encoder(
        (1, 128, 128), HEADS, TABLE_5, 0.2, without_bottleneck=("D", "C"), unnormalised=("D", "C")
    )
    convs = [m for m in D.trunk.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in convs] == [
        (n, 4, 2) for n in (64, 128, 256, 512, 512)
    ]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in D.modules())
    trunk = sum(16 * a * b + b for a, b in ((1, 64), (64, 128), (128, 256), (256, 512), (512, 512)))
    heads = 2 * 8193 + 2 * 8192 * 128 + 129 * 95 + 129 * 15
    assert count(D) == trunk + heads == 9_077_040
    normalised = {
        name.split(".parametrizations")[0]
        for name, _ in D.named_parameters()
        if "parametrizations" in name
    }
    ends = {f"heads.{name}.{number}" for name in "zs" for number in (1, 5)}
    assert normalised == {f"trunk.halvings.{i}.1" for i in range(5)} | ends
    noise = [m for m in D.modules() if isinstance(m, GaussianNoise)]
    assert [m.std for m in noise] == [0.2] * (5 + 2 + 2 * 2)
    assert not isinstance(D.heads["z"][-2], nn.LeakyReLU)
    assert D(torch.randn(2, 1, 128, 128))["z"].min() < 0 < D(torch.randn(2, 1, 128, 128))["z"].max()


def test_net_of_the_contrastive_regulariser_is_that_of_the_authors() -> None:
    method = {"name": "dig", "z": 95, "s": 15, "weights": {"cr": 1.0}}
    config = resolve({"data": {"name": "digits"}, "method": method}, "t", "t").model_copy(
        update={"nets": TABLE_5}
    )
    H = build_method(config, (1, 128, 128)).H
    trunk = sum(16 * a * b + b for a, b in ((2, 64), (64, 128), (128, 256), (256, 512), (512, 512)))
    assert count(H) == trunk + 8192 * 128 + 129 * 15
    last = H.heads["k"][-2]
    assert isinstance(last, nn.Linear)
    assert not nn.utils.parametrize.is_parametrized(last)  # because logits have no bounds
    assert [m.std for m in H.modules() if isinstance(m, GaussianNoise)] == [0.1] * 5 + [0, 0]


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 24, 24), (1, 64, 64), (1, 256, 256), (2, 16, 16, 16)], ids=str
)
def test_nets_of_other_sizes_pass_a_gradient_to_every_parameter(
    shape: tuple[int, ...],
) -> None:
    attention = {8: 0, 24: 12, 64: 32, 256: 32, 16: 8}[shape[1]]
    G = Generator(5, shape, 4, upsample="nearest", attention=attention)
    D = spectral_trunk(shape)
    if attention:
        # With a gain of 0 the other weights of the block would get no gradient.
        nn.init.ones_(G.attention.gain)
    images = G(torch.randn(3, 5))
    assert images.shape == (3, *shape)
    sum(out.square().sum() for out in D(images).values()).backward()
    for net in (G, D):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def build_fault(nets: dict, resolution: int = 32) -> str:
    raw = {
        "data": {"name": "digits", "resolution": resolution},
        "nets": nets,
        "method": {"name": "dig"},
    }
    with pytest.raises(StudioError) as caught:
        build_method(resolve(raw, "x", "x.yaml"), (1, resolution, resolution))
    return str(caught.value)


@pytest.mark.parametrize(
    ("nets", "expected"),
    [
        (
            {"attention": 32},
            "attention: found 32, expected a side of the generator's feature maps for images of "
            "side 32: 8, 16",
        ),
        ({"attention": 12, "upsample": "nearest"}, "images of side 32: 8, 16"),
        ({"norm": "spectal"}, "did you mean 'spectral'"),
        ({"upsample": "bilinear"}, "expected 'transposed' or 'nearest'"),
        (
            {"norm": "spectral", "head": [{"linear": 8}]},
            "head: norm: spectral brings the heads of Table 5",
        ),
        (
            {"norm": "spectral", "encoder": [{"flatten": True}]},
            "encoder: a list of layers names its own norm",
        ),
        (
            {"attention": 16, "decoder": [{"linear": "image"}]},
            "decoder: a list of layers has no attention",
        ),
        (
            {"upsample": "nearest", "decoder": [{"linear": "image"}]},
            "decoder: a list of layers has no upsample",
        ),
        ({"attention": -1}, "nets.attention: found -1"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(nets: dict, expected: str) -> None:
    assert expected in build_fault(nets)


def test_vectors_refuse_upsampling_and_attention() -> None:
    for options in ({"upsample": "nearest"}, {"attention": 8}):
        with pytest.raises(
            ValueError,
            match=re.escape("attention and upsample need images or volumes, found vectors"),
        ):
            check_nets((77,), NetsConfig(**options), 5)
    check_nets((77,), NetsConfig(norm="spectral"), 5)
    assert HeadedTrunk(Trunk((77,), 4, norm="spectral"), {"z": 2})(torch.randn(3, 77))[
        "z"
    ].shape == (
        3,
        2,
    )
