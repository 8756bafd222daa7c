"""Lists of layers: shapes, modules, and the lists that are refused."""

from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from support.architectures import FULLY_CONNECTED, RAW, conv, count, fault, section
from torch import nn

import nets.layers
from nets import build_decoder, build_encoder, check_nets
from nets.layers import trace_shapes
from studio.config import resolve
from studio.errors import StudioError
from studio.schema import Layer
from studio.training.session import train


def misfit(shape: tuple[int, ...], latents: int = 7, **fields: object) -> str:
    """Returns the error of a valid section that does not fit, from checking and from building."""
    nets = section(**fields)
    with pytest.raises(ValueError, match=r"\w") as caught:
        check_nets(shape, nets, latents)
    with pytest.raises(ValueError, match=r"\w") as built:
        build_encoder(shape, {"z": 4}, nets), build_decoder(latents, shape, nets)
    assert str(built.value) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "dims", "kernel", "stride", "padding"),
    list(product(["conv", "deconv"], [2, 3], [1, 3, 4, 5], [1, 2, 3], [0, 1])),
)
def test_trace_shapes_gives_the_shapes_of_torch(
    kind: str, dims: int, kernel: int, stride: int, padding: int
) -> None:
    extra = range(stride) if kind == "deconv" else [0]
    for side, output_padding in product([5, 6, 8], extra):
        options = {
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
            "output_padding": output_padding,
        }
        layer, shape = Layer(**{kind: 3}, **options), (2, *(side,) * dims)
        parts, after = nets.layers.build_layers("encoder", [layer], shape, dims)
        assert (
            parts[0](torch.zeros(2, *shape)).shape
            == (2, *after)
            == (2, *trace_shapes("encoder", [layer], shape, dims)[-1])
        )


def test_build_layers_builds_every_kind_of_layer() -> None:
    fields = {
        "encoder": [
            {"conv": 4, "kernel": 3, "padding": 1, "norm": "instance", "act": "tanh"},
            {"up": 2},
            {
                "conv": 6,
                "kernel": 4,
                "stride": 2,
                "padding": 1,
                "bias": "no",
                "norm": "batch",
                "act": "leaky",
                "slope": 0.1,
            },
            {
                "conv": 8,
                "kernel": 4,
                "stride": 2,
                "padding": 1,
                "norm": "channel",
                "act": "sigmoid",
            },
            {"pool": "average"},
            {"linear": 9, "norm": "batch", "act": "relu", "norm_after_act": "yes"},
        ],
        "head": [{"linear": 5, "act": "relu"}],
        "decoder": [
            {"linear": 12},
            {"unflatten": [3, 2, 2]},
            {"up": 2},
            {"deconv": "image", "kernel": 2, "stride": 2},
        ],
    }
    E = build_encoder((2, 8, 8), {"z": 3, "s": 2}, section(**fields))
    assert [
        type(m).__name__
        for part in E.trunk.layers
        for m in (part if isinstance(part, nn.Sequential) else [part])
    ] == [
        "Conv2d",
        "InstanceNorm2d",
        "Tanh",
        "Upsample",
        "Conv2d",
        "BatchNorm2d",
        "LeakyReLU",
        "Conv2d",
        "GroupNorm",
        "Sigmoid",
        "GlobalAveragePool",
        "Linear",
        "ReLU",
        "BatchNorm1d",
    ]
    assert E.trunk.layers[2].act.negative_slope == 0.1
    assert E.trunk.layers[2].conv.bias is None
    assert E.trunk.layers[3].norm.num_groups == 1
    convs = (
        conv(2, 4, 3, norm=True) + conv(4, 6, 4, bias=False, norm=True) + conv(6, 8, 4, norm=True)
    )
    assert count(E.trunk) == convs + 8 * 9 + 9 + 2 * 9
    assert count(E.heads) == 2 * (9 * 5 + 5) + 5 * (3 + 2) + 3 + 2
    x = torch.randn(4, 2, 8, 8)
    assert {name: out.shape for name, out in E(x).items()} == {"z": (4, 3), "s": (4, 2)}
    torch.testing.assert_close(E.trunk.layers[4](x), x.mean((2, 3)))
    assert build_decoder(5, (2, 8, 8), section(**fields))(torch.randn(4, 5)).shape == (4, 2, 8, 8)
    # The same lists build nets for volumes. Only the shape to unflatten needs a third side.
    volumes = fields | {
        "decoder": [{"linear": 24}, {"unflatten": [3, 2, 2, 2]}, *fields["decoder"][2:]]
    }
    shape = (1, 8, 8, 8)
    images = build_decoder(5, shape, section(**volumes))(torch.randn(4, 5))
    assert images.shape == (4, *shape)
    assert build_encoder(shape, {"z": 3}, section(**volumes))(images)["z"].shape == (4, 3)


