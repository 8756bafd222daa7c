"""Values that are not finite stop the step in every process.

Training returns to a checkpoint a bounded number of times, and then ends with a diagnosis.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.experiments import tiny
from support.forked import run_together
from support.runs import digest

from studio.build import build_dataset
from studio.errors import StudioError
from studio.runs import checkpoint
from studio.training.engine import Engine
from studio.training.failures import NotFinite
from studio.training.session import TrainingSession, train


def engine(method: str = "dig", **train_fields: object) -> Engine:
    config = tiny(method, **train_fields)
    return Engine(config, build_dataset(config))


def inject(
    monkeypatch: pytest.MonkeyPatch, where: str, when: object, value: float = math.nan
) -> None:
    """Makes a term or gradient of the last step's first micro-batch `value` if `when(engine)`."""
    original = Engine._backward

    def backward(self: Engine, step: object, draw: object, parameters: list, shared: bool) -> dict:
        means = original(self, step, draw, parameters, shared)
        if when(self) and step.name == self.method.steps()[-1].name:
            if where == "gradient":
                parameters[0].grad.view(-1)[0] = value
            else:
                means = {**means, where: torch.tensor(value)}
        return means

    monkeypatch.setattr(Engine, "_backward", backward)


def copy_parameters(e: Engine) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in e.method.named_parameters()}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("where", "named"),
    [("gradient", "the gradient of E.heads"), ("recon.target", "vae/recon.target = ")],
)
def test_engine_takes_no_step_when_a_term_or_gradient_is_not_finite(
    monkeypatch: pytest.MonkeyPatch, where: str, named: str, value: float
) -> None:
    e = engine("vae")
    e.advance(e.pairs[0])
    before = copy_parameters(e)
    if where == "gradient":
        first = next(iter(e.method.E.parameters()))
        named = "the gradient of " + next(n for n, p in e.method.named_parameters() if p is first)
    with monkeypatch.context() as patch:
        inject(patch, where, lambda _: True, value)
        with pytest.raises(
            NotFinite, match=f"iteration 1 .*step vae, rank 0: {named}.*no step was taken"
        ):
            e.advance(e.pairs[1])
    assert all(torch.equal(before[name], value) for name, value in copy_parameters(e).items())
    assert e.iteration == 1
    e.advance(e.pairs[1])
    assert not all(torch.equal(before[name], value) for name, value in copy_parameters(e).items())


def test_engine_takes_no_step_when_the_sum_of_terms_is_infinite() -> None:
    e = engine("vae")
    e.method.weights["recon"] = 1e38
    before = copy_parameters(e)
    with pytest.raises(NotFinite, match="step vae, rank 0: vae/weighted sum = inf"):
        e.advance(e.pairs[0])
    assert all(torch.equal(before[name], value) for name, value in copy_parameters(e).items())


def test_engine_takes_the_step_when_a_gradient_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    e = engine("vae")
    inject(monkeypatch, "gradient", lambda _: True, 1e30)  # its square is not finite
    e.advance(e.pairs[0])
    assert e.iteration == 1


def test_engine_ignores_a_term_that_is_not_finite_at_weight_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    e = engine()
    e.method.weights["image"] = 0.0
    inject(monkeypatch, "image.target", lambda _: True)
    e.advance(e.pairs[0])
    assert e.iteration == 1


def test_train_returns_to_the_checkpoint_and_halves_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inject(monkeypatch, "gradient", lambda e: e.iteration == 3 and e.rollbacks < 2)
    done = train(tiny("vae", images=96, save_every=32, log_every=16), Path("run"))
    assert done.engine.images_seen == 96
    assert done.engine.rollbacks == 2
    rate = done.config.train.lr / 4
    assert {group["lr"] for o in done.engine.optimizers.values() for group in o.param_groups} == {
        rate
    }
    lines = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    back = [line for line in lines if "rollback" in line]
    assert [line["images_seen"] for line in back] == [32, 32]
    assert [line["lr"] for line in back] == [rate * 2, rate]
    assert "step vae, rank 0: the gradient of E." in back[0]["rollback"]
    seen = [line["images_seen"] for line in lines]
    assert seen == sorted(seen)
    assert seen.count(48) == 1
    assert checkpoint.newest(Path("run")).training()["rollbacks"] == 2


def test_train_returns_to_the_start_when_no_checkpoint_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        inject(patch, "gradient", lambda e: e.iteration == 2 and e.rollbacks < 1)
        done = train(tiny("vae", images=64), Path("run"))
    slow = tiny("vae", images=64, lr=done.config.train.lr / 2)
    train(slow, Path("slow"))
    ours, theirs = digest(Path("run"), 64), digest(Path("slow"), 64)
    assert ours == theirs


