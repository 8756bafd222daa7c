"""`studio bench`: work is counted as by hand, the textbook's iteration trains the same way, faults are named."""

import json
import time

import pytest
import torch
from support.experiments import VARIANTS, tiny
from torch import nn
from typer.testing import CliRunner

from studio.bench import bench, ceiling, textbook_iteration
from studio.build import build_dataset
from studio.cli import app
from studio.errors import StudioError
from studio.method import Pair
from studio.methods.double_infogan import DoubleInfoGAN
from studio.training.engine import Engine
from studio.training.failures import OutOfMemory


def forward(net: nn.Module, given: torch.Tensor) -> int:
    """Counts a net's forward pass by hand: 2 operations per multiply-add of its convolutions and linear layers."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += 2 * output.numel() * module.in_features
        elif isinstance(module, nn.ConvTranspose2d):
            total += (
                2
                * inputs[0].numel()
                * module.out_channels
                * module.kernel_size[0]
                * module.kernel_size[1]
            )
        elif isinstance(module, nn.Conv2d):
            total += (
                2
                * output.numel()
                * module.in_channels
                * module.kernel_size[0]
                * module.kernel_size[1]
            )

    handles = [module.register_forward_hook(count) for module in net.modules()]
    net(given)
    for handle in handles:
        handle.remove()
    return total


def test_work_is_counted_as_by_hand() -> None:
    config = tiny("dig")
    result = bench(config, iterations=1)
    engine = Engine(config, build_dataset(config))
    batch, method = config.train.batch, engine.method
    assert isinstance(method, DoubleInfoGAN)
    G = forward(method.G, torch.randn(batch, method.config.z + method.config.s)) / batch / 1e9
    D = forward(method.D, torch.randn(batch, *engine.dataset.shape)) / batch / 1e9
    # Forward: codes and readings through G, reals and fakes (twice: D has moved) through D. Backward, for weights (w) and
    # inputs (i): D's step D(reals) w i, D(fakes) w i, G(readings) i; G's step D(fakes) i, G(fakes) w i, G(readings) w i.
    passes = 7 * G + 8 * D
    assert (
        0.95 * passes < result["ours"]["gflop_per_image"] <= passes
    )  # nothing goes back to images and codes themselves
    # Two draws, and every backward pass is one for weights and inputs: D's of reals and fakes, and G's of readings, both in
    # both steps, and G's of fakes in its own.
    passes = 10 * G + 12 * D
    assert 0.95 * passes < result["textbook"]["gflop_per_image"] <= passes


@pytest.mark.parametrize("method", ["vae", "sepvae"])
def test_a_plain_vae_has_nothing_to_save(method: str) -> None:
    result = bench(tiny(method), iterations=1)
    ours, textbook = result["ours"]["gflop_per_image"], result["textbook"]["gflop_per_image"]
    assert ours <= textbook
    if method == "vae":
        assert ours == textbook


def test_what_is_measured_is_said_and_adds_up() -> None:
    config = tiny("dig")
    done = CliRunner().invoke(
        app,
        [
            "bench",
            "--cfg",
            "digits_dig",
            "--set",
            "nets.width=4",
            "--set",
            "train.batch=16",
            "--set",
            "train.threads=1",
            "--iterations",
            "2",
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["batch"] == 16
    assert result["precision"] == config.train.mixed_precision == "no"
    ours = result["ours"]
    assert ours["images_per_second"] == pytest.approx(16 / ours["seconds"])
    assert ours["gflop_per_second"] == pytest.approx(
        ours["gflop_per_image"] * 16 / ours["seconds_least"]
    )
    assert ours["share_of_ceiling"] == pytest.approx(
        ours["gflop_per_second"] / result["ceiling"]["gflop_per_second"]
    )
    assert result["speedup"] == pytest.approx(result["textbook"]["seconds"] / ours["seconds"])
    assert 0 < ours["seconds_least"] <= ours["seconds"]
    assert result["peak_bytes"] > 1e8


def test_the_table_says_the_same() -> None:
    done = CliRunner().invoke(
        app,
        [
            "bench",
            "--cfg",
            "digits_vae",
            "--set",
            "nets.width=4",
            "--set",
            "train.threads=1",
            "--iterations",
            "1",
            "--no-textbook",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "images/s" in done.stdout
    assert "textbook" not in done.stdout
    assert "times as fast" not in done.stdout


@pytest.mark.parametrize("method", [name for name in VARIANTS if name != "cpca"])
def test_the_textbook_moves_what_the_engine_moves(method: str) -> None:
    config = tiny(method)
    engine = Engine(config, build_dataset(config))
    before = {name: value.clone() for name, value in engine.method.named_parameters()}
    textbook_iteration(engine, Pair(*engine.pairs[0]))
    trained = {
        id(p) for step in engine.method.steps() for net in step.trains for p in net.parameters()
    }
    for name, value in engine.method.named_parameters():
        assert torch.equal(value, before[name]) == (id(value) not in trained), name


def test_the_first_iteration_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Engine.advance

    def slow_at_first(self: Engine, pair: Pair) -> dict[str, torch.Tensor]:
        time.sleep(0.5 * (self.iteration == 0))  # what libraries set up once
        return advance(self, pair)

    monkeypatch.setattr(Engine, "advance", slow_at_first)
    result = bench(tiny("vae"), iterations=1, textbook=False)
    assert result["first_seconds"] > 0.5 > result["ours"]["seconds"]


@pytest.mark.parametrize(("whose", "hint"), [("advance", False), ("textbook_iteration", True)])
def test_too_little_memory_is_one_line_that_names_the_field(
    monkeypatch: pytest.MonkeyPatch, whose: str, hint: bool
) -> None:
    def exhausted(*_: object) -> None:
        raise (
            OutOfMemory("D", moved=False)
            if whose == "advance"
            else torch.OutOfMemoryError("CUDA out of memory")
        )

    monkeypatch.setattr(
        "studio.bench.Engine.advance" if whose == "advance" else "studio.bench.textbook_iteration",
        exhausted,
    )
    with pytest.raises(StudioError, match=r"out of memory at train\.batch: 16") as raised:
        bench(tiny("vae"), iterations=1)
    assert ("--no-textbook" in str(raised.value)) == hint


def test_the_ceiling_is_a_product_rounded_as_convolutions_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By default a GPU's convolutions are in TF32 and its products of float32 are not: four times slower, no ceiling at all.
    product, convolution, seen, mm = (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,
        [],
        torch.mm,
    )
    before = product.fp32_precision
    monkeypatch.setattr(
        torch, "mm", lambda a, b: (seen.append(product.fp32_precision), mm(a, b))[1]
    )
    found = ceiling(torch.device("cpu"), "no")
    assert found["side"] == 2_048
    assert 1 < found["gflop_per_second"] < 1e5
    assert set(seen) == {convolution.fp32_precision} != {before}
    assert product.fp32_precision == before


def test_what_has_no_step_is_named() -> None:
    with pytest.raises(StudioError, match="cpca is fitted in closed form"):
        bench(tiny("cpca"))
    done = CliRunner().invoke(app, ["bench", "--iterations", "0"])
    assert done.exit_code == 2
