"""One training at a time in a run's directory.

`RUN/.lock` names its owner: host, process id, when that process started, and a count that the owner raises every few
seconds. A lock is stale, and is taken over, when its owner has died: on the same host that is looked up (a process of the
same number that started at another time is another one); of another host's process, whose table cannot be read, the count
is watched for a minute and a half. No clocks are compared, so clocks that jump or differ do no harm.
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
except ImportError:  # not on every system
    fcntl = None

__all__ = ["Lock"]

BEAT = 15.0  # seconds between two signs of life
WATCH = 90.0  # seconds without any after which another host's owner is taken for dead


class Lock:
    """Holds a run's directory from `acquire` to `release`."""

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
        """Takes an existing directory.

        Raises:
            StudioError: another training holds it, or it cannot be written.
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
                for leftover in folder.glob(
                    ".writing-*"
                ):  # files of those that were killed while they wrote
                    if leftover.is_file():
                        leftover.unlink()
        except OSError as error:
            raise StudioError(f"{folder}: cannot be written: {error.strerror}") from None
        self.path = path
        self.life = threading.Thread(target=self._live, args=[path], name="lock", daemon=True)
        self.life.start()

    def release(self) -> None:
        """Gives the directory back, if this lock holds one; what somebody else has taken over is left alone."""
        self.ended.set()
        if self.life is not None:
            self.life.join(BEAT)  # it may be about to put the lock back
        if self.path is not None and _owner(self.path) == self.me:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        """Makes the lock in one step with what it says; False where there is one."""
        draft = path.with_name(f".writing-lock-{self.me['host']}-{self.me['pid']}")
        draft.write_text(json.dumps({**self.me, "beats": 0}), encoding="utf-8")
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(draft.read_text(encoding="utf-8"))
            except FileExistsError:
                return False
        finally:
            draft.unlink()
        return True

    def _take_away(self, path: Path, stale: dict[str, Any] | None) -> None:
        """Removes a stale lock, unless somebody else has been quicker and it is a new one by now."""
        aside = path.with_name(f".writing-stale-{self.me['host']}-{self.me['pid']}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        if _content(aside) != stale:
            with suppress(FileExistsError):
                os.link(aside, path)
        elif stale is not None:
            warn(
                f"{path.parent}: the training of {_named(stale)} has ended without a word; taking over"
            )
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
        """Raises the count until the end; a directory that is gone or full does not stop a training from here."""
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
    """Lets those that find the same stale lock look one after the other, where the file system can; ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _content(path: Path) -> dict[str, Any] | None:
    """Reads a lock; None where there is none, or nothing that one can read."""
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
    """Returns which table of processes this one is in: a container has its own, and may share its host's name."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: object) -> str | None:
    """Returns when a process of this host started, as text that no other process of its number has; None for a dead one."""
    if not isinstance(pid, int) or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's
        pass
    try:  # Linux: ticks since the boot, and which boot; the name before it may have any characters
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