def test_documented_example_fits_images_of_64_pixels() -> None:
    text = nets.layers.__doc__.split("64 px:\n")[1]
    fields = yaml.safe_load(text)["nets"]
    check_nets((3, 64, 64), section(**fields), 32)


def test_empty_list_reads_the_image_and_lists_mix_with_defaults() -> None:
    E = build_encoder((1, 8, 8), {"z": 3}, section(encoder=[]))
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(
        E(x)["z"], x.flatten(1) @ E.heads["z"][1].weight.T + E.heads["z"][1].bias
    )
    mixed = section(width=4, head=[{"linear": 6, "act": "relu"}])
    E = build_encoder((1, 8, 8), {"z": 3}, mixed)
    assert count(E.heads) == 4 * 16 * 6 + 6 + 6 * 3 + 3
    assert type(build_decoder(3, (1, 8, 8), mixed)).__name__ == "Generator"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ({}, "encoder.0: found none, expected exactly one of conv, deconv, linear"),
        (
            {"conv": 3, "linear": 4, "kernel": 3},
            "encoder.0: found conv and linear, expected exactly one",
        ),
        ({"conv": 3}, "encoder.0: conv needs a kernel"),
        ({"conv": 3, "kernal": 4}, "encoder.0.kernal: no such field; did you mean 'kernel'?"),
        (
            {"conv": 0, "kernel": 3},
            "encoder.0.conv: found 0, expected a whole number from 1 to 65,536, or image",
        ),
        ({"conv": "imgae", "kernel": 3}, "encoder.0.conv: found 'imgae', expected"),
        ({"conv": 3, "kernel": 3, "output_padding": 1}, "conv has no output_padding"),
        (
            {"deconv": 3, "kernel": 3, "output_padding": 1},
            "output_padding must be below the stride, found 1 and 1",
        ),
        ({"linear": 3, "kernel": 3, "stride": 2}, "linear has no kernel, stride"),
        ({"flatten": True, "act": "relu"}, "flatten has no act"),
        ({"up": 1}, "encoder.0.up: found 1"),
        ({"linear": 3, "act": "rellu"}, "encoder.0.act: found 'rellu'"),
        (
            {"linear": 3, "act": "relu", "slope": 0.1},
            "slope needs act: leaky, found act: relu",
        ),
        (
            {"linear": 3, "norm_after_act": True, "act": "relu"},
            "norm_after_act needs a norm and an act",
        ),
        ({"linear": 3, "norm": "instance"}, "norm: instance needs a map"),
        ({"unflatten": [3, 4]}, "encoder.0.unflatten"),
        ({"pool": "max"}, "encoder.0.pool: found 'max'"),
    ],
)
def test_faulty_layers_are_named_with_their_number(layer: dict, expected: str) -> None:
    message = fault(encoder=[layer])
    assert (
        f"nets.{expected}" in message
        if expected.startswith("encoder")
        else f"nets.encoder.0: {expected}" in message
    )


CONV = {"conv": 8, "kernel": 4, "stride": 2, "padding": 1}


