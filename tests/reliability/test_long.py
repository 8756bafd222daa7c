"""A long training keeps its use of memory and file handles, and its log stays up to date."""

import json
import os
from pathlib import Path

import pytest
from support.experiments import tiny
from support.plain_nets import plain

from studio.build import build_dataset
from studio.training.engine import Engine
from studio.training.session import TrainingSession, train


def test_accelerator_keeps_no_optimisers_after_a_reset() -> None:
    config = tiny("vae", images=16 * 40, reset_optimizers=16)
    engine = Engine(config, build_dataset(config))
    counts = []
    for _ in engine.iterations(config.train.images):
        counts.append(len(engine.accelerator._optimizers))
    assert set(counts) == {1}


@pytest.mark.slow
def test_train_uses_no_more_memory_or_handles_after_20_000_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples: list[tuple[int, int, int, int]] = []
    original = TrainingSession.record

    def after(self: TrainingSession, terms: dict) -> None:
        original(self, terms)
        if self.engine.iteration % 1_000 == 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
                "SC_PAGE_SIZE"
            )
            last = json.loads(Path("run/log.jsonl").read_text().splitlines()[-1])["images_seen"]
            samples.append(
                (
                    self.engine.iteration,
                    resident,
                    len(os.listdir("/proc/self/fd")),
                    self.engine.images_seen - last,
                )
            )

    monkeypatch.setattr(TrainingSession, "record", after)
    steps = 20_000
    config = plain(
        "vae",
        images=16 * steps,
        save_every=16 * 500,
        log_every=160,
        reset_optimizers=1_600,
        workers=0,
    )
    train(config, Path("run"))
    assert len(samples) == steps // 1_000
    print(*samples, sep="\n")
    _, resident, handles, lags = zip(*samples, strict=True)
    assert max(resident[4:]) - resident[3] < 16e6
    # One more, because the lock file may be open at that moment for its heartbeat.
    assert max(handles) <= min(handles[1:]) + 1
    assert max(lags) < 160