def test_train_ends_with_a_diagnosis_when_roll_backs_do_not_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inject(monkeypatch, "recon.target", lambda e: e.iteration == 3)
    ended = []
    original = TrainingSession.__init__
    monkeypatch.setattr(
        TrainingSession,
        "__init__",
        lambda self, *given: (original(self, *given), ended.append(self))[0],
    )
    with pytest.raises(
        StudioError,
        match=r"vae/recon.target = nan; no step was taken after 2 roll-backs; see run/not_finite",
    ):
        train(tiny("vae", images=96, save_every=32, rollbacks=2), Path("run"))
    folder = Path("run/not_finite")
    assert {p.name for p in folder.iterdir()} == {
        "00000048-0.json",
        "00000048-1.json",
        "00000048-2.json",
        "00000048-2.safetensors",
    }
    evidence, e = json.loads((folder / "00000048-2.json").read_text()), ended[0].engine
    assert evidence["faults"] == [
        {"rank": 0, "step": "vae", "terms": {"vae/recon.target": "nan"}, "gradients": []}
    ]
    assert evidence["lr"] == e.config.train.lr / 4
    assert evidence["ranks"][0]["images"] == {
        d: e.pairs.indices(3, d).tolist() for d in ("background", "target")
    }
    weights = load_file(folder / "00000048-2.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in e.method.state_dict().items())
    assert checkpoint.newest(Path("run")).images_seen == 32
    assert not Path("run/.lock").exists()


def test_train_makes_no_roll_back_when_rollbacks_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, "gradient", lambda e: e.iteration == 1)
    with pytest.raises(StudioError, match="no step was taken; see run/not_finite"):
        train(tiny("vae", rollbacks=0), Path("run"))


@pytest.mark.parametrize("stop_at", [3, 4, 5])
def test_train_resumes_exactly_after_a_roll_back(
    monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    config = tiny("vae", images=96, save_every=32)
    inject(monkeypatch, "gradient", lambda e: (e.iteration, e.rollbacks) in ((3, 0), (4, 1)))
    train(config, Path("straight"))
    original = TrainingSession.record

    def stop_at_iteration(self: TrainingSession, terms: dict) -> None:
        if self.engine.iteration == stop_at and self.engine.rollbacks:
            self.stop("SIGTERM")
        return original(self, terms)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingSession, "record", stop_at_iteration)
        assert train(config, Path("resumed")).stopped
    done = train(config, Path("resumed"), resume=True)
    assert done.engine.rollbacks == 2
    assert digest(Path("resumed"), 96) == digest(Path("straight"), 96)


def engine_with_scaler(scale: float) -> Engine:
    """Returns an engine with the loss scaler that a GPU uses in fp16.

    The scaler also works on the CPU, where gradients overflow at the limit of float32.
    """
    e = engine("vae")
    e.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    e.make_optimizers()
    return e


def test_engine_reports_no_fault_when_the_loss_scale_overflows() -> None:
    e = engine_with_scaler(2.0**126)
    before = copy_parameters(e)
    e.advance(e.pairs[0])
    # The scaler skipped the step.
    assert all(torch.equal(before[name], value) for name, value in copy_parameters(e).items())
    assert e.accelerator.scaler.get_scale() == 2.0**125
    for iteration in range(1, 20):
        e.advance(e.pairs[iteration])
    assert 1 < e.accelerator.scaler.get_scale() < 2.0**125
    assert not all(torch.equal(before[name], value) for name, value in copy_parameters(e).items())


def test_engine_reports_a_fault_when_a_loss_scale_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        inject(patch, "recon.target", lambda _: True)
        with pytest.raises(NotFinite, match=r"vae/recon\.target"):
            (e := engine_with_scaler(1024.0)).advance(e.pairs[0])
    inject(monkeypatch, "gradient", lambda _: True)
    with pytest.raises(NotFinite, match="the gradient of"):
        (e := engine_with_scaler(0.5)).advance(e.pairs[0])


def test_engine_stops_the_step_in_both_processes_when_one_has_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inject(
        monkeypatch,
        "gradient",
        lambda e: e.iteration == 3 and e.processes.rank == 1 and e.rollbacks < 1,
    )

    def body() -> dict:
        done = train(tiny("vae", images=96, save_every=32), Path("run"))
        assert (done.engine.processes.count, done.engine.rollbacks) == (2, 1)
        return copy_parameters(done.engine)

    first, second = run_together(2, body, tmp_path / "out")
    assert all(torch.equal(first[name], second[name]) for name in first)
    (evidence,) = (json.loads(path.read_text()) for path in Path("run/not_finite").glob("*.json"))
    assert [fault["rank"] for fault in evidence["faults"]] == [1]
    images = [set(rank["images"]["target"]) for rank in evidence["ranks"]]
    assert len(images) == 2
    assert not images[0] & images[1]
    text = Path("run/log.jsonl").read_text()
    assert "step vae, rank 1: the gradient of E." in text
