"""Requests to stop a training: signals, and a launcher that has died.

SIGINT, SIGTERM and SIGUSR1 ask for a stop after the running iteration. The training saves, and its
process ends with exit code 75 ("try again": `--resume` continues), or with 130 after SIGINT, so
that Ctrl-C stops a shell's loop as well. A second signal, two seconds later or more, has its usual
effect and can end the process before it has saved. Outside training, for example while data are
read or pictures drawn, nothing has to be saved: `preemptible` then ends the process at once, with
the same exit codes, so that a scheduler's script starts it again.

Accelerate's launcher for one process dies of a signal without passing it on, and would leave its
child running. A launched process therefore checks at each iteration that its parent is alive.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from studio.signal_handlers import handle_signals

__all__ = [
    "UNFINISHED",
    "ParentProcess",
    "Preempted",
    "StopSignals",
    "exit_code",
    "ignore_stop_signals",
    "preemptible",
]

UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h
REQUESTS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
# Variables that Accelerate's launcher and torchrun set for their children.
LAUNCHED = ("ACCELERATE_DYNAMO_BACKEND", "TORCHELASTIC_RUN_ID")
# Seconds. A launcher passes on the same Ctrl-C within this time, which is not a second request.
SECOND_REQUEST_AFTER = 2.0


def exit_code(stopped: str) -> int:
    """Returns the exit code of a training.

    Args:
        stopped: `TrainingSession.stopped`, "" for a training that used its budget.
    """
    if not stopped:
        return 0
    return 130 if stopped == "SIGINT" else UNFINISHED


def ignore_stop_signals(worker: int = 0) -> None:
    """Makes a loader's worker process ignore the signals that ask for a stop.

    A signal to the whole process group must not kill the workers, because the main process still
    finishes its iteration and saves.

    Args:
        worker: the worker's number, which torch's DataLoader passes.
    """
    for number in REQUESTS:
        signal.signal(number, signal.SIG_IGN)


class ParentProcess:
    """The process that started this one, if it is a launcher.

    Other parents may end before a training does (`nohup studio train &`).
    """

    def __init__(self) -> None:
        launched = any(variable in os.environ for variable in LAUNCHED)
        self.pid = os.getppid() if launched else None

    def died(self) -> bool:
        """Returns whether a launcher started this process and has died since."""
        return self.pid is not None and os.getppid() != self.pid


class Preempted(BaseException):
    """Raised on SIGTERM or SIGUSR1 outside the training loop. Its message is the signal's name.

    Like KeyboardInterrupt it derives from BaseException, because it is not an error.
    """


def _raise(number: int, frame: FrameType | None) -> None:
    raise Preempted(signal.Signals(number).name)


@contextmanager
def preemptible() -> Iterator[None]:
    """Makes SIGTERM and SIGUSR1 raise Preempted, as SIGINT raises KeyboardInterrupt.

    Inside a `StopSignals` block they ask for a stop instead.
    """
    with handle_signals((number for number in REQUESTS if number != signal.SIGINT), _raise):
        yield


class StopSignals:
    """A block in which signals ask for a stop. After the block they have their former effect.

    Args:
        stop: called with the signal's name.
        signals: the signals.
    """

    def __init__(self, stop: Callable[[str], None], signals: Sequence[int] = REQUESTS) -> None:
        self.stop, self.signals = stop, signals
        self.first: float | None = None

    def __enter__(self) -> None:
        self.block = handle_signals(self.signals, self._received)
        self.before = self.block.__enter__()

    def _received(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now
        if now - self.first < SECOND_REQUEST_AFTER:
            self.stop(signal.Signals(number).name)
            return
        # The signal is sent again with its former handler, because an exception raised here would
        # wait for the call in which the process is stuck.
        former = self.before[number]
        signal.signal(number, signal.SIG_DFL if former is _raise else former)
        os.kill(os.getpid(), number)

    def __exit__(self, *exception: object) -> None:
        self.block.__exit__(None, None, None)
