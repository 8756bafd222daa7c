"""The lock of a run's directory, which admits one training at a time.

`RUN/.lock` names its owner: the host, the process id, the start time of that process, and a count
that the owner raises every 15 seconds. A lock is stale if its owner has died, and is then taken
over. On the same host the process table tells whether the owner lives. A process with the same id
and another start time is another process. For an owner on another host, the count is watched for
90 seconds. No clocks are compared, so clocks that jump or differ do no harm.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from studio.errors import StudioError, warn

try:
    import fcntl
except ImportError:  # missing on Windows
    fcntl = None

__all__ = ["Lock"]

BEAT = 15.0  # seconds after which the owner raises the count
WATCH = (
    90.0  # seconds without a change of the count after which another host's owner counts as dead
)


class Lock:
    """The right to train in a run's directory, from `acquire` to `release`."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.life: threading.Thread | None = None
        self.me = {
            "host": socket.gethostname(),
            "table": _table(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        }
        self.ended = threading.Event()

    def acquire(self, folder: Path) -> None:
        """Acquires an existing directory.

        Raises:
            StudioError: another training holds the directory, or it cannot be written.
        """
        path = folder / ".lock"
        try:
            with _one_at_a_time(folder):
                while not self._create(path):
                    content = _content(path)
                    if content is not None and self._alive(path, content):
                        raise StudioError(
                            f"{folder}: another training is running in it: {_named(content)}; "
                            "wait for it, stop it, or give another --run"
                        )
                    self._take_away(path, content)
                # Files of processes that were killed while they wrote them.
                for leftover in folder.glob(".writing-*"):
                    if leftover.is_file():
                        leftover.unlink()
        except OSError as error:
            raise StudioError(f"{folder}: cannot be written: {error.strerror}") from None
        self.path = path
        self.life = threading.Thread(target=self._live, args=[path], name="lock", daemon=True)
        self.life.start()

    def release(self) -> None:
        """Releases the directory if this lock holds it. A lock of another owner stays."""
        self.ended.set()
        if self.life is not None:
            self.life.join(BEAT)  # the thread may be about to write the lock
        if self.path is not None and _owner(self.path) == self.me:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        """Creates the lock with its content in one step. Returns False if there is a lock."""
        draft = path.with_name(f".writing-lock-{self.me['host']}-{self.me['pid']}")
        draft.write_text(json.dumps({**self.me, "beats": 0}), encoding="utf-8")
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError:  # the file system has no hard links
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(draft.read_text(encoding="utf-8"))
            except FileExistsError:
                return False
        finally:
            draft.unlink()
        return True

    def _take_away(self, path: Path, stale: dict[str, Any] | None) -> None:
        """Removes a stale lock, unless another process has replaced it by a new one."""
        aside = path.with_name(f".writing-stale-{self.me['host']}-{self.me['pid']}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        if _content(aside) != stale:
            with suppress(FileExistsError):
                os.link(aside, path)
        elif stale is not None:
            warn(f"{path.parent}: the training of {_named(stale)} has died; taking over its lock")
        aside.unlink()

    def _alive(self, path: Path, content: dict[str, Any]) -> bool:
        if (content.get("host"), content.get("table")) == (self.me["host"], self.me["table"]):
            return _started(content.get("pid")) == content.get("started") is not None
        warn(f"{path.parent}: held by {_named(content)}; watching it for {WATCH:.0f} s")
        end = time.monotonic() + WATCH
        while time.monotonic() < end:
            time.sleep(min(1.0, WATCH))
            if _content(path) != content:
                return True
        return False

    def _live(self, path: Path) -> None:
        """Raises the count until the end.

        Errors are ignored, because a deleted or full directory must not stop a training here.
        """
        beats = 0
        while not self.ended.wait(BEAT):
            beats += 1
            partial = path.with_name(".writing-lock")
            with suppress(OSError):
                partial.write_text(json.dumps({**self.me, "beats": beats}), encoding="utf-8")
                if _owner(path) == self.me:
                    partial.replace(path)
                else:
                    partial.unlink()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Admits one process at a time to a folder's lock, where the file system supports `flock`.

    Otherwise two processes could both take over a stale lock. The kernel releases the `flock` when
    the process ends.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _content(path: Path) -> dict[str, Any] | None:
    """Returns the content of a lock, or None if it is missing or unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _owner(path: Path) -> dict[str, Any] | None:
    content = _content(path)
    return content and {key: value for key, value in content.items() if key != "beats"}


def _named(content: dict[str, Any]) -> str:
    return f"process {content.get('pid')} on {content.get('host')}"


def _table() -> str:
    """Returns the process table of this process.

    A container has its own table and can share its host's name.
    """
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: object) -> str | None:
    """Returns a text that identifies the start of a process of this host, None if it is dead.

    No other process with the same id has the same text.
    """
    if not isinstance(pid, int) or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # a process of another user
        pass
    # On Linux: the ticks since the boot, and the boot. They follow the last parenthesis, because
    # the process name before it can contain any characters.
    try:
        ticks = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"
    return None if ticks[0] == "Z" else f"{boot} {ticks[19]}"
