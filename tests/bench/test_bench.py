"""`studio bench`: its count of operations, its naive implementation, its output and its errors."""

import json
import time

import pytest
import torch
from support.experiments import VARIANTS, tiny
from torch import nn
from typer.testing import CliRunner

from studio.bench import bench, measure_ceiling, run_naive_iteration
from studio.build import build_dataset
from studio.cli import app
from studio.errors import StudioError
from studio.method import Pair
from studio.methods.double_infogan import DoubleInfoGAN
from studio.training.engine import Engine
from studio.training.failures import OutOfMemory


def count_forward(net: nn.Module, given: torch.Tensor) -> int:
    """Counts the operations of a forward pass by hand.

    A multiply-add of a convolution or linear layer is 2 operations.
    """
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


def test_bench_counts_operations_as_by_hand() -> None:
    config = tiny("dig")
    result = bench(config, iterations=1)
    engine = Engine(config, build_dataset(config))
    batch, method = config.train.batch, engine.method
    assert isinstance(method, DoubleInfoGAN)
    G = count_forward(method.G, torch.randn(batch, method.config.z + method.config.s)) / batch / 1e9
    D = count_forward(method.D, torch.randn(batch, *engine.dataset.shape)) / batch / 1e9
    # Forward: codes and readings through G, reals and fakes (twice, because D has moved) through D.
    # Backward, for weights (w) and inputs (i):
    #   step of D: D(reals) w i, D(fakes) w i, G(readings) i
    #   step of G: D(fakes) i, G(fakes) w i, G(readings) w i
    # The passes are an upper bound, because no gradient reaches the images and codes themselves.
    passes = 7 * G + 8 * D
    assert 0.95 * passes < result["ours"]["gflop_per_image"] <= passes
    # The naive implementation draws twice, and every backward pass is for weights and inputs:
    # in both steps D's of reals and fakes and G's of readings, and in the step of G that of fakes.
    passes = 10 * G + 12 * D
    assert 0.95 * passes < result["textbook"]["gflop_per_image"] <= passes


@pytest.mark.parametrize("method", ["vae", "sepvae"])
def test_bench_counts_the_same_for_a_naive_plain_vae(method: str) -> None:
    result = bench(tiny(method), iterations=1)
    ours, naive = result["ours"]["gflop_per_image"], result["textbook"]["gflop_per_image"]
    assert ours <= naive
    if method == "vae":
        assert ours == naive


def test_bench_prints_consistent_numbers_as_json() -> None:
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
    assert result["precision"] == "no"
    ours = result["ours"]
    assert ours["images_per_second"] == pytest.approx(16 / ours["seconds"])
    assert ours["gflop_per_second"] == pytest.approx(
        ours["gflop_per_image"] * 16 / ours["seconds_least"]
    )
    assert ours["share_of_ceiling"] == pytest.approx(
        ours["gflop_per_second"] / result["ceiling"]["gflop_per_second"]
    )
    for name, key in (
        ("textbook", "speedup"),
        ("authors", "authors_speedup"),
        ("authors_with_cr", "authors_with_cr_speedup"),
    ):
        assert result[key] == pytest.approx(result[name]["seconds"] / ours["seconds"])
    assert result["authors_with_cr"]["gflop_per_image"] > result["authors"]["gflop_per_image"]
    assert result["authors"]["gflop_per_image"] > ours["gflop_per_image"]
    assert result["layers"]["share"] == pytest.approx(
        result["layers"]["seconds"] / ours["seconds_least"]
    )
    assert sum(result["shares"].values()) == pytest.approx(1)
    assert result["clean"] in (True, False, None)
    assert 0 < ours["seconds_least"] <= ours["seconds"]
    assert result["peak_bytes"] > 1e8


def test_bench_prints_a_table_without_the_naive_row_when_left_out() -> None:
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
            "--no-naive",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "images/s" in done.stdout
    assert "naive" not in done.stdout
    assert "times as fast" not in done.stdout
    assert ("Clean: " in done.stdout) != ("NOT CLEAN: " in done.stdout)


@pytest.mark.parametrize("method", [name for name in VARIANTS if name != "cpca"])
def test_naive_iteration_moves_the_nets_that_the_engine_moves(method: str) -> None:
    config = tiny(method)
    engine = Engine(config, build_dataset(config))
    before = {name: value.clone() for name, value in engine.method.named_parameters()}
    run_naive_iteration(engine, Pair(*engine.pairs[0]))
    trained = {
        id(p) for step in engine.method.steps() for net in step.trains for p in net.parameters()
    }
    for name, value in engine.method.named_parameters():
        assert torch.equal(value, before[name]) == (id(value) not in trained), name


def test_bench_times_the_first_iteration_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Engine.advance

    def slow_at_first(self: Engine, pair: Pair) -> dict[str, torch.Tensor]:
        time.sleep(0.5 * (self.iteration == 0))  # libraries set themselves up once
        return advance(self, pair)

    monkeypatch.setattr(Engine, "advance", slow_at_first)
    result = bench(tiny("vae"), iterations=1, naive=False)
    assert result["first_seconds"] > 0.5 > result["ours"]["seconds"]


@pytest.mark.parametrize(("where", "hint"), [("advance", False), ("run_naive_iteration", True)])
def test_bench_names_the_batch_field_when_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch, where: str, hint: bool
) -> None:
    def exhausted(*_: object) -> None:
        raise (
            OutOfMemory("D", moved=False)
            if where == "advance"
            else torch.OutOfMemoryError("CUDA out of memory")
        )

    monkeypatch.setattr(
        "studio.bench.cost.Engine.advance"
        if where == "advance"
        else "studio.bench.cost.run_naive_iteration",
        exhausted,
    )
    with pytest.raises(StudioError, match=r"out of memory at train\.batch: 16") as raised:
        bench(tiny("vae"), iterations=1)
    assert ("--no-naive" in str(raised.value)) == hint


def test_measure_ceiling_multiplies_in_the_precision_of_convolutions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By default a GPU computes convolutions in TF32, but matrix products in float32. These are four
    # times slower, so they would be no ceiling.
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
    found = measure_ceiling(torch.device("cpu"), "no")
    assert found["side"] == 2_048
    assert 1 < found["gflop_per_second"] < 1e5
    assert set(seen) == {convolution.fp32_precision} != {before}
    assert product.fp32_precision == before


def test_bench_refuses_a_method_without_steps_and_zero_iterations() -> None:
    with pytest.raises(StudioError, match="cpca is fitted in closed form"):
        bench(tiny("cpca"))
    done = CliRunner().invoke(app, ["bench", "--iterations", "0"])
    assert done.exit_code == 2