@pytest.mark.parametrize(
    ("shape", "fields", "expected"),
    [
        (
            (1, 8, 8),
            {"encoder": [CONV, CONV, CONV, CONV]},
            "encoder.3 (conv 8): kernel 4 with padding 1 is larger than the map, (8, 1, 1)",
        ),
        (
            (1, 8, 8),
            {"encoder": [CONV, {"linear": 3}]},
            "encoder.1 (linear 3): needs a vector, found (8, 4, 4); flatten it first",
        ),
        (
            (1, 8, 8),
            {"encoder": [{"pool": "average"}, CONV]},
            "encoder.1 (conv 8): needs a map, found a vector of 1; unflatten it first",
        ),
        (
            (7,),
            {"encoder": [CONV]},
            "encoder.0 (conv 8): needs images or volumes, found vector data",
        ),
        (
            (7,),
            {"encoder": [{"unflatten": [7, 1, 1]}]},
            "encoder.0 (unflatten [7, 1, 1]): found 3 numbers, but vector data have no maps",
        ),
        (
            (1, 8, 8),
            {"encoder": [{"flatten": True}, {"unflatten": [3, 4, 4]}]},
            "encoder.1 (unflatten [3, 4, 4]): (3, 4, 4) has 48 numbers, "
            "but the input is a vector of 64",
        ),
        (
            (1, 8, 8, 8),
            {"encoder": [{"flatten": True}, {"unflatten": [8, 8, 8]}]},
            "found 3 numbers, expected 4 (channels and 3 sides)",
        ),
        (
            (1, 8, 8),
            {"encoder": [{"conv": "image", "kernel": 1}]},
            "found image, which only the last layer of a decoder may state",
        ),
        (
            (1, 8, 8),
            {"encoder": [{"conv": 3, "kernel": 8, "norm": "instance"}]},
            "more than one pixel per channel, found (3, 1, 1)",
        ),
        (
            (1, 8, 8),
            {"decoder": [{"deconv": 1, "kernel": 8}]},
            "decoder.0 (deconv 1): needs a map, found a vector of 7",
        ),
        (
            (3, 8, 8),
            {
                "decoder": [
                    {"linear": 4},
                    {"unflatten": [1, 2, 2]},
                    {"deconv": "image", "kernel": 2, "stride": 2},
                ]
            },
            "decoder.2 (deconv image): output is (3, 4, 4), expected the image's (3, 8, 8)",
        ),
        (
            (3, 8, 8),
            {"decoder": [{"linear": 64}]},
            "decoder.0 (linear 64): output is a vector of 64, expected the image's (3, 8, 8)",
        ),
        (
            (1, 8, 8),
            {"decoder": []},
            "decoder: output is a vector of 7, expected the image's (1, 8, 8)",
        ),
        (
            (1, 8, 8),
            {"decoder": [{"unflatten": [7, 1, 1]}, {"deconv": 3, "kernel": 2, "padding": 1}]},
            "decoder.1 (deconv 3): kernel 2 with padding 1 leaves nothing of (7, 1, 1)",
        ),
        ((1, 9, 9), {"encoder": [{"flatten": True}]}, "resolution 9 is not b * 2**k"),
    ],
)
def test_lists_that_do_not_fit_name_the_layer_and_both_shapes(
    shape: tuple[int, ...], fields: dict, expected: str
) -> None:
    assert expected in misfit(shape, **fields)


def test_lists_that_do_not_fit_are_one_error_before_training() -> None:
    fields = {
        "encoder": [*[CONV] * 5, {"conv": 8, "kernel": 4}],
        "decoder": [{"linear": 1}],
        "head": [{"linear": 3}],
    }
    config = resolve(RAW | {"nets": fields}, "x", "x")
    with pytest.raises(StudioError) as caught:
        train(config, Path("run"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "x: the nets do not fit images of shape (1, 32, 32)"
    assert (
        lines[1]
        == "  nets: encoder.5 (conv 8): kernel 4 with padding 0 is larger than the map, (8, 1, 1)"
    )
    assert lines[2].startswith("  nets: decoder.0 (linear 1): output is a vector of 1, expected")
    assert not Path("run").exists()


def test_lists_fit_any_resolution() -> None:
    raw = {
        "data": {"name": "folders", "root": "nowhere", "resolution": 33},
        "method": {"name": "dig"},
    }
    with pytest.raises(StudioError, match="resolution 33 is not"):
        resolve(raw, "x", "x")
    nets = resolve(raw | {"nets": FULLY_CONNECTED}, "x", "x").nets
    assert build_decoder(4, (1, 33, 33), nets)(torch.zeros(2, 4)).shape == (2, 1, 33, 33)


def test_section_refuses_wrong_heads_and_last_activations() -> None:
    assert "head.0: expected linear" in fault(head=[CONV])
    ends = [{"linear": "image", "act": "sigmoid"}]
    assert "decoder.0: the last activation is nets.output, found act: sigmoid" in fault(
        decoder=ends
    )
