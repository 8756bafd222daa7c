"""Nets as configured: biases, output scale, initial weights, and training on every kind of data."""

from math import prod

import pytest
import torch
from support.architectures import FULLY_CONNECTED, fault, section
from support.experiments import tiny
from support.shapes import Blobs
from torch import nn

from nets import build_decoder, build_encoder, memory_format
from studio.build import build_dataset, build_method
from studio.config import resolve
from studio.method import Code
from studio.schema import NetsConfig
from studio.training.engine import Engine


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
def test_zero_bias_refuses_layers_that_shift(change: dict, expected: str) -> None:
    assert section(**FULLY_CONNECTED, zero_bias=True).zero_bias
    assert expected in fault(**FULLY_CONNECTED | {"zero_bias": True} | change)


@pytest.mark.parametrize("zero_bias", [True, False])
def test_zero_bias_decodes_zeros_to_black_after_training(zero_bias: bool) -> None:
    raw = tiny().model_dump(mode="json") | {
        "nets": FULLY_CONNECTED | {"head": [{"linear": 8, "act": "relu"}], "zero_bias": zero_bias}
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
def test_outputs_are_converted_from_the_scale_0_1(listed: bool) -> None:
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
        images, v = G(code), v.reshape(5, 1, 8, 8)
        expected = {"tanh": v.tanh(), "sigmoid": 2 * v.sigmoid() - 1, "linear": 2 * v - 1}[output]
        torch.testing.assert_close(images, expected)


def test_listed_encoder_gets_the_scale_of_its_decoder() -> None:
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    for output, read in (("tanh", x), ("sigmoid", (x + 1) / 2), ("linear", (x + 1) / 2)):
        E = build_encoder((1, 8, 8), {"z": 3}, section(encoder=[], output=output))
        torch.testing.assert_close(E.trunk(x), read.flatten(1))


def test_initial_weights_follow_the_architecture_or_the_config() -> None:
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
            # PyTorch's weights are uniform within 1 / sqrt(inputs).
            own = (1 / prod(weight.shape[1:]) / 3) ** 0.5
            assert weight.std().item() == pytest.approx(std or own, rel=0.1)
        biases = [m.bias for m in E.modules() if isinstance(m, nn.Linear) and m.bias is not None]
        assert bool(biases) == lists
        assert all((not bias.any()) == bool(std) for bias in biases)


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 16, 16, 16), (77,)], ids=str)
@pytest.mark.parametrize("variant", ["dig", "dig+cr", "dig+cr, listed"])
def test_double_infogan_trains_on_images_volumes_and_vectors(
    shape: tuple[int, ...], variant: str
) -> None:
    config = tiny(variant.removesuffix(", listed"))
    if "listed" in variant:
        config = config.model_copy(update={"nets": NetsConfig(**FULLY_CONNECTED)})
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


def test_memory_format_is_channels_last_for_images_and_volumes() -> None:
    assert memory_format((1, 8, 8)) is torch.channels_last
    assert memory_format((1, 8, 8, 8)) is torch.channels_last_3d
    assert memory_format((8,)) is torch.contiguous_format
    method = build_method(tiny(), (1, 16, 16, 16))
    assert method.G.doublings[0][0].weight.is_contiguous(memory_format=torch.channels_last_3d)
