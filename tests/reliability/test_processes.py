"""Several processes train as one does on the joined batch. If one dies, the others stop."""

import atexit
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.experiments import TRAINED, tiny
from support.fixed_noise import difference, gradients
from support.forked import run_together, start_processes, wait_for_exit
from support.plain_nets import plain
from support.waiting import wait_until
from torch import Tensor

from studio.build import build_dataset
from studio.config import Config
from studio.distributed.processes import Processes
from studio.errors import StudioError
from studio.methods import cvae, mm_cvae, principled, sepvae
from studio.runs import checkpoint
from studio.runs.lock import Lock
from studio.training import engine as engine_module
from studio.training.engine import Engine
from studio.training.failures import NotFinite
from studio.training.recovery import Recovery
from studio.training.session import TrainingSession, train

# Methods with terms that are statistics of the whole batch.
STATISTICS = ["cvae", "cvae+published", "mm_cvae", "sepvae", "principled"]


def engine(config: Config) -> Engine:
    return Engine(config, build_dataset(config))


def buffers(e: Engine) -> dict[str, Tensor]:
    return {
        name: value.clone() for name, value in e.method.named_buffers() if value.is_floating_point()
    }


def configs(only: list[str]) -> dict[str, Config]:
    """Returns each method on nets with batch normalisation, and on plain nets without."""
    return {
        f"{name}, {kind}": make(name)
        for name in only
        for kind, make in (("norm", tiny), ("plain", plain))
    }


def measure_gradients(only: list[str], averaged: bool = True) -> dict[str, tuple[dict, dict]]:
    """Returns gradients and running statistics of this process after one iteration."""
    engines = {name: engine(config) for name, config in configs(only).items()}
    return {
        name: (gradients(e, before_averaging=not averaged), buffers(e))
        for name, e in engines.items()
    }


def test_two_processes_have_the_gradients_of_one_on_the_joined_batch(
    tmp_path: Path,
) -> None:
    alone = measure_gradients(TRAINED)
    first, second = run_together(2, lambda: measure_gradients(TRAINED), tmp_path / "out")
    for name, (gradient, statistics) in alone.items():
        for process in (first, second):
            # The first Adam step of D is the sign of its gradient. Behind a normalisation this
            # amplifies rounding.
            assert difference(gradient, process[name][0]) < (5e-6 if "norm" in name else 1e-6), name
            assert not statistics or difference(statistics, process[name][1]) < 1e-6, name


def test_two_processes_have_other_gradients_without_averaging(tmp_path: Path) -> None:
    alone = measure_gradients(["vae"])
    apart = run_together(2, lambda: measure_gradients(["vae"], averaged=False), tmp_path / "out")
    for name, (gradient, _) in alone.items():
        assert all(difference(gradient, process[name][0]) > 1e-2 for process in apart)


def test_two_processes_have_other_gradients_without_gathering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = measure_gradients(STATISTICS)
    for module in (cvae, mm_cvae, principled):
        monkeypatch.setattr(module, "gather_rows", lambda rows: rows)
    monkeypatch.setattr(sepvae, "gather_domains", lambda rows: rows)
    apart = run_together(2, lambda: measure_gradients(STATISTICS), tmp_path / "out")
    for name, (gradient, _) in alone.items():
        assert difference(gradient, apart[0][name][0]) > 1e-4, name


def test_two_processes_differ_without_shared_batch_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = measure_gradients(["dig"])
    monkeypatch.setattr("studio.training.engine.share_batch_norm_", lambda net, device: net)
    apart = run_together(2, lambda: measure_gradients(["dig"]), tmp_path / "out")
    assert difference(alone["dig, norm"][0], apart[0]["dig, norm"][0]) > 1e-3
    assert difference(alone["dig, plain"][0], apart[0]["dig, plain"][0]) < 1e-6


def test_share_batch_norm_equals_torch_in_one_process() -> None:
    from studio.distributed.collectives import share_batch_norm_

    for norm, sides in (
        (torch.nn.BatchNorm1d, ()),
        (torch.nn.BatchNorm2d, (4, 4)),
        (torch.nn.BatchNorm3d, (2, 2, 2)),
    ):
        ours, theirs = torch.nn.Sequential(norm(5)), torch.nn.Sequential(norm(5))
        for layer in (ours[0], theirs[0]):
            torch.nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(0))
        share_batch_norm_(ours, torch.device("cpu"))
        assert type(ours[0]) is not norm
        x = torch.randn(6, 5, *sides) * 3 + 1
        for mode in (True, True, False):
            inputs = [x.clone().requires_grad_() for _ in range(2)]
            outputs = [net.train(mode)(i) for net, i in zip((ours, theirs), inputs, strict=True)]
            torch.testing.assert_close(*outputs)
            for output in outputs:
                output.square().sum().backward()
            torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("victim", [0, 1])
