"""How a training is asked to stop: signals, and a launcher that is gone.

SIGINT, SIGTERM and SIGUSR1 ask for a stop after the running iteration; the training saves and its process ends with exit
code 75 ("try again": `--resume` continues), or with 130 after SIGINT, so that Ctrl-C stops a shell's loop as well. A second
signal, two seconds later or more, is taken as it would have been without us and may end the process before it has saved.
While nothing is trained, as data are read or pictures drawn, there is nothing to save: `preemptible` ends the process at once,
with the same codes, so that a scheduler's script starts it again.

Accelerate's launcher for one process dies of a signal without passing it on, and would leave its child behind. A process
that a launcher has started therefore looks at each iteration whether its parent is still the same.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = [
    "UNFINISHED",
    "Launcher",
    "Preempted",
    "Signals",
    "exit_code",
    "leave_signals_to_the_main_process",
    "preemptible",
]

UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h
REQUESTS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
MARKS = (
    "ACCELERATE_DYNAMO_BACKEND",
    "TORCHELASTIC_RUN_ID",
)  # what accelerate's launcher and torchrun tell their children
PATIENCE = 2.0  # seconds: a launcher's copy of the same Ctrl-C is no second request


def exit_code(stopped: str) -> int:
    """Returns the exit code of a training that ended for a reason: `Training.stopped`, "" for one that used its budget."""
    if not stopped:
        return 0
    return 130 if stopped == "SIGINT" else UNFINISHED


def leave_signals_to_the_main_process(worker: int = 0) -> None:
    """A signal to the whole group must not kill the workers while the main process finishes its iteration and saves."""
    for number in REQUESTS:
        signal.signal(number, signal.SIG_IGN)


class Launcher:
    """The process that started this one, if it is a launcher; others may go (`nohup studio train &`)."""

    def __init__(self) -> None:
        self.parent = os.getppid() if any(mark in os.environ for mark in MARKS) else None

    def gone(self) -> bool:
        """Whether there was a launcher and it has died."""
        return self.parent is not None and os.getppid() != self.parent


class Preempted(BaseException):
    """SIGTERM or SIGUSR1 has come while nothing was trained; its text is the signal's name. Like KeyboardInterrupt, no error."""


def _raise(number: int, frame: FrameType | None) -> None:
    raise Preempted(signal.Signals(number).name)


@contextmanager
def preemptible() -> Iterator[None]:
    """While inside, and outside of `Signals`, SIGTERM and SIGUSR1 raise Preempted, as SIGINT raises KeyboardInterrupt."""
    before = {}
    with suppress(ValueError):  # not the main thread
        before = {
            number: signal.signal(number, _raise) for number in REQUESTS if number != signal.SIGINT
        }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Signals:
    """While inside, signals ask for a stop; afterwards they do what they did before.

    Args:
        stop: called with the signal's name.
        signals: which.
    """

    def __init__(self, stop: Callable[[str], None], signals: Sequence[int] = REQUESTS) -> None:
        self.stop, self.signals = stop, signals
        self.first: float | None = None

    def __enter__(self) -> None:
        self.before = {}
        for number in self.signals:
            try:
                self.before[number] = signal.signal(number, self._received)
            except ValueError:  # not the main thread: whoever called from a thread handles signals
                return

    def _received(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now
        if now - self.first < PATIENCE:
            self.stop(signal.Signals(number).name)
            return
        # An exception would have to wait for whatever the process is stuck in.
        signal.signal(
            number, signal.SIG_DFL if self.before[number] is _raise else self.before[number]
        )
        os.kill(os.getpid(), number)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
