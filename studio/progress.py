"""Progress of work that takes time, on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Advance", "show_progress"]

LINE_EVERY = 10.0  # seconds between lines where there is no terminal

Advance = Callable[[int], None]


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
