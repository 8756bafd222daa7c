"""Micro-batches: the same gradient as the whole batch, or a refusal with the reason.

If memory runs out, the micro-batches are halved.
"""

import json
from pathlib import Path

import pytest
import torch
from support.experiments import TRAINED, tiny
from support.fixed_noise import difference, gradients
from support.forked import run_together
from support.plain_nets import plain
from support.runs import digest

from studio.build import build_dataset
from studio.config import Config
from studio.errors import StudioError
from studio.runs import checkpoint
from studio.training.engine import Engine
from studio.training.session import TrainingSession, train
from studio.training.state import load_state_

WHOLE = {
    "cvae": "tc",
    "cvae+published": "tc",
    "mm_cvae": "mmd_z",
    "sepvae": "mi",
    "principled": "w2",
}


def engine(config: Config) -> Engine:
    return Engine(config, build_dataset(config))


def read_log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in WHOLE])
def test_micro_batches_have_the_gradient_of_the_whole_batch(name: str) -> None:
    whole = gradients(engine(plain(name)))
    for count in (2, 4, 8):
        e = engine(plain(name, accumulate=count))
        assert difference(whole, gradients(e)) < 1e-6
    other = gradients(engine(plain(name).model_copy(update={"seed": 1})))
    assert difference(whole, other) > 1e-2  # another seed differs, so the comparison is sensitive


@pytest.mark.parametrize(("name", "term"), WHOLE.items())
def test_engine_refuses_micro_batches_for_batch_statistics_unless_off(name: str, term: str) -> None:
    with pytest.raises(
        StudioError,
        match=rf"train.accumulate: found 2, but {name.partition('+')[0]} .* in {term} \(",
    ):
        engine(plain(name, accumulate=2))
    off = (term, "mmd_s") if name == "mm_cvae" else (term,)
    whole = gradients(engine(plain(name, off)))
    assert difference(whole, gradients(engine(plain(name, off, accumulate=2)))) < 1e-6


@pytest.mark.parametrize("name", TRAINED)
def test_engine_refuses_micro_batches_with_batch_normalisation(name: str) -> None:
    with pytest.raises(
        StudioError,
        match=r"cannot split a batch into micro-batches: .*batch normalisation"
        r"|in (tc|mi|w2|mmd_z) \(",
    ):
        engine(tiny(name, accumulate=2))


def test_engine_refuses_micro_batches_for_an_undeclared_statistic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    e = engine(plain("principled", accumulate=1))
    e.whole_batch, e.accumulate = [], 2
    with pytest.raises(
        StudioError, match=r"step vae cannot split a batch into micro-batches: w2 of shape \(\)"
    ):
        e.advance(e.pairs[0])


@pytest.mark.parametrize("name", TRAINED)
def test_method_declares_every_scalar_term_as_a_batch_statistic(name: str) -> None:
    e = engine(plain(name))
    draw = e.method.draw(e.pairs[0])
    scalars = {
        term
        for step in e.method.steps()
        for term, value in step.loss(draw).items()
        if value.ndim == 0
    }
    assert scalars <= set(e.method.batch_terms)


def test_engine_refuses_micro_batches_that_do_not_divide_the_batch() -> None:
    with pytest.raises(
        StudioError, match=r"expected a multiple of 6 for 1 process and train.accumulate: 3"
    ):
        engine(plain("vae", accumulate=3))


def exhaust(
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    step_name: str = "",
    rank: int = 0,
    from_iteration: int = 0,
) -> None:
    """Lets micro-batches of more than `most` images of a domain run out of memory.

    An empty `step_name` means every step.
    """
    original = Engine._backward

    def backward(self: Engine, step: object, draw: object, *rest: object) -> dict:
        here = self.processes.rank == rank and self.iteration >= from_iteration
        if here and len(draw.pair.x) > most and step_name in ("", step.name):
            raise torch.OutOfMemoryError("CUDA out of memory, simulated")
        return original(self, step, draw, *rest)

    monkeypatch.setattr(Engine, "_backward", backward)


def test_train_halves_micro_batches_when_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = plain("vae", images=96, accumulate=4)
    train(asked, Path("asked"))
    with monkeypatch.context() as patch:
        exhaust(patch, most=2)
        done = train(plain("vae", images=96), Path("forced"))
    assert done.engine.accumulate == 4
    assert done.engine.images_seen == 96
    assert digest(Path("forced"), 96) == digest(Path("asked"), 96)
    assert [line["parts"] for line in read_log(Path("forced")) if "parts" in line] == [2, 4]


def test_train_returns_and_resumes_exactly_when_a_later_step_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In srb_vae, step "ratio" moves the critics, and then step "vae" runs out of memory. Half an
    # iteration is not kept.
    config = plain("srb_vae", images=96, save_every=32)
    exhaust(monkeypatch, most=4, step_name="vae", from_iteration=3)
    train(config, Path("straight"))
    original = TrainingSession.record

    def stop_at_iteration(self: TrainingSession, terms: dict) -> None:
        if self.engine.iteration == 4:
            self.stop("SIGTERM")
        return original(self, terms)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingSession, "record", stop_at_iteration)
        assert train(config, Path("resumed")).engine.accumulate == 2
    train(config, Path("resumed"), resume=True)
    assert digest(Path("resumed"), 96) == digest(Path("straight"), 96)
    (cut,) = (line for line in read_log(Path("straight")) if "parts" in line)
    assert (cut["images_seen"], cut["parts"], cut["out_of_memory"]) == (
        32,
        2,
        "out of memory in step vae",
    )


@pytest.mark.parametrize("name", ["dig", "cvae"])
def test_train_names_the_batch_when_memory_runs_out_and_it_is_indivisible(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    exhaust(monkeypatch, most=4)
    with pytest.raises(
        StudioError,
        match=f"out of memory at train.batch: 16; {name} cannot split a batch into micro-batches",
    ):
        train(tiny(name), Path("run"))


def test_load_state_refuses_micro_batches_that_do_not_divide_the_share() -> None:
    train(plain("vae", images=32, accumulate=8), Path("run"))
    state = checkpoint.newest(Path("run")).training()
    fewer = engine(plain("vae", batch=8))  # as if two processes shared the batch
    with pytest.raises(
        StudioError,
        match="into 8 micro-batches, but a process has 4 images of each domain",
    ):
        load_state_(fewer, fewer.method.state_dict(), fewer.ema.method.state_dict(), state)


def test_train_resumes_with_more_micro_batches_when_allowed() -> None:
    train(plain("vae", images=32), Path("run"))
    with pytest.raises(StudioError, match=r"train\.accumulate: 1 in the run, 2 now"):
        train(plain("vae", images=48, accumulate=2), Path("run"), resume=True)
    done = train(
        plain("vae", images=48, accumulate=2),
        Path("run"),
        resume=True,
        allowed=["train.accumulate"],
    )
    assert done.engine.accumulate == 2


def test_train_names_the_cause_when_one_image_exceeds_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exhaust(monkeypatch, most=0)
    with pytest.raises(StudioError, match="out of memory with one image of each domain at a time"):
        train(plain("vae"), Path("run"))


def test_processes_agree_on_the_number_of_micro_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exhaust(monkeypatch, most=2, rank=1)

    def body() -> tuple[int, dict]:
        done = train(plain("vae", images=96), Path("run"))
        return done.engine.accumulate, done.engine.method.state_dict()

    (count, first), (other, second) = run_together(2, body, tmp_path / "out")
    assert count == other == 2
    assert all(torch.equal(first[name], second[name]) for name in first)
