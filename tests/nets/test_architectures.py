"""Layer lists: what they build and what they refuse; Double InfoGAN and its engine on images, volumes and vectors."""

import re
from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support.architectures import RAW, conv, count, fault, section
from support.experiments import tiny
from torch import Tensor, nn

import nets.layers
from nets import build_decoder, build_encoder, check_nets, memory_format
from nets.layers import trace_shapes
from studio.build import build_dataset, build_method
from studio.config import resolve
from studio.data import DataConfig, Dataset
from studio.errors import StudioError
from studio.method import Code
from studio.schema import Layer, NetsConfig
from studio.training.engine import Engine
from studio.training.session import train


def misfit(shape: tuple[int, ...], latents: int = 7, **fields: object) -> str:
    """The error of a list that is right in itself; building and checking give the same."""
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
def test_shapes_are_followed_as_torch_makes_them(
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


def test_every_word_builds_what_it_says() -> None:
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
    # The same words make volumes; only the map to unflatten needs its third side.
    volumes = fields | {
        "decoder": [{"linear": 24}, {"unflatten": [3, 2, 2, 2]}, *fields["decoder"][2:]]
    }
    shape = (1, 8, 8, 8)
    images = build_decoder(5, shape, section(**volumes))(torch.randn(4, 5))
    assert images.shape == (4, *shape)
    assert build_encoder(shape, {"z": 3}, section(**volumes))(images)["z"].shape == (4, 3)


def test_the_documented_example_fits_64_pixels() -> None:
    text = nets.layers.__doc__.split("64 px:\n")[1]
    fields = yaml.safe_load(text)["nets"]
    check_nets((3, 64, 64), section(**fields), 32)


def test_an_empty_encoder_reads_the_image_itself_and_lists_may_stand_beside_the_default() -> None:
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
            "encoder.0.conv: found 0, expected a number of at least 1, or image",
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
def test_a_faulty_layer_is_named_with_its_number(layer: dict, expected: str) -> None:
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
            "encoder.1 (unflatten [3, 4, 4]): (3, 4, 4) has 48 numbers, but the input is a vector of 64",
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
def test_a_list_that_does_not_fit_names_the_layer_and_both_shapes(
    shape: tuple[int, ...], fields: dict, expected: str
) -> None:
    assert expected in misfit(shape, **fields)


def test_what_does_not_fit_is_one_error_before_any_training() -> None:
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


FULLY = {
    "encoder": [{"flatten": True}, {"linear": 16, "act": "relu"}],
    "decoder": [{"linear": 16, "act": "relu"}, {"linear": "image"}],
    "output": "linear",
}


def test_listed_layers_need_no_special_resolution() -> None:
    raw = {
        "data": {"name": "folders", "root": "nowhere", "resolution": 33},
        "method": {"name": "dig"},
    }
    with pytest.raises(StudioError, match="resolution 33 is not"):
        resolve(raw, "x", "x")
    nets = resolve(raw | {"nets": FULLY}, "x", "x").nets
    assert build_decoder(4, (1, 33, 33), nets)(torch.zeros(2, 4)).shape == (2, 1, 33, 33)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"output": "sigmoid"}, "zero_bias needs output: linear, found sigmoid"),
        ({"decoder": None}, "zero_bias needs decoder as a list of layers"),
        (
            {"encoder": [{"flatten": True}, {"linear": 3, "norm": "batch"}]},
            "encoder.1: zero_bias allows no norm",
        ),
        ({"head": [{"linear": 3, "act": "sigmoid"}]}, "head.0: zero_bias allows no act: sigmoid"),
    ],
)
def test_zero_bias_refuses_whatever_shifts(change: dict, expected: str) -> None:
    assert section(**FULLY, zero_bias=True).zero_bias
    assert expected in fault(**FULLY | {"zero_bias": True} | change)


def test_other_rules_of_the_section() -> None:
    assert "head.0: expected linear" in fault(head=[CONV])
    ends = [{"linear": "image", "act": "sigmoid"}]
    assert "decoder.0: the last activation is nets.output, found act: sigmoid" in fault(
        decoder=ends
    )


@pytest.mark.parametrize("zero_bias", [True, False])
def test_without_biases_nothing_is_exactly_black_also_after_training(zero_bias: bool) -> None:
    raw = tiny().model_dump(mode="json") | {
        "nets": FULLY | {"head": [{"linear": 8, "act": "relu"}], "zero_bias": zero_bias}
    }
    config = resolve(raw, "x", "x")
    engine = Engine(config, build_dataset(config))
    for iteration in range(3):
        engine.advance(engine.pairs[iteration])
    method = engine.method.eval()
    image = method.decode(Code(torch.zeros(2, 4), torch.zeros(2, 3)))
    code = method.encode(torch.full((2, 1, 32, 32), -1.0))
    assert (image == -1).all() == zero_bias
    assert (not code.z.any() and not code.s.any()) == zero_bias
    assert any(name.endswith("bias") for name, _ in method.named_parameters()) != zero_bias
    assert method.decode(Code(torch.randn(2, 4), torch.randn(2, 3))).std() > 0