def test_train_stops_undamaged_when_another_process_dies(tmp_path: Path, victim: int) -> None:
    def body() -> None:
        original = TrainingSession.record

        def die(self: TrainingSession, terms: dict) -> None:
            if self.engine.iteration == 5 and self.engine.processes.rank == victim:
                Path("died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, terms)

        TrainingSession.record = die
        train(tiny(images=16_000, save_every=32), Path("run"))

    (tmp_path / "out").mkdir()
    children = start_processes(2, body, tmp_path / "out")
    wait_until(Path("died").exists, 120)
    codes = wait_for_exit(
        children, 30
    )  # the documented limit, although a broken connection shows at once
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1
    assert (
        "StudioError: another process has ended; --resume"
        in (tmp_path / "out" / f"{1 - victim}.txt").read_text()
    )
    assert [c.images_seen for c in checkpoint.every(Path("run"))] == [32, 64]
    assert train(tiny(images=96, save_every=32), Path("run"), resume=True).engine.images_seen == 96


def slow_down(owner: object, name: str) -> None:
    """Makes a function take half a second longer in the first process."""
    original, more = getattr(owner, name), 0.5 * (os.environ["RANK"] == "0")
    setattr(owner, name, lambda *rest, **named: (time.sleep(more), original(*rest, **named))[1])


def test_processes_stay_until_the_first_has_saved_a_stopped_training(tmp_path: Path) -> None:
    # Once one process has ended with a code, a launcher ends the others, and kills them after half
    # a minute.
    def body() -> tuple[bool, bool]:
        slow_down(TrainingSession, "save")
        slow_down(Lock, "release")
        assert train(tiny("vae", images=16_000), Path("run"), stop_after=0.0).stopped
        return checkpoint.newest(Path("run")) is not None, Path("run/.lock").exists()

    assert run_together(2, body, tmp_path / "out") == [(True, False)] * 2


def test_processes_stay_until_the_first_has_saved_the_diagnosis(
    tmp_path: Path,
) -> None:
    def body() -> int:
        def broken(engine: Engine, *_: object) -> None:
            raise NotFinite(engine.iteration, engine.images_seen, [])

        engine_module._raise_together = broken
        slow_down(Recovery, "_write_diagnosis")
        with pytest.raises(NotFinite):
            train(tiny("vae", rollbacks=0), Path("run"))
        return len(list(Path("run/not_finite").glob("*")))

    assert run_together(2, body, tmp_path / "out") == [2, 2]


@pytest.mark.parametrize(
    ("backend", "fails", "left", "world"),
    [("gloo", 1, True, 2), ("nccl", 0, True, 2), ("nccl", 1, False, 2), ("nccl", 1, True, 1)],
)
def test_process_that_fails_leaves_the_group_unless_that_would_wait(
    tmp_path: Path, backend: str, fails: int, left: bool, world: int
) -> None:
    def body() -> bool:
        atexit._clear()  # forgets the handlers of the parent process
        e = engine(tiny("vae"))
        assert dist.is_initialized()
        dist.get_backend = lambda: backend
        with suppress(ZeroDivisionError), e.processes.skip_destruction_on_error():
            1 / (1 - fails)
        atexit._run_exitfuncs()
        return not dist.is_initialized()

    assert run_together(world, body, tmp_path / "out") == [left] * world


def resume_in(places: list[str]) -> Callable[[], str]:
    """Resumes in the first place as rank 0 and in the second as rank 1.

    Returns a function that returns the number of images seen, or the error message.
    """

    def body() -> str:
        os.chdir(places[int(os.environ["RANK"])])
        try:
            return str(train(tiny("vae", images=48), Path("run"), resume=True).engine.images_seen)
        except StudioError as error:
            return str(error)

    return body


def test_train_refuses_processes_without_a_common_directory(tmp_path: Path) -> None:
    (tmp_path / "other" / "run").mkdir(parents=True)
    train(tiny("vae", images=16), Path("run"))
    refused = run_together(
        2, resume_in([str(tmp_path), str(tmp_path / "other")]), tmp_path / "refused"
    )
    expected = (
        f"run: checkpoint 00000016 is not seen by rank 1 on {socket.gethostname()}; "
        "expected one directory that the "
    )
    assert [line[: len(expected)] for line in refused] == [expected] * 2
    assert run_together(2, resume_in([str(tmp_path)] * 2), tmp_path / "taken") == ["48", "48"]


@pytest.mark.parametrize(("late", "reasons"), [(0, ["SIGTERM", "another process"]), (1, ["", ""])])
def test_processes_do_not_wait_when_one_is_signalled_in_the_last_save(
    tmp_path: Path, late: int, reasons: list[str]
) -> None:
    def body() -> tuple[str, bool]:
        average, finished = Processes.any, []

        def any_of(self: Processes, *flags: bool) -> tuple[bool, ...]:
            raised = average(self, *flags)
            if late == self.rank == 1 and checkpoint.newest(Path("run")) is not None:
                os.kill(os.getpid(), signal.SIGTERM)
            return raised

        def save(self: TrainingSession) -> None:
            original(self)
            if late == self.engine.processes.rank == 0:
                os.kill(os.getpid(), signal.SIGTERM)

        original, TrainingSession.save, Processes.any = TrainingSession.save, save, any_of
        stopped = train(tiny("vae", images=32), Path("run"), finish=finished.append).stopped
        return stopped, bool(finished)

    found = run_together(2, body, tmp_path / "out")
    assert [stopped for stopped, _ in found] == reasons
    assert [finished for _, finished in found] == [late == 1, False]
