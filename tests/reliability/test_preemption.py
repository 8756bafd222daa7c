"""A signal to a training or its launcher.

The training saves within one iteration, ends with its own exit code, and leaves no process behind.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.experiments import tiny
from support.forked import fork, wait_for_exit
from support.runs import digest, with_train_fields
from support.waiting import images_logged, wait_until
from typer.testing import CliRunner

from studio import cli
from studio.config import dump
from studio.runs import checkpoint
from studio.training import signals, summary
from studio.training.session import train
from studio.training.signals import UNFINISHED, StopSignals, preemptible

ROOT = Path(__file__).resolve().parent.parent.parent
LONG = {"images": 16_000_000, "save_every": 8_000_000, "log_every": 16}


def command(*options: str, **train_fields: object) -> list[str]:
    """Writes a config and returns the arguments that train it in `run`."""
    Path("tiny.yaml").write_text(dump(tiny("vae", **{**LONG, **train_fields})))
    return ["--cfg", "tiny.yaml", "--run", "run", *options]


def fork_training(arguments: list[str]) -> int:
    """Forks a process that acts as `python studio/train.py`, without its last pictures.

    Returns its id.
    """

    def body() -> None:
        sys.argv = ["studio/train.py", *arguments]
        summary.finish = lambda *_: None
        cli.train_main()

    return fork(body, Path("output.pt"))


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)])
def test_train_saves_within_one_iteration_and_resumes_after_a_signal(name: str, code: int) -> None:
    child = fork_training(command())
    wait_until(lambda: images_logged() >= 48)
    before = images_logged()
    os.kill(child, getattr(signal, name))
    assert wait_for_exit([child], 120) == [code]
    saved = checkpoint.newest(Path("run")).images_seen
    # The log has one line per iteration, so none began after the saved one.
    assert images_logged() == saved
    assert before <= saved
    assert not Path("run/.lock").exists()
    budget = saved + 48
    assert wait_for_exit([fork_training(command("--resume", images=budget))], 120) == [0]
    train(with_train_fields(tiny("vae", **LONG), images=budget), Path("straight"))
    assert digest(Path("run"), budget) == digest(Path("straight"), budget)


def test_train_ends_its_loader_workers_after_a_signal_to_the_group() -> None:
    def body() -> None:
        os.setpgid(0, 0)
        sys.argv = ["studio/train.py", *command(workers=2)]
        cli.train_main()

    child = fork(body, Path("output.pt"))
    wait_until(lambda: images_logged() >= 48)
    os.killpg(child, signal.SIGTERM)
    assert wait_for_exit([child], 120) == [UNFINISHED]
    assert checkpoint.newest(Path("run")).images_seen == images_logged()
    wait_until(lambda: _group_is_empty(child), 60)


def _group_is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_train_exits_as_unfinished_after_stop_after() -> None:
    assert wait_for_exit([fork_training(command("--stop-after", "0.5s"))], 120) == [UNFINISHED]
    assert checkpoint.newest(Path("run")).images_seen == images_logged() > 0


@pytest.mark.parametrize("mark", ["ACCELERATE_DYNAMO_BACKEND", "TORCHELASTIC_RUN_ID", None])
def test_train_saves_and_ends_only_when_its_launcher_dies(
    mark: str | None,
) -> None:
    def launcher() -> None:
        if mark is not None:
            os.environ[mark] = "no"
        Path("child").write_text(str(fork_training(command())))
        signal.pause()

    parent = fork(launcher, Path("launcher.pt"))
    wait_until(lambda: images_logged() >= 48)
    os.kill(parent, signal.SIGKILL)
    assert wait_for_exit([parent], 60) == [-signal.SIGKILL]
    child = int(Path("child").read_text())
    if mark is None:
        before = images_logged()
        wait_until(lambda: images_logged() > before + 160)
        os.kill(child, signal.SIGTERM)
    wait_until(lambda: not Path("run/.lock").exists(), 120)
    assert checkpoint.newest(Path("run")).images_seen == images_logged()


def test_stop_signals_ignores_copies_and_obeys_a_later_signal() -> None:
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


def test_train_saves_when_the_launcher_of_accelerate_dies() -> None:
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
        wait_until(lambda: images_logged() >= 48, 120)
        launcher.terminate()
        assert launcher.wait(60) != 0
        wait_until(lambda: not Path("run/.lock").exists(), 120)
    finally:
        launcher.kill()
    assert checkpoint.newest(Path("run")).images_seen == images_logged()
    started = json.loads(Path("run/log.jsonl").read_text().splitlines()[0])["started"]
    assert "studio/train.py --cfg tiny.yaml" in started["command"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(
    "where", ["studio.training.session.build_dataset", "studio.training.summary.finish"]
)
def test_train_exits_as_unfinished_when_signalled_outside_the_loop(
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
    monkeypatch.setattr("studio.training.summary.finish", lambda *_: Path("run/drawn").touch())
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert Path("run/drawn").exists()
    assert images_logged() == 32


def test_second_signal_ends_a_training_that_hangs() -> None:
    def stuck() -> None:
        with preemptible(), StopSignals(lambda name: None):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(signals.SECOND_REQUEST_AFTER + 0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    assert wait_for_exit([fork(stuck, Path("stuck.pt"))], 30) == [-signal.SIGTERM]
