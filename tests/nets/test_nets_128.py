"""The nets of Table 5: layers and parameters, spectral normalisation that rests where it must, self-attention, faults."""

import re
from pathlib import Path

import pytest
import torch
from support.steps import changed_names, changes_by_step, copy_state
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from nets import (
    GaussianNoise,
    Generator,
    HeadedTrunk,
    SelfAttention,
    Trunk,
    build_decoder,
    build_encoder,
    check_nets,
    frozen_statistics,
    power_iteration_,
)
from studio import Run
from studio.build import build_dataset, build_method
from studio.config import Config, resolve
from studio.errors import StudioError
from studio.methods import METHODS
from studio.schema import NetsConfig
from studio.training.ema import Ema
from studio.training.engine import Engine
from studio.training.session import train

TABLE_5 = NetsConfig(norm="spectral", upsample="nearest", attention=32)
HEADS = {"D": 1, "C": 1, "z": 95, "s": 15}
NETS = {"width": 4, "norm": "spectral", "upsample": "nearest", "attention": 16}


def small(name: str = "dig", **train_section: object) -> Config:
    """All nets of Table 5, CR included, in an experiment that takes a second."""
    method = {"name": name, "z": 4, "s": 3, **({"weights": {"cr": 1.0}} if name == "dig" else {})}
    section = {
        "images": 64,
        "batch": 16,
        "threads": 1,
        "grid_every": 0,
        "save_every": 0,
        **train_section,
    }
    return resolve(
        {
            "data": {"name": "digits", "resolution": 32},
            "nets": NETS,
            "method": method,
            "train": section,
        },
        "t",
        "t",
    )


def reader(width: int = 4, side: int = 32) -> HeadedTrunk:
    return HeadedTrunk(
        Trunk((1, side, side), width, norm="spectral"),
        {"D": 1, "z": 5},
        without_bottleneck="D",
        unnormalised="D",
    )


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def vectors(net: nn.Module) -> dict[str, Tensor]:
    """Left and right singular vectors, by name."""
    return {
        name: value.clone() for name, value in net.named_buffers() if name.endswith(("_u", "_v"))
    }


def largest(net: nn.Module) -> dict[str, float]:
    """The largest singular value of every weight that should have 1, computed exactly."""
    layers = [
        (name, m) for name, m in net.named_modules() if nn.utils.parametrize.is_parametrized(m)
    ]
    return {
        name: float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)) for name, m in layers
    }


# ---- Table 5 ----


def test_the_preset_is_table_5() -> None:
    raw = {"data": {"name": "digits"}, "nets": {"preset": "carton_128"}, "method": {"name": "dig"}}
    assert resolve(raw, "t", "t", ["data.resolution=64"]).nets == TABLE_5
    assert NetsConfig().width == 64


def test_generator_is_table_5() -> None:
    G = build_decoder(110, (1, 128, 128), TABLE_5)
    kinds = (nn.ConvTranspose2d, nn.Conv2d, nn.Upsample, nn.BatchNorm2d, nn.ReLU, nn.Tanh)
    rows = [
        type(m).__name__
        for part in (G.first, G.doublings, G.last)
        for m in part.modules()
        if isinstance(m, kinds)
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


def test_the_first_layer_is_the_linear_one_that_the_table_prints() -> None:
    G = Generator(7, (1, 32, 32), 4, upsample="nearest")
    code = torch.randn(3, 7)
    expected = (code @ G.first[0].weight.flatten(1)).unflatten(1, (16, 4, 4))  # 4 widths at 32 px
    assert len(G.first) == 1
    torch.testing.assert_close(G.first(code[..., None, None]), expected)


def test_attention_sees_the_map_of_the_side_that_was_asked_for() -> None:
    for upsample in ("transposed", "nearest"):
        for side in (8, 16, 32):
            seen = []
            G = Generator(5, (1, 64, 64), 4, upsample=upsample, attention=side)
            G.attention.register_forward_hook(
                lambda _, given, __, seen=seen: seen.append(given[0].shape[2:])
            )
            assert G(torch.randn(2, 5)).shape == (2, 1, 64, 64)
            assert seen == [(side, side)]


def test_reader_is_table_5() -> None:
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
    assert normalised == {f"trunk.halvings.{i}.1" for i in range(5)} | ends  # neither D's nor C's
    noise = [m for m in D.modules() if isinstance(m, GaussianNoise)]
    assert [m.std for m in noise] == [0.2] * (5 + 2 + 2 * 2)
    assert not isinstance(D.heads["z"][-2], nn.LeakyReLU)
    assert D(torch.randn(2, 1, 128, 128))["z"].min() < 0 < D(torch.randn(2, 1, 128, 128))["z"].max()


def test_the_net_of_the_contrastive_regulariser_is_that_of_the_authors_code() -> None:
    method = {"name": "dig", "z": 95, "s": 15, "weights": {"cr": 1.0}}
    config = resolve({"data": {"name": "digits"}, "method": method}, "t", "t").model_copy(
        update={"nets": TABLE_5}
    )
    H = build_method(config, (1, 128, 128)).H
    trunk = sum(16 * a * b + b for a, b in ((2, 64), (64, 128), (128, 256), (256, 512), (512, 512)))
    assert count(H) == trunk + 8192 * 128 + 129 * 15
    last = H.heads["k"][-2]
    assert isinstance(last, nn.Linear)
    assert not nn.utils.parametrize.is_parametrized(last)  # logits may be as large as they like
    assert [m.std for m in H.modules() if isinstance(m, GaussianNoise)] == [0.1] * 5 + [0, 0]


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 24, 24), (1, 64, 64), (1, 256, 256), (2, 16, 16, 16)], ids=str
)
def test_other_sizes_and_volumes_are_built_alike_and_every_parameter_gets_a_gradient(
    shape: tuple[int, ...],
) -> None:
    attention = {8: 0, 24: 12, 64: 32, 256: 32, 16: 8}[shape[1]]
    G = Generator(5, shape, 4, upsample="nearest", attention=attention)
    D = HeadedTrunk(
        Trunk(shape, 4, norm="spectral"), {"D": 1, "z": 5}, without_bottleneck="D", unnormalised="D"
    )
    if attention:
        nn.init.ones_(G.attention.gain)  # at 0 the block's other weights have no say
    images = G(torch.randn(3, 5))
    assert images.shape == (3, *shape)
    sum(out.square().sum() for out in D(images).values()).backward()
    for net in (G, D):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


