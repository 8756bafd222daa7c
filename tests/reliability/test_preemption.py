"""A signal to a training, or to what launched it: saved within one iteration, a code of its own, nobody left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.experiments import tiny
from support.forked import ended, fork
from support.runs import changed, digest
from support.waiting import seen, until
from typer.testing import CliRunner

from studio import cli
from studio.config import dump
from studio.runs import checkpoint
from studio.training import signals
from studio.training.session import train
from studio.training.signals import UNFINISHED, StopSignals, preemptible
from studio.verbs import train as verb

ROOT = Path(__file__).resolve().parent.parent.parent
LONG = {"images": 16_000_000, "save_every": 8_000_000, "log_every": 16}


def command(*options: str, **train_fields: object) -> list[str]:
    """Writes a config and returns the arguments that train it in `run`."""
    Path("tiny.yaml").write_text(dump(tiny("vae", **{**LONG, **train_fields})))
    return ["--cfg", "tiny.yaml", "--run", "run", *options]


def trains(arguments: list[str]) -> int:
    """Forks a process that does what `python studio/train.py` does, without finishing pictures; returns its id."""

    def body() -> None:
        sys.argv = ["studio/train.py", *arguments]
        verb._finish = lambda done: None
        cli.train_main()

    return fork(body, Path("output.pt"))


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)])
def test_a_signal_saves_within_one_iteration_and_the_same_command_resumes(
    name: str, code: int
) -> None:
    child = trains(command())
    until(lambda: seen() >= 48)
    before = seen()
    os.kill(child, getattr(signal, name))
    assert ended([child], 120) == [code]
    saved = checkpoint.newest(Path("run")).images_seen
    assert (
        seen() == saved
    )  # one log line per iteration: none was begun after the last that was saved
    assert before <= saved
    assert not Path("run/.lock").exists()
    budget = saved + 48
    assert ended([trains(command("--resume", images=budget))], 120) == [0]
    train(changed(tiny("vae", **LONG), images=budget), Path("straight"))
    assert digest(Path("run"), budget) == digest(Path("straight"), budget)


def test_a_signal_to_the_whole_group_leaves_the_loader_workers_to_the_training() -> None:
    def body() -> None:
        os.setpgid(0, 0)
        sys.argv = ["studio/train.py", *command(workers=2)]
        cli.train_main()

    child = fork(body, Path("output.pt"))
    until(lambda: seen() >= 48)
    os.killpg(child, signal.SIGTERM)
    assert ended([child], 120) == [UNFINISHED]
    assert checkpoint.newest(Path("run")).images_seen == seen()
    until(lambda: _group_is_empty(child), 60)


def _group_is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_stop_after_has_the_code_of_an_unfinished_training() -> None:
    assert ended([trains(command("--stop-after", "0.5s"))], 120) == [UNFINISHED]
    assert checkpoint.newest(Path("run")).images_seen == seen() > 0


@pytest.mark.parametrize("mark", ["ACCELERATE_DYNAMO_BACKEND", "TORCHELASTIC_RUN_ID", None])
def test_a_training_whose_launcher_dies_saves_and_ends_and_one_without_a_launcher_goes_on(
    mark: str | None,
) -> None:
    def launcher() -> None:
        if mark is not None:
            os.environ[mark] = "no"
        Path("child").write_text(str(trains(command())))
        signal.pause()

    parent = fork(launcher, Path("launcher.pt"))
    until(lambda: seen() >= 48)
    os.kill(parent, signal.SIGKILL)
    assert ended([parent], 60) == [-signal.SIGKILL]
    child = int(Path("child").read_text())
    if mark is None:
        before = seen()
        until(lambda: seen() > before + 160)
        os.kill(child, signal.SIGTERM)
    until(lambda: not Path("run/.lock").exists(), 120)
    assert checkpoint.newest(Path("run")).images_seen == seen()


def test_copies_of_a_signal_are_one_request_and_a_later_one_is_taken_at_its_word() -> None:
    stops, late = [], []
    before = signal.signal(signal.SIGUSR1, lambda *_: late.append("as before"))
    try:
        signals = StopSignals(stops.append)
        with signals:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGUSR1)
            assert (stops, late) == (["SIGUSR1"] * 3, [])
            signals.first -= 3.0
            os.kill(os.getpid(), signal.SIGUSR1)
            assert late == ["as before"]
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (len(stops), len(late)) == (3, 2)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_accelerates_launcher_may_die_and_its_training_is_saved() -> None:
    arguments = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "1",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    script = str(ROOT / "studio" / "train.py")
    launcher = subprocess.Popen(
        [*arguments, script, *command()], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: seen() >= 48, 120)
        launcher.terminate()
        assert launcher.wait(60) != 0
        until(lambda: not Path("run/.lock").exists(), 120)
    finally:
        launcher.kill()
    assert checkpoint.newest(Path("run")).images_seen == seen()
    started = json.loads(Path("run/log.jsonl").read_text().splitlines()[0])["started"]
    assert "studio/train.py --cfg tiny.yaml" in started["command"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(
    "where", ["studio.training.session.build_dataset", "studio.training.summary.finish"]
)
def test_a_signal_while_data_are_read_or_pictures_drawn_has_the_same_code_and_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    arguments = ["train", *command("--requeue", images=32)]
    with monkeypatch.context() as patch:
        patch.setattr(where, lambda *arguments: os.kill(os.getpid(), number))
        result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 75, result.output
    assert f"stopped by {signal.Signals(number).name} while nothing was trained" in result.stderr
    assert signal.getsignal(number) == signal.SIG_DFL
    assert not Path("run/.lock").exists()
    monkeypatch.setattr(
        "studio.training.summary.finish", lambda training: Path("run/drawn").touch()
    )
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert Path("run/drawn").exists()
    assert seen() == 32


def test_a_second_signal_ends_a_stuck_training_in_spite_of_that() -> None:
    def stuck() -> None:
        with preemptible(), StopSignals(lambda name: None):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(signals.SECOND_REQUEST_AFTER + 0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    assert ended([fork(stuck, Path("stuck.pt"))], 30) == [-signal.SIGTERM]
