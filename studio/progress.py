"""Progress of work that takes time, on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Advance", "mark_step", "show_progress", "show_steps"]

LINE_EVERY = 10.0  # seconds between lines where there is no terminal

Advance = Callable[[int], None]
# What `mark_step` calls: the display of the innermost `show_steps`.
_display: ContextVar[Callable[[str], None] | None] = ContextVar("display", default=None)


@contextmanager
def show_progress(title: str, total: int, unit: str, shown: bool = True) -> Iterator[Advance]:
    """Shows a bar that moves on a terminal, and elsewhere a line every ten seconds.

    Args:
        title: the work, in a word or two.
        total: number of pieces of the work.
        unit: the pieces, in the plural.
        shown: whether to show anything.

    Yields:
        a function that is called with the number of pieces that are done.
    """
    if not shown:
        yield lambda done: None
        return
    terminal, started = sys.stderr.isatty(), time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:,}}/{{task.total:,}} {unit}"),
        TextColumn(f"{{task.fields[rate]:.0f}} {unit}/s"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True, soft_wrap=True),
        disable=not terminal,
    )
    task = bar.add_task(title, total=total, rate=0.0)
    completed, printed = 0, 0.0

    def advance(done: int) -> None:
        nonlocal completed, printed
        completed += done
        elapsed = time.monotonic() - started
        rate = completed / elapsed if elapsed else 0.0
        bar.update(task, completed=completed, rate=rate)
        if not terminal and elapsed - printed >= LINE_EVERY:
            printed = elapsed
            left = (total - completed) / rate / 60 if rate else 0.0
            print(
                f"{title}: {completed:,}/{total:,} {unit}, {rate:.0f} {unit}/s, "
                f"{left:.1f} min left",
                file=sys.stderr,
            )

    with bar:
        yield advance


@contextmanager
def show_steps(title: str) -> Iterator[None]:
    """Shows the steps of some work whose number is not known, as `mark_step` names them.

    A terminal shows the present step and a clock that moves. Elsewhere the name of a step is a
    line, if the last line is ten seconds old.

    Args:
        title: the work, in a word or two.
    """
    terminal, printed = sys.stderr.isatty(), time.monotonic()
    clock = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True, soft_wrap=True),
        disable=not terminal,
        transient=True,
    )
    task = clock.add_task(title)

    def show(step: str) -> None:
        nonlocal printed
        clock.update(task, description=f"{title}: {step}")
        if not terminal and time.monotonic() - printed >= LINE_EVERY:
            printed = time.monotonic()
            print(f"{title}: {step}", file=sys.stderr, flush=True)

    token = _display.set(show)
    try:
        with clock:
            yield
    finally:
        _display.reset(token)


def mark_step(step: str) -> None:
    """Tells the innermost `show_steps` which step begins. Without one it does nothing.

    Args:
        step: the step, in a few words.
    """
    display = _display.get()
    if display is not None:
        display(step)