# ---- self-attention ----


def test_attention_is_sagans_formula() -> None:
    block, x = SelfAttention(2, 16), torch.randn(2, 16, 6, 4)
    assert torch.equal(block(x), x)  # the gain starts at 0
    block.eval()
    nn.init.constant_(block.gain, 0.7)
    flat = x.flatten(2)
    query = block.query.weight[:, :, 0, 0] @ flat
    key, value = (max_pool2d(part(x), 2).flatten(2) for part in (block.key, block.value))
    beta = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # (B, 24, 6): over the keys
    assert beta.sum(2).allclose(torch.ones(2, 24))
    seen = block.out.weight[:, :, 0, 0] @ (value @ beta.transpose(1, 2))
    torch.testing.assert_close(block(x), (flat + 0.7 * seen).view_as(x))
    assert [
        tuple(m.weight.shape[:2]) for m in (block.query, block.key, block.value, block.out)
    ] == [(2, 16), (2, 16), (8, 16), (16, 8)]


def test_attention_reaches_across_the_whole_map_as_no_convolution_does() -> None:
    block, x = SelfAttention(2, 16), torch.randn(1, 16, 32, 32)
    nn.init.ones_(block.gain)
    block.eval()
    other = x.clone()
    other[..., -1, -1] += 10
    assert (block(other) - block(x))[..., 0, 0].abs().max() > 1e-4


def test_attention_of_a_volume_that_is_a_stack_of_one_picture_is_the_pictures() -> None:
    picture = SelfAttention(2, 16)
    volume = SelfAttention(3, 16)
    nn.init.ones_(picture.gain)
    volume.load_state_dict(
        {k: v.unsqueeze(-1) if v.ndim == 4 else v for k, v in picture.state_dict().items()}
    )
    x = torch.randn(2, 16, 4, 4)
    picture.eval(), volume.eval()
    torch.testing.assert_close(volume(x[:, :, None].expand(-1, -1, 2, -1, -1))[:, :, 0], picture(x))


# ---- spectral normalisation ----


def test_weights_have_the_largest_singular_value_one() -> None:
    D = reader()
    for _ in range(200):  # a step of power iteration each
        D(torch.zeros(1, 1, 32, 32))
    values = largest(D)
    assert len(values) == 3 + 2
    assert all(value == pytest.approx(1, abs=0.01) for value in values.values()), values
    assert max(largest(reader(width=4)).values()) == pytest.approx(
        1, abs=0.1
    )  # and nearly so from the start


def test_eval_mode_and_untracked_leave_the_singular_vectors_alone() -> None:
    D, x = reader(), torch.randn(4, 1, 32, 32)
    before = vectors(D)
    assert before
    D.eval()
    first, second = D(x)["z"], D(x)["z"]
    assert torch.equal(first, second)
    assert changed_names(D, before | copy_state(D)) == set()
    D.train()
    with frozen_statistics(D):
        D(x)
        assert all(torch.equal(value, before[name]) for name, value in vectors(D).items())
    with frozen_statistics(D, except_for=[D.trunk.halvings[1]]):
        D(x)
    assert {name for name, v in vectors(D).items() if not torch.equal(v, before[name])} == {
        f"trunk.halvings.1.1.parametrizations.weight.0.{side}" for side in ("_u", "_v")
    }
    D(x)
    assert all(
        not torch.equal(value, before[name]) for name, value in vectors(D).items() if len(value) > 1
    )
    D.eval()
    with frozen_statistics(D):
        pass
    assert not any(m.training for m in D.modules())