@pytest.mark.parametrize("listed", [False, True])
def test_outputs_on_the_papers_scale(listed: bool) -> None:
    for output in ("tanh", "sigmoid", "linear"):
        torch.manual_seed(0)
        G = build_decoder(
            3,
            (1, 8, 8),
            section(
                width=4, output=output, **({"decoder": [{"linear": "image"}]} if listed else {})
            ),
        )
        code = torch.randn(5, 3)
        v = (
            G.layers(code)
            if listed
            else G.eval().last[0](G.doublings(G.first(code[:, :, None, None])))
        )
        made, v = G(code), v.reshape(5, 1, 8, 8)
        expected = {"tanh": v.tanh(), "sigmoid": 2 * v.sigmoid() - 1, "linear": 2 * v - 1}[output]
        torch.testing.assert_close(made, expected)


def test_listed_encoders_read_the_scale_that_their_decoder_writes() -> None:
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    for output, read in (("tanh", x), ("sigmoid", (x + 1) / 2), ("linear", (x + 1) / 2)):
        E = build_encoder((1, 8, 8), {"z": 3}, section(encoder=[], output=output))
        torch.testing.assert_close(E.trunk(x), read.flatten(1))


def test_initialisation_is_the_family_of_the_net_unless_the_config_says_otherwise() -> None:
    wide = [{"flatten": True}, {"linear": 256}]
    for init, lists, std in (
        ("auto", True, None),
        ("dcgan", True, 0.02),
        ("auto", False, 0.02),
        ("torch", False, None),
    ):
        E = build_encoder(
            (1, 32, 32),
            {"z": 64},
            section(init=init, width=32, **({"encoder": wide} if lists else {})),
        )
        weights = [p for p in E.parameters() if p.ndim > 1]
        for weight in weights:
            own = (1 / prod(weight.shape[1:]) / 3) ** 0.5  # torch: uniform within 1 / sqrt(inputs)
            assert weight.std().item() == pytest.approx(std or own, rel=0.1)
        biases = [m.bias for m in E.modules() if isinstance(m, nn.Linear) and m.bias is not None]
        assert bool(biases) == lists
        assert all((not bias.any()) == bool(std) for bias in biases)


class Blobs(Dataset):
    """Random images of any shape, brighter in the target."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(DataConfig(name="blobs", resolution=16))
        self.shape, self.attributes = shape, {}

    def size(self, split: str, domain: str) -> int:
        return 24

    def labels(self, split: str, domain: str) -> dict:
        return {}

    def images(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        rows = [
            np.random.default_rng([int(i), domain == "target"]).uniform(-1, 0, self.shape)
            for i in indices
        ]
        return torch.from_numpy(np.stack(rows)).float() + (domain == "target") * 0.5


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 16, 16, 16), (77,)], ids=str)
@pytest.mark.parametrize("variant", ["dig", "dig+cr", "dig+cr, listed"])
def test_double_infogan_trains_on_images_volumes_and_vectors(
    shape: tuple[int, ...], variant: str
) -> None:
    config = tiny(variant.removesuffix(", listed"))
    if "listed" in variant:
        config = config.model_copy(update={"nets": NetsConfig(**FULLY)})
    engine = Engine(config, Blobs(shape))
    before = {name: p.detach().clone() for name, p in engine.method.named_parameters()}
    for iteration in range(2):
        terms = engine.advance(engine.pairs[iteration])
        assert all(value.isfinite() for value in terms.values())
    assert all(not torch.equal(p, before[name]) for name, p in engine.method.named_parameters())
    method = engine.ema.method.eval()
    images = Blobs(shape).images("test", "target", range(3))
    assert method.decode(method.encode(images)).shape == images.shape
    maps = [p for p in method.parameters() if p.ndim == len(shape) + 1 > 2]
    assert all(p.is_contiguous(memory_format=memory_format(shape)) for p in maps)
    assert "listed" in variant or len(shape) == 1 or maps


def test_channels_last_is_that_of_the_shape() -> None:
    assert memory_format((1, 8, 8)) is torch.channels_last
    assert memory_format((1, 8, 8, 8)) is torch.channels_last_3d
    assert memory_format((8,)) is torch.contiguous_format
    method = build_method(tiny(), (1, 16, 16, 16))
    assert method.G.doublings[0][0].weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_noise_of_a_listed_discriminator_is_before_every_layer_and_off_in_eval() -> None:
    D = build_encoder(
        (1, 8, 8), {"D": 1, "z": 2}, section(**FULLY, head=[{"linear": 4}]), noise=0.2
    )
    noises = [name for name, m in D.named_modules() if type(m).__name__ == "GaussianNoise"]
    assert len(noises) == 1 + 2 * 2
    x = torch.randn(3, 1, 8, 8)
    assert not torch.equal(D(x)["z"], D(x)["z"])
    D.eval()
    assert torch.equal(D(x)["z"], D(x)["z"])
    quiet = build_encoder((1, 8, 8), {"D": 1}, section(**FULLY))
    assert not re.search("GaussianNoise", str(quiet.trunk))
