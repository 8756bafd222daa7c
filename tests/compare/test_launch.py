"""Trainings in separate processes: endings, interrupts, launch templates and the lock of the
folder."""

import os
import shlex
import signal
import sys
import threading
from pathlib import Path

import pytest
from support.runs import studio

from studio.compare.launch import LaunchTemplate, TrainingJob, lock_folder, run_jobs
from studio.errors import StudioError


def job(name: str, script: str) -> TrainingJob:
    Path(f"{name}.py").write_text(script)
    return TrainingJob(
        name, name, Path("runs") / name, [f"{name}.py"], Path("logs") / f"{name}.log"
    )


PYTHON = LaunchTemplate((sys.executable, "{args}"))


def test_run_jobs_reports_the_reason_of_every_ending() -> None:
    jobs = [
        job("good", "print('fine')"),
        job(
            "bad",
            "import sys\nprint('working')\n"
            "sys.exit('error: the file\\n  is missing\\nTraceback of a launcher')",
        ),
        job("killed", "import os\nos.kill(os.getpid(), 9)"),
        job("silent", "raise SystemExit(3)"),
        job("crashed", "raise ValueError('odd')"),
    ]
    endings, stopped = run_jobs(jobs, PYTHON, 2, print)
    assert stopped == ""
    assert [endings[one.name].code for one in jobs] == [0, 1, -9, 3, 1]
    assert endings["bad"].message == "the file; is missing"
    assert endings["killed"].message == "killed by SIGKILL"
    assert endings["silent"].message == "exit code 3, no output"
    assert endings["crashed"].message == "ValueError: odd"
    Path("bad.py").write_text("raise SystemExit('another reason')")
    assert run_jobs(jobs[1:2], PYTHON, 1, print)[0]["bad"].message == "another reason"
    assert "the file" in Path("logs/bad.log").read_text()  # appended


def test_run_jobs_passes_an_interrupt_on_once_and_starts_no_more() -> None:
    script = (
        "import signal, sys, time\ncount = []\n"
        "signal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
        "open('ready', 'w').close()\n"
        "while not count: time.sleep(.02)\n"
        "time.sleep(.3)\nprint('saved after', len(count))\nsys.exit(130)"
    )

    def interrupt() -> None:
        while not Path("ready").exists():
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=interrupt).start()
    endings, stopped = run_jobs(
        [job("first", script), job("second", "print('never')")], PYTHON, 1, print
    )
    assert stopped == "SIGINT"
    assert endings["first"].code == 130
    assert endings["first"].message == "saved after 1"
    assert "second" not in endings
    assert not Path("logs/second.log").exists()
    assert (
        signal.getsignal(signal.SIGINT) is before
    )  # which is not the default where a shell started this in the background


def test_launch_template_fills_its_places() -> None:
    one = TrainingJob("a-seed0", "a", Path("out dir/a-seed0"), ["--cfg", "a b.yaml"], Path("log"))
    whole = LaunchTemplate.parse("env {train} {args}").command(one)
    assert whole[0] == "env"
    assert Path(whole[1]).name == "train.py"
    assert whole[2:] == ["--cfg", "a b.yaml"]
    wrapped = LaunchTemplate.parse("env --job={name} --wrap 'python {train} {args}' {run}").command(
        one
    )
    assert wrapped[1] == "--job=a-seed0"
    assert shlex.split(wrapped[3])[2:] == ["--cfg", "a b.yaml"]
    assert wrapped[4] == "out dir/a-seed0"
    assert LaunchTemplate().command(one)[0] == sys.executable


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("env {train}", "expected {args}"),
        ("env {train} {arg}", "no such place {arg}; did you mean 'args'?"),
        ("no-such-program {args}", "no program is called 'no-such-program'"),
        ("env 'open {args}", "no closing quotation"),
    ],
)
def test_compare_verb_refuses_a_wrong_launcher_before_training(
    template: str, expected: str
) -> None:
    _, error = studio("compare", "digits_dig", "--launcher", template, code=2)
    assert expected in error
    assert not Path("runs").exists()


def test_lock_folder_refuses_a_second_comparison() -> None:
    with (
        lock_folder(Path("out")),
        pytest.raises(StudioError, match="out: another comparison"),
        lock_folder(Path("out")),
    ):
        pass
    with lock_folder(Path("out")):  # free again
        pass
    Path("file").touch()
    with pytest.raises(StudioError, match="cannot be written"), lock_folder(Path("file/out")):
        pass