@pytest.mark.parametrize("order", ["D-G", "G-D"])
def test_each_step_moves_its_nets_and_no_singular_vector_of_an_opponent(order: str) -> None:
    config = small()
    config = config.model_copy(update={"method": config.method.model_copy(update={"order": order})})
    engine = Engine(config, build_dataset(config))
    nn.init.ones_(engine.method.G.attention.gain)
    names = []
    for step, changed in changes_by_step(engine):
        own = {id(p) for net in step.trains for p in (*net.parameters(), *net.buffers())}
        tensors = {**dict(engine.method.named_parameters()), **dict(engine.method.named_buffers())}
        assert changed
        assert all(id(tensors[name]) in own for name in changed), step.name
        assert {name for name, p in engine.method.named_parameters() if id(p) in own} <= changed
        names.append(step.name)
    assert sorted(names) == ["CR", "D", "G"]
    assert len(vectors(engine.method)) == 2 * (3 + 4) + 2 * 4 + 2 * (3 + 1)  # D, attention, H


def test_every_draw_does_one_step_of_power_iteration_and_the_trained_net_alone() -> None:
    config = small()
    engine = Engine(config, build_dataset(config))
    start = vectors(engine.method.D)
    engine.advance(engine.pairs[0])
    other = build_method(config, engine.dataset.shape)
    assert all(torch.equal(v, start[name]) for name, v in vectors(other.D).items())
    other.D(
        engine.pairs[0].x
    )  # whatever it reads: the vectors depend on the weights, which were still the first
    assert all(
        torch.equal(v, vectors(engine.method.D)[name]) for name, v in vectors(other.D).items()
    )


def test_the_moving_average_is_normalised_by_its_own_singular_value() -> None:
    torch.manual_seed(2)
    method = build_method(small(), (1, 32, 32)).train()
    ema = Ema(method, 2_000)
    x = torch.randn(4, 1, 32, 32)
    layer = method.D.trunk.halvings[1][1].parametrizations.weight
    for number in range(300):
        with (
            torch.no_grad()
        ):  # weights turn fast, so that an average of their singular vectors is short
            layer.original.add_(0.3 * layer.original.std() * torch.randn_like(layer.original))
        method.D(x)
        ema.update(method, 16, 16 * (number + 1_000))
    name = "D.trunk.halvings.1.1"
    assert largest(ema.method)[name] == pytest.approx(1, abs=0.02)
    assert all(float(v.norm()) == pytest.approx(1, abs=1e-5) for v in vectors(ema.method).values())
    assert not any(m.training for m in ema.method.modules())
    assert not torch.equal(
        ema.method.state_dict()[f"{name}.parametrizations.weight.original"], layer.original
    )


def test_followed_turns_towards_the_largest_singular_vector_and_touches_nothing_else() -> None:
    D = reader().eval()
    with torch.no_grad():
        D.trunk.halvings[1][
            1
        ].parametrizations.weight.original.normal_()  # another matrix altogether
    before = copy_state(D)
    assert abs(largest(D)["trunk.halvings.1.1"] - 1) > 0.1
    for _ in range(100):
        power_iteration_(D)
    assert largest(D)["trunk.halvings.1.1"] == pytest.approx(1, abs=0.01)
    assert all(name.endswith(("_u", "_v")) for name in changed_names(D, before))
    assert not any(m.training for m in D.modules())


@pytest.mark.parametrize("name", ["dig", "sepvae"])
def test_resuming_is_exact_and_the_run_reopens(name: str) -> None:
    config = small(name, images=96, save_every=32, keep=9)
    straight = train(config, Path("straight"))
    stopped = train(config, Path("stopped"), stop_after=0.0)
    assert stopped.engine.images_seen == 16
    resumed = train(config, Path("stopped"), resume=True)
    assert changed_names(straight.engine.method, copy_state(resumed.engine.method)) == set()
    assert changed_names(straight.engine.ema.method, copy_state(resumed.engine.ema.method)) == set()
    run = Run.open("straight")
    assert changed_names(run.method, copy_state(straight.engine.ema.method)) == set()
    assert vectors(run.method)
    assert run.config.nets == config.nets


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cpca"])
def test_every_method_trains_on_these_nets_also_in_half_precision(name: str) -> None:
    for precision in ("no", "bf16"):
        config = small(name, mixed_precision=precision)
        engine = Engine(config, build_dataset(config))
        for iteration in range(2):
            assert all(
                torch.isfinite(value) for value in engine.advance(engine.pairs[iteration]).values()
            )
        assert all(value.dtype == torch.float32 for value in vectors(engine.method).values())
        assert all(value == pytest.approx(1, abs=0.15) for value in largest(engine.method).values())


# ---- what does not fit ----


def fault(nets: dict, resolution: int = 32) -> str:
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
def test_what_does_not_fit_is_refused_by_name(nets: dict, expected: str) -> None:
    assert expected in fault(nets)


def test_vectors_have_no_neighbours() -> None:
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
