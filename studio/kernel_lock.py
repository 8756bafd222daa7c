"""Locks of the operating system on a file, which end with the processes that hold them.

They work on one host, and on network file systems that support them. The lock of a run's directory
(`studio/runs/lock.py`) is different, because it must also work where they do not.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # missing on Windows
    fcntl = None

__all__ = ["LockHeldError", "kernel_lock"]

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class LockHeldError(Exception):
    """Another process holds the lock."""


@contextmanager
def kernel_lock(
    path: Path,
    *,
    mode: int = 0o644,
    waiting: Callable[[], object] | None = None,
    inherited: bool = False,
) -> Iterator[int | None]:
    """Holds the lock of a file inside the block.

    Args:
        path: the file. It is made if it is missing, and stays.
        mode: the permissions of a new file.
        waiting: called once if another process holds the lock, before this process waits for it.
            Without it, this process does not wait.
        inherited: whether child processes inherit the lock and keep it after the block.

    Yields:
        the descriptor that holds the lock. None if the system or the file system has no locks.

    Raises:
        LockHeldError: another process holds the lock, and `waiting` is None.
        OSError: the file cannot be opened for writing.
    """
    descriptor = _open(path, mode)
    locked = False
    try:
        locked = _lock(descriptor, waiting)
        yield descriptor if locked else None
    finally:
        if locked and not inherited and fcntl is not None:
            # A process that was forked inside the block shares the lock, so closing is not enough.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _open(path: Path, mode: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CREAT, mode)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)  # whatever the process's umask is
    return descriptor


def _lock(descriptor: int, waiting: Callable[[], object] | None) -> bool:
    """Locks an open file. Returns False if the system or the file system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is None:
            raise LockHeldError from None
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    return True
