"""Limits of the machine, shares of the time, and the load by other programs."""

import os
from pathlib import Path

import pytest
import torch
from support.experiments import tiny
from torch import nn

from studio.bench.ceiling import measure_layers
from studio.bench.shares import KINDS, measure_shares
from studio.build import build_dataset
from studio.distributed import load
from studio.method import Pair
from studio.training.engine import Engine

CPU = torch.device("cpu")


def test_measure_layers_times_every_convolution_and_product_of_an_iteration() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3)
    )
    x = torch.randn(2, 1, 8, 8)
    layers = measure_layers(lambda: net(x).sum().backward(), CPU, "no")
    calls = {(layer.operation, layer.shapes): layer.calls for layer in layers}
    assert calls[("convolution", ((2, 1, 8, 8), (4, 1, 3, 3), (4,)))] == 1
    assert calls[("convolution", ((2, 4, 6, 6), (4, 4, 3, 3), (4,)))] == 1
    assert calls[("convolution", ((2, 4, 4, 4), (4, 4, 3, 3), (4,)))] == 1
    backward = [layer for layer in layers if layer.operation == "convolution, backward"]
    assert sum(layer.calls for layer in backward) == 3
    products = [layer for layer in layers if layer.operation == "matrix product"]
    assert sum(layer.calls for layer in products) == 3  # forward, for the input, for the weights
    assert all(layer.seconds > 0 and layer.best.startswith("float32") for layer in layers)
    whole = [layer.calls * layer.seconds for layer in layers]
    assert whole == sorted(whole, reverse=True)


def test_measure_layers_counts_repeated_calls_and_tries_every_precision() -> None:
    net, x = nn.Conv2d(2, 2, 3), torch.randn(1, 2, 6, 6)

    def iteration() -> None:
        with torch.no_grad():
            for _ in range(5):
                net(x)

    (layer,) = measure_layers(iteration, CPU, "bf16")
    assert layer.calls == 5
    assert layer.best.split(", ")[0] in {"bf16", "float32"}
    assert layer.best.split(", ")[1] in {"as trained", "contiguous", "channels last"}


def test_measure_shares_names_the_work_of_a_training_step() -> None:
    engine = Engine(tiny("dig"), build_dataset(tiny("dig")))
    pair = Pair(*engine.pairs[0])
    shares = measure_shares(lambda: engine.advance(pair), CPU)
    assert set(shares) == {*KINDS, "other"}
    assert sum(shares.values()) == pytest.approx(1)
    for kind in set(KINDS) - {"matrix products"}:
        assert shares[kind] > 0, kind


def test_measure_shares_puts_an_operation_into_its_kind() -> None:
    x = torch.randn(300, 300)
    shares = measure_shares(lambda: x @ x, CPU)
    assert shares["matrix products"] > 0.9


@pytest.mark.parametrize(("of_others", "expected"), [(0.0, 0.0), (3.0, 1.5), (-1.0, 0.0)])
def test_other_load_subtracts_the_time_of_this_process(
    monkeypatch: pytest.MonkeyPatch, of_others: float, expected: float
) -> None:
    stat = Path("stat")
    tick = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(load, "STAT", stat)
    clock = {"wall": 10.0, "own": 5.0}
    monkeypatch.setattr(load.time, "monotonic", lambda: clock["wall"])
    monkeypatch.setattr(load.time, "process_time", lambda: clock["own"])
    stat.write_text("cpu  1000 0 0 50 0 0 0 0 0 0\ncpu0 1 2 3\n")
    measured = load.OtherLoad()
    clock.update(wall=12.0, own=8.0)  # two seconds, three processor seconds of its own
    stat.write_text(f"cpu  {1000 + int((3 + of_others) * tick)} 0 0 99 0 0 0 0 0 0\n")
    assert measured.cores() == pytest.approx(expected)


def test_other_load_is_unknown_without_the_systems_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "STAT", Path("missing"))
    assert load.OtherLoad().cores() is None
