"""Trainings in separate processes.

A crash of one training leaves the others running, and an interrupt lets each of them save.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from studio.errors import StudioError, nearest
from studio.kernel_lock import LockHeldError, kernel_lock
from studio.signal_handlers import handle_signals

__all__ = ["Ending", "LaunchTemplate", "TrainingJob", "lock_folder", "run_jobs"]

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
PLACES = ("train", "args", "run", "name")
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
POLL_SECONDS = 0.1  # between two looks at the processes
REPORT_SECONDS = 10.0  # between two messages about a training
TAIL_BYTES = 8192  # of a log file
Log = Callable[[str], None]


@dataclass
class TrainingJob:
    """One training to be run.

    Attributes:
        name: of the run's folder.
        title: the name of the training in messages.
        run: the run's folder.
        arguments: of `studio train`.
        log: file for its output, which is appended.
        start: length of the log in bytes before the training.
    """

    name: str
    title: str
    run: Path
    arguments: list[str]
    log: Path
    start: int = field(default=0, init=False)

    def tail(self) -> list[str]:
        """Returns the last lines that this training has printed, without blank ones."""
        if not self.log.is_file():
            return []
        with self.log.open("rb") as stream:
            stream.seek(max(self.start, self.log.stat().st_size - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
        return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        code: exit code. A negative code is the number of the signal that killed the process.
        message: the last message of the process.
    """

    code: int
    message: str


@dataclass(frozen=True)
class LaunchTemplate:
    """The command that starts a training.

    Attributes:
        words: of the command, with the places `{train}` (path of train.py), `{args}`, `{run}` (the
            run's folder) and `{name}` (its name). Without words, this Python starts the training.
    """

    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, template: str) -> "LaunchTemplate":
        """Parses a template such as `accelerate launch {train} {args}`. No shell is involved.

        Raises:
            StudioError: it lacks `{args}`, has an unknown place, or names no program.
        """
        try:
            words = tuple(shlex.split(template))
        except ValueError as error:
            raise StudioError(f"--launcher {template}: {str(error).lower()}") from None
        places = re.findall(r"\{(\w+)\}", template)
        unknown = [place for place in places if place not in PLACES]
        if unknown:
            raise StudioError(
                f"--launcher {template}: no such place {{{unknown[0]}}}"
                f"{nearest(unknown[0], PLACES)}"
            )
        if "args" not in places:
            raise StudioError(
                f"--launcher {template}: expected {{args}} where the arguments of train.py go"
            )
        if shutil.which(words[0]) is None:
            raise StudioError(f"--launcher {template}: no program is called {words[0]!r}")
        return cls(words)

    def command(self, job: TrainingJob) -> list[str]:
        """Returns the words of the command for a training.

        A place inside a word, as in `--wrap 'python {train} {args}'`, is quoted for a shell.
        """
        if not self.words:
            return [sys.executable, str(TRAIN), *job.arguments]
        values = {
            "train": [str(TRAIN)],
            "args": job.arguments,
            "run": [str(job.run)],
            "name": [job.name],
        }
        command: list[str] = []
        for word in self.words:
            whole = re.fullmatch(r"\{(\w+)\}", word)
            if whole:
                command += values[whole[1]]
            else:
                command.append(
                    re.sub(r"\{(\w+)\}", lambda place: shlex.join(values[place[1]]), word)
                )
        return command


