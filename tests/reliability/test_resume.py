"""Resuming is exact, wherever and however a training ended.

Weights, averaged weights, optimisers and counters equal those of an undisturbed training.
"""

import os
import signal
from pathlib import Path

import pytest
from support.experiments import tiny
from support.forked import fork, start_processes, wait_for_exit
from support.plain_nets import plain
from support.runs import digest, with_train_fields

from studio.config import Config
from studio.runs import checkpoint
from studio.training.engine import Engine
from studio.training.session import TrainingSession, train

IMAGES, SAVE, ALL = 112, 32, 20
CONFIGS = {
    # Three steps, and batch normalisation.
    "dig+cr": tiny("dig+cr", images=IMAGES, save_every=SAVE, keep=ALL),
    # Two optimisers, which are reset twice.
    "cvae": tiny("cvae", images=IMAGES, save_every=SAVE, keep=ALL, reset_optimizers=48),
    "vae": plain("vae", images=IMAGES, save_every=SAVE, keep=ALL, accumulate=4),
}
ENDS = ["SIGTERM", "kill between", "kill within"]


def train_until_ended(config: Config, how: str, iteration: int, rank: int = 0) -> None:
    """Trains until a clean stop, or `kill -9` between two iterations or in the middle of one."""
    after, backward = TrainingSession.record, Engine._backward
    calls = {"backward": 0}

    def here(engine: Engine) -> bool:
        return engine.processes.rank == rank and engine.iteration == iteration

    def _after(self: TrainingSession, terms: dict) -> None:
        if here(self.engine) and how != "kill within":
            os.kill(os.getpid(), signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
        return after(self, terms)

    def _backward(self: Engine, *rest: object) -> dict:
        calls["backward"] += here(self)
        if how == "kill within" and calls["backward"] == 2:  # the second micro-batch or step
            os.kill(os.getpid(), signal.SIGKILL)
        return backward(self, *rest)

    TrainingSession.record, Engine._backward = _after, _backward
    assert train(config, Path("ended")).stopped in ("SIGTERM", "another process")


def last_saved(how: str, iteration: int) -> int:
    if how == "SIGTERM":
        return iteration * 16
    # "Kill between" comes before the saves, logs and pictures that are due after the iteration.
    return (iteration * 16 - (how == "kill between")) // SAVE * SAVE


def check_resuming(name: str, how: str, iteration: int, workers: int) -> None:
    config = CONFIGS[name]
    (code,) = wait_for_exit(
        [fork(lambda: train_until_ended(config, how, iteration), Path("out.pt"))], 300
    )
    assert code == (0 if how == "SIGTERM" else -signal.SIGKILL)
    assert getattr(checkpoint.newest(Path("ended")), "images_seen", 0) == last_saved(how, iteration)
    done = train(with_train_fields(config, workers=workers), Path("ended"), resume=True)
    assert done.logger.first == last_saved(how, iteration)
    train(config, Path("straight"))
    for number in (64, 96, IMAGES):
        assert digest(Path("ended"), number) == digest(Path("straight"), number)


@pytest.mark.parametrize(
    ("name", "how", "iteration", "workers"),
    [
        ("dig+cr", "kill within", 3, 2),
        ("cvae", "kill between", 5, 0),
        ("vae", "kill within", 5, 0),
        ("vae", "SIGTERM", 3, 2),
    ],
)
def test_train_resumes_exactly(name: str, how: str, iteration: int, workers: int) -> None:
    check_resuming(name, how, iteration, workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("iteration", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_train_resumes_exactly_at_every_iteration(
    name: str, how: str, iteration: int, workers: int
) -> None:
    check_resuming(name, how, iteration, workers)


def check_resuming_on_two(folder: Path, name: str, how: str, iteration: int, rank: int) -> None:
    config = CONFIGS[name]
    codes = []
    for run, body in (
        ("out", lambda: train_until_ended(config, how, iteration, rank)),
        ("out", lambda: train(config, Path("ended"), resume=True).engine.processes.count),
        ("out", lambda: train(config, Path("straight")).engine.processes.count),
    ):
        (folder / run).mkdir(exist_ok=True)
        codes.append(wait_for_exit(start_processes(2, body, folder / run), 300))
    assert codes[0] == [0, 0] if how == "SIGTERM" else codes[0][rank] == -signal.SIGKILL
    assert codes[1:] == [[0, 0], [0, 0]]
    for number in (96, IMAGES):
        assert digest(Path("ended"), number) == digest(Path("straight"), number)
    alone = train(config, Path("alone"))
    # One process gives other weights, so two did take part.
    assert digest(alone.folder, IMAGES) != digest(Path("straight"), IMAGES)


@pytest.mark.parametrize(
    ("name", "how", "iteration", "rank"),
    [("dig+cr", "kill within", 5, 1), ("vae", "SIGTERM", 3, 1)],
)
def test_train_resumes_exactly_on_two_processes(
    tmp_path: Path, name: str, how: str, iteration: int, rank: int
) -> None:
    check_resuming_on_two(tmp_path, name, how, iteration, rank)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("iteration", [1, 3, 4, 6])
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_train_resumes_exactly_on_two_processes_at_every_iteration(
    tmp_path: Path, name: str, how: str, iteration: int, rank: int
) -> None:
    check_resuming_on_two(tmp_path, name, how, iteration, rank)
