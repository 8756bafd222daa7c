"""Signal handlers for the duration of a block."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["handle_signals"]


@contextmanager
def handle_signals(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], object]
) -> Iterator[dict[int, Any]]:
    """Handles signals inside the block, and restores their former handlers after it.

    Outside the main thread it changes nothing, because Python lets only the main thread set
    handlers. The caller of that thread then handles signals.

    Args:
        numbers: the signals.
        handler: called with the number of a signal and the current stack frame.

    Yields:
        the former handlers, by number. Empty outside the main thread.
    """
    former: dict[int, Any] = {}
    for number in numbers:
        try:
            former[number] = signal.signal(number, handler)
        except ValueError:
            break
    try:
        yield former
    finally:
        for number, before in former.items():
            signal.signal(number, before)
