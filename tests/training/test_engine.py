"""The training loop: pairs, seeds, precision, moving average and non-finite numbers."""

import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.experiments import tiny

from studio.build import build_dataset
from studio.config import parse_duration
from studio.distributed.launcher import make_accelerator, set_threads
from studio.errors import StudioError
from studio.training.ema import Ema
from studio.training.engine import Engine, schedule
from studio.training.session import due
from studio.training.state import engine_state, load_state_


def engine(**train: object) -> Engine:
    config = tiny(**train)
    return Engine(config, build_dataset(config))


def weights(e: Engine) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in e.method.state_dict().items()}


def test_engine_repeats_a_training_when_the_seed_is_the_same() -> None:
    first, second = engine(), engine()
    other = Engine(tiny().model_copy(update={"seed": 1}), first.dataset)
    for e in (first, second, other):
        for iteration in range(2):
            e.advance(e.pairs[iteration])
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(first).values(), weights(second).values(), strict=True)
    )
    assert not torch.equal(weights(first)["G.last.0.weight"], weights(other)["G.last.0.weight"])


def test_engine_ignores_random_numbers_drawn_between_iterations() -> None:
    first, second = engine(), engine()
    for iteration in range(2):
        first.advance(first.pairs[iteration])
        torch.rand(7)
        second.advance(second.pairs[iteration])
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(first).values(), weights(second).values(), strict=True)
    )


