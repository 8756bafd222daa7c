"""Trainings in processes of their own: a crash of one takes no other along, and an interrupt lets each save."""

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

__all__ = ["Ending", "Job", "Launcher", "claimed", "run_jobs"]

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
PLACES = ("train", "args", "run", "name")
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
POLL, TELL = 0.1, 10.0  # seconds between looks at the processes, and between lines about a training


@dataclass
class Job:
    """One training to be run.

    Attributes:
        name: of the run's folder.
        title: what to call it in messages.
        run: the run's folder.
        arguments: of `studio train`.
        log: where its output goes, appended.
        start: length of the log before.
    """

    name: str
    title: str
    run: Path
    arguments: list[str]
    log: Path
    start: int = field(default=0, init=False)

    def tail(self) -> list[str]:
        """Returns what this training has printed lately, a line each, without blank ones."""
        if not self.log.is_file():
            return []
        with self.log.open("rb") as stream:
            stream.seek(max(self.start, self.log.stat().st_size - 8192))
            text = stream.read().decode(errors="replace")
        return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit code (negative: the signal that killed it), and what it said last."""

    code: int
    said: str


@dataclass(frozen=True)
class Launcher:
    """How a training is started: here, or by a command of the user's.

    Attributes:
        words: of the command, with places `{train}` (path of train.py), `{args}`, `{run}` (the run's folder) and `{name}`
            (its name); empty: by this Python.
    """

    words: tuple[str, ...] = ()

    @classmethod
    def read(cls, template: str) -> "Launcher":
        """Reads a template such as `accelerate launch {train} {args}`; no shell is involved.

        Raises:
            StudioError: it has no `{args}`, a place that does not exist, or names no program.
        """
        try:
            words = tuple(shlex.split(template))
        except ValueError as error:
            raise StudioError(f"--launcher {template}: {str(error).lower()}") from None
        places = re.findall(r"\{(\w+)\}", template)
        unknown = [place for place in places if place not in PLACES]
        if unknown:
            raise StudioError(
                f"--launcher {template}: no such place {{{unknown[0]}}}{nearest(unknown[0], PLACES)}"
            )
        if "args" not in places:
            raise StudioError(
                f"--launcher {template}: expected {{args}} where the arguments of train.py go"
            )
        if shutil.which(words[0]) is None:
            raise StudioError(f"--launcher {template}: no program is called {words[0]!r}")
        return cls(words)

    def command(self, job: Job) -> list[str]:
        """Returns the words of the command. A place inside a word (`--wrap 'python {train} {args}'`) is quoted for a shell."""
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
    jobs: Sequence[Job],
    launcher: Launcher,
    at_once: int,
    tell: Callable[[str], None],
    keep: Sequence[int] = (),
) -> tuple[dict[str, Ending], str]:
    """Runs trainings, some at a time. SIGINT, SIGTERM and SIGHUP are handed on to those that run, and no more are started.

    Args:
        jobs: in order.
        launcher: what starts them.
        at_once: how many run at a time.
        tell: takes lines for the person who waits.
        keep: file descriptors that the trainings inherit.

    Returns:
        endings by the job's name, and the signal that stopped it all, or "".
    """
    waiting, running = list(jobs), dict[str, tuple[Job, subprocess.Popen]]()
    endings: dict[str, Ending] = {}
    told: dict[str, tuple[float, str]] = {}
    with _signals() as (arrived, stopped):
        while running or (waiting and not stopped):
            _hand_on(arrived, [process for _, process in running.values()])
            while waiting and len(running) < at_once and not stopped:
                job = waiting.pop(0)
                tell(
                    f"{job.title}: {'launching' if launcher.words else 'training'}; its output: {job.log}"
                )
                told[job.name] = (time.monotonic(), "")
                try:
                    running[job.name] = job, _started(job, launcher, keep)
                except OSError as error:
                    endings[job.name] = Ending(
                        127, f"{launcher.command(job)[0]}: cannot be started: {error.strerror}"
                    )
            time.sleep(POLL)
            for name, (job, process) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    ending = endings[name] = Ending(
                        process.returncode, _last_words(job.tail(), process.returncode)
                    )
                    tell(
                        f"{job.title}: {f'exit code {ending.code}: {ending.said}' if ending.code else 'ended'}"
                    )
                else:
                    told[name] = _progress(job, *told[name], tell)
    return endings, stopped[0] if stopped else ""


def _started(job: Job, launcher: Launcher, keep: Sequence[int]) -> subprocess.Popen:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.start = job.log.stat().st_size if job.log.is_file() else 0
    with job.log.open("ab") as log:
        # A process group of its own: the terminal's Ctrl-C would reach it a second time, and a second one does not save.
        return subprocess.Popen(
            launcher.command(job),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            pass_fds=tuple(keep),
        )


def _progress(job: Job, when: float, line: str, tell: Callable[[str], None]) -> tuple[float, str]:
    """Tells the newest line of a training now and then."""
    if time.monotonic() - when < TELL:
        return when, line
    newest = next(iter(reversed(job.tail())), "")
    if newest and newest != line:
        tell(f"{job.title}: {newest.removeprefix(f'{job.run}: ')}")
    return time.monotonic(), newest


def _last_words(lines: Sequence[str], code: int) -> str:
    """Returns the error that a training ended with, in one line; what a launcher says after it is passed over."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    errors = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if not errors:
        return lines[-1] if lines else f"exit code {code}, and not a word"
    more = [line.strip() for line in lines[errors[-1] + 1 :] if line.startswith("  ")]
    return "; ".join([lines[errors[-1]].removeprefix("error: "), *more])


def _hand_on(arrived: list[int], processes: Sequence[subprocess.Popen]) -> None:
    """Hands the signals that have arrived on to the processes' groups."""
    while arrived:
        number = arrived.pop(0)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                # A training knows SIGINT and SIGTERM; a closed terminal asks for the latter.
                os.killpg(process.pid, number if number == signal.SIGINT else signal.SIGTERM)


@contextlib.contextmanager
def _signals() -> Iterator[tuple[list[int], list[str]]]:
    """While inside, collects signals instead of dying of them; yields those to be handed on, and the names of all."""
    arrived: list[int] = []
    names: list[str] = []

    def collect(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        names.append(signal.Signals(number).name)

    before = {}
    for number in SIGNALS:
        with contextlib.suppress(
            ValueError
        ):  # not the main thread: whoever called from a thread handles signals
            before[number] = signal.signal(number, collect)
    try:
        yield arrived, names
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[tuple[int, ...]]:
    """While inside, no other comparison trains in the folder, nor a training that one left behind; yields what they inherit.

    Raises:
        StudioError: one does, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield ()
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StudioError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StudioError(
            f"{folder}: another comparison, or a training that it started, is still at work there"
        ) from None
    try:
        yield (descriptor,)
    finally:
        os.close(descriptor)