def run_jobs(
    jobs: Sequence[TrainingJob],
    template: LaunchTemplate,
    at_once: int,
    log: Log,
    descriptors: Sequence[int] = (),
) -> tuple[dict[str, Ending], str]:
    """Runs trainings, some at the same time.

    SIGINT, SIGTERM and SIGHUP are passed on to the running trainings, and no other one starts.

    Args:
        jobs: in order.
        template: the command that starts them.
        at_once: number of simultaneous trainings.
        log: receives progress messages.
        descriptors: file descriptors that the trainings inherit.

    Returns:
        endings by the job's name, and the signal that stopped the comparison, or "".
    """
    waiting, running = list(jobs), dict[str, tuple[TrainingJob, subprocess.Popen]]()
    endings: dict[str, Ending] = {}
    reported: dict[str, tuple[float, str]] = {}
    with _collect_signals() as (arrived, stopped):
        while running or (waiting and not stopped):
            _pass_on(arrived, [process for _, process in running.values()])
            while waiting and len(running) < at_once and not stopped:
                job = waiting.pop(0)
                action = "launching" if template.words else "training"
                log(f"{job.title}: {action}, output in {job.log}")
                reported[job.name] = (time.monotonic(), "")
                try:
                    running[job.name] = job, _start(job, template, descriptors)
                except OSError as error:
                    program = template.command(job)[0]
                    endings[job.name] = Ending(
                        127, f"{program}: cannot be started: {error.strerror}"
                    )
            time.sleep(POLL_SECONDS)
            for name, (job, process) in list(running.items()):
                code = process.poll()
                if code is None:
                    reported[name] = _report(job, *reported[name], log)
                    continue
                del running[name]
                ending = endings[name] = Ending(code, _last_message(job.tail(), code))
                log(f"{job.title}: {f'exit code {code}: {ending.message}' if code else 'ended'}")
    return endings, stopped[0] if stopped else ""


def _start(
    job: TrainingJob, template: LaunchTemplate, descriptors: Sequence[int]
) -> subprocess.Popen:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.start = job.log.stat().st_size if job.log.is_file() else 0
    with job.log.open("ab") as log:
        # A separate process group, because otherwise Ctrl-C in the terminal would reach the
        # training a second time, and a training that is interrupted twice does not save.
        return subprocess.Popen(
            template.command(job),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            pass_fds=tuple(descriptors),
        )


def _report(job: TrainingJob, when: float, line: str, log: Log) -> tuple[float, str]:
    """Logs the newest line of a training at intervals.

    Returns:
        time and text of the last logged line.
    """
    if time.monotonic() - when < REPORT_SECONDS:
        return when, line
    newest = next(iter(reversed(job.tail())), "")
    if newest and newest != line:
        log(f"{job.title}: {newest.removeprefix(f'{job.run}: ')}")
    return time.monotonic(), newest


def _last_message(lines: Sequence[str], code: int) -> str:
    """Returns the error that ended a training, in one line, without the launcher's output."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    errors = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if not errors:
        return lines[-1] if lines else f"exit code {code}, no output"
    more = [line.strip() for line in lines[errors[-1] + 1 :] if line.startswith("  ")]
    return "; ".join([lines[errors[-1]].removeprefix("error: "), *more])


def _pass_on(arrived: list[int], processes: Sequence[subprocess.Popen]) -> None:
    """Passes the collected signals on to the process groups and clears the list."""
    while arrived:
        number = arrived.pop(0)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                # A training handles SIGINT and SIGTERM. SIGHUP of a closed terminal becomes
                # SIGTERM.
                os.killpg(process.pid, number if number == signal.SIGINT else signal.SIGTERM)


@contextlib.contextmanager
def _collect_signals() -> Iterator[tuple[list[int], list[str]]]:
    """Collects signals inside the block, which would otherwise end this process.

    Yields:
        numbers of the signals to be passed on, and names of all signals.
    """
    arrived: list[int] = []
    names: list[str] = []

    def collect(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        names.append(signal.Signals(number).name)

    with handle_signals(SIGNALS, collect):
        yield arrived, names


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[tuple[int, ...]]:
    """Locks the folder of a comparison inside the block.

    No other comparison can train there. Trainings inherit the lock, so the folder stays locked
    while a training that outlives its comparison is still running.

    Yields:
        file descriptors that the trainings must inherit.

    Raises:
        StudioError: the folder is locked or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = stack.enter_context(kernel_lock(folder / ".lock", inherited=True))
        except LockHeldError:
            raise StudioError(
                f"{folder}: another comparison, or a training that it started, is still running "
                "there"
            ) from None
        except OSError as error:
            raise StudioError(f"{folder}: cannot be written: {error.strerror}") from None
        yield () if descriptor is None else (descriptor,)