def test_load_state_continues_exactly_where_the_state_was_taken() -> None:
    straight, before, after = engine(), engine(), engine()
    for iteration in range(4):
        straight.advance(straight.pairs[iteration])
    for iteration in range(2):
        before.advance(before.pairs[iteration])
    load_state_(after, weights(before), before.ema.method.state_dict(), engine_state(before))
    assert after.images_seen == 32
    for iteration in range(2, 4):
        after.advance(after.pairs[iteration])
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(straight).values(), weights(after).values(), strict=True)
    )
    averages = (straight.ema.method.state_dict(), after.ema.method.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(x.values() for x in averages), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_iterations_round_the_budget_up_whatever_the_workers(workers: int) -> None:
    e = engine(workers=workers)
    seen = []
    for terms in e.iterations(40):
        seen.append(float(terms["D/info_real"]))
    assert e.images_seen == 48  # 40 rounded up to whole steps of 16
    reference = engine()
    expected = [float(reference.advance(reference.pairs[i])["D/info_real"]) for i in range(3)]
    assert seen == expected


def test_iterations_can_be_left_early() -> None:
    e = engine()
    for _ in e.iterations(1600):
        if e.iteration == 2:
            break
    assert e.iteration == 2


def test_advance_names_an_infinite_term_and_moves_nothing() -> None:
    e = engine()
    original = type(e.method).discriminator_terms
    e.method.discriminator_terms = lambda draw: (
        original(e.method, draw) | {"info_real": torch.tensor([math.inf])}
    )
    e.schedule = schedule(e.method.steps())
    before = weights(e)
    with pytest.raises(StudioError, match=r"iteration 0 .*step D, rank 0: D/info_real = inf"):
        e.advance(e.pairs[0])
    parameters = {name for name, _ in e.method.named_parameters()}
    assert all(torch.equal(before[n], v) for n, v in weights(e).items() if n in parameters)


def test_engine_keeps_weights_in_float32_under_bf16() -> None:
    e = engine(mixed_precision="bf16")
    means = e.advance(e.pairs[0])
    full = engine().advance(e.pairs[0])
    assert all(
        v.dtype == torch.float32 for v in e.method.state_dict().values() if v.is_floating_point()
    )
    for name in full:
        assert float(means[name]) == pytest.approx(float(full[name]), abs=0.05)
    assert any(float(means[name]) != float(full[name]) for name in full)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do fp16")
def test_make_accelerator_refuses_fp16_without_a_gpu() -> None:
    with pytest.raises(StudioError, match="fp16, which needs a GPU"):
        engine(mixed_precision="fp16")


def test_make_accelerator_takes_the_precision_of_the_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert engine(mixed_precision="no").accelerator.mixed_precision == "no"


def test_make_accelerator_ignores_the_launchers_accumulation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert engine().accelerator.gradient_accumulation_steps == 1


@pytest.mark.parametrize(
    ("name", "what"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_make_accelerator_refuses_sharding_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(
        StudioError, match=rf"{what}: found in the launcher's settings, expected --multi_gpu"
    ):
        engine()


def test_make_accelerator_refuses_processes_that_accelerate_does_not_find(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "studio.distributed.launcher.Accelerator",
        lambda **options: SimpleNamespace(num_processes=1, device="mps", **options),
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    make_accelerator("no")  # a name that no launcher has given a meaning
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(
        StudioError, match="the launcher started 2 processes, but Accelerate finds 1 on mps"
    ):
        make_accelerator("no")


def test_set_threads_ignores_the_launchers_single_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    usable = len(os.sched_getaffinity(0))
    monkeypatch.setattr("studio.distributed.launcher.free_cores", lambda: usable)
    try:
        assert set_threads("auto") == torch.get_num_threads() == usable
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(usable))
        assert set_threads("auto") == torch.get_num_threads() == 1
        assert set_threads(2) == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_ema_has_the_half_life_of_the_config() -> None:
    e = engine()
    ema = Ema(e.method, half_life=1000)
    name = "G.last.0.weight"
    start = ema.method.state_dict()[name].clone()
    with torch.no_grad():
        e.method.G.last[0].weight.add_(1.0)
    ema.update(e.method, batch=1000, images_seen=10**9)
    torch.testing.assert_close(ema.method.state_dict()[name], start + 0.5)
    for _ in range(10):
        ema.update(e.method, batch=100, images_seen=10**9)
    torch.testing.assert_close(ema.method.state_dict()[name], start + 0.75)
    Ema(e.method, 0).update(e.method, 16, 16)


def test_ema_follows_quickly_at_first_and_averages_running_statistics() -> None:
    e = engine()
    ema = Ema(e.method, half_life=10_000)
    norm = e.method.D.trunk.halvings[1][2]
    norm.running_mean.fill_(8.0)
    norm.num_batches_tracked.fill_(5)
    ema.update(e.method, batch=16, images_seen=320)  # half-life 16 images
    state = ema.method.state_dict()
    torch.testing.assert_close(state["D.trunk.halvings.1.2.running_mean"], torch.full((8,), 4.0))
    assert int(state["D.trunk.halvings.1.2.num_batches_tracked"]) == 5
    assert not ema.method.training


def test_pair_stream_shows_every_image_once_per_round_in_equal_halves() -> None:
    # Peers' trap 5: one shuffled mixture gives halves of chance sizes, at worst an empty one.
    pairs = engine().pairs
    sizes = {"background": 40, "target": 24}
    pairs.training.items = {domain: np.arange(size) for domain, size in sizes.items()}
    for domain, size in sizes.items():
        drawn = np.concatenate([pairs.indices(t, domain) for t in range(size // 8 * 3)])
        for r in range(3):
            assert sorted(drawn[r * size : (r + 1) * size]) == list(range(size))
        assert not np.array_equal(drawn[:size], drawn[size : 2 * size])
    pair = pairs[3]
    assert len(pair.x) == len(pair.y) == 8


def test_pair_stream_splits_a_round_over_processes_without_overlap() -> None:
    whole = engine().pairs
    from studio.data import PairStream

    parts = [PairStream(whole.dataset, 4, 0, rank, 2) for rank in (0, 1)]
    for t in (0, 1, 5):
        together = np.concatenate([part.indices(t, "target") for part in parts])
        assert np.array_equal(together, whole.indices(t, "target"))


def test_due_is_true_once_per_multiple() -> None:
    times = [n for n in range(16, 400, 16) if due(100, n - 16, n)]
    assert times == [112, 208, 304]
    assert not any(due(0, n - 16, n) for n in range(16, 400, 16))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h50m", 13800), ("25m", 1500), ("90s", 90), ("90", 90), ("1h", 3600), ("0.5s", 0.5)],
)
def test_parse_duration_reads_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 minutes", "-3m", "1:30"])
def test_parse_duration_refuses_other_text(text: str) -> None:
    with pytest.raises(StudioError, match="--stop-after"):
        parse_duration(text)
