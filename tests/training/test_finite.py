"""The look at non-finite numbers can be put off, and changes neither weights nor messages."""

import math
from pathlib import Path

import pytest
import torch
from support.experiments import tiny
from support.runs import digest
from torch.utils._python_dispatch import TorchDispatchMode

from studio.build import build_dataset
from studio.methods import METHODS
from studio.training.engine import Engine
from studio.training.failures import NotFinite, greatest_gradients
from studio.training.session import train


def engine(method: str = "dig", **train_fields: object) -> Engine:
    config = tiny(method, **train_fields)
    return Engine(config, build_dataset(config))


def break_step(monkeypatch: pytest.MonkeyPatch, where: str, iteration: int, times: int = 1) -> None:
    """Makes a term or a gradient of the first step NaN in an iteration, the first `times` times."""
    original, left = Engine._backward, [times]

    def backward(self: Engine, step: object, draw: object, parameters: list, keep: bool) -> dict:
        means = original(self, step, draw, parameters, keep)
        if self.iteration == iteration and step is self.schedule[0][0] and left[0]:
            left[0] -= 1
            if where == "gradient":
                parameters[0].grad.view(-1)[0] = math.nan
            else:
                means = {**means, where: torch.tensor(math.nan)}
        return means

    monkeypatch.setattr(Engine, "_backward", backward)


class CountReads(TorchDispatchMode):
    """Counts how often a number is read from its device, for which a GPU must have finished."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("method", ["dig", "dig_plus", "vae", "sepvae"])
def test_train_reaches_the_same_weights_when_the_look_is_put_off(method: str) -> None:
    for every in (1, 4):
        train(tiny(method, images=96, save_every=32, check_every=every), Path(f"run{every}"))
    assert digest(Path("run1"), 96) == digest(Path("run4"), 96)


@pytest.mark.parametrize("where", ["gradient", "info_real"])
def test_train_recovers_to_the_same_weights_when_the_look_is_put_off(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    found = {}
    for every in (1, 7):
        with monkeypatch.context() as patch:
            break_step(patch, where, iteration=3)
            config = tiny(images=128, save_every=32, check_every=every)
            session = train(config, Path(f"run{every}"))
        assert session.engine.rollbacks == 1
        log = Path(f"run{every}/log.jsonl").read_text()
        found[every] = [line for line in log.splitlines() if "rollback" in line]
    assert found[1] == found[7]
    assert digest(Path("run1"), 128) == digest(Path("run7"), 128)


@pytest.mark.parametrize(
    ("where", "named"), [("gradient", "the gradient of "), ("info_real", "D/info_real = nan")]
)
def test_look_names_the_first_failure_and_no_net_has_moved_since(
    monkeypatch: pytest.MonkeyPatch, where: str, named: str
) -> None:
    e = engine(check_every=50)
    e.advance(e.pairs[0])
    before = {name: value.detach().clone() for name, value in e.method.named_parameters()}
    steps = [state["step"].clone() for state in e.optimizers["D"].state.values()]
    break_step(monkeypatch, where, iteration=1)
    for iteration in range(1, 4):
        e.advance(e.pairs[iteration])
    assert all(torch.equal(before[name], p) for name, p in e.method.named_parameters())
    assert steps == [state["step"] for state in e.optimizers["D"].state.values()]
    with pytest.raises(NotFinite, match=f"at iteration 1 \\(16 images\\), step D, rank 0: {named}"):
        e.finite.look()
    e.finite.look()  # the failure is told once
    e.advance(e.pairs[4])
    assert not all(torch.equal(before[name], p) for name, p in e.method.named_parameters())


def test_iterations_look_at_the_end_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    e = engine(check_every=50)
    break_step(monkeypatch, "gradient", iteration=1)
    with pytest.raises(NotFinite, match="at iteration 1 "):
        for _ in e.iterations(64):
            pass


@pytest.mark.parametrize("method", sorted(METHODS))
def test_advance_reads_nothing_from_the_device_when_the_look_is_put_off(method: str) -> None:
    e = engine(method, check_every=50)
    if not e.schedule:
        pytest.skip("a method in closed form has no steps")
    e.advance(e.pairs[0])
    with CountReads() as reads:
        e.advance(e.pairs[1])
        assert reads.count == 0
        e.finite.look()
    assert reads.count > 0


def test_greatest_gradients_are_finite_when_their_squares_are_not() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    for values, expected in [
        ([1.0, -3e30, 2.0], 3e30),
        ([0.0, -math.inf, 1.0], math.inf),
        ([0.0, math.nan, math.inf], math.nan),
    ]:
        parameter.grad = torch.tensor(values)
        (found,) = greatest_gradients([parameter, torch.nn.Parameter(torch.zeros(1))])
        assert float(found) == pytest.approx(expected, nan_ok=True)
