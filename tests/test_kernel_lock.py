"""The lock of the operating system: one holder at a time, released with its holder."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from studio.kernel_lock import LockHeldError, kernel_lock

FILE = Path("lock")
HOLD = """
import sys
from pathlib import Path
from studio.kernel_lock import kernel_lock
with kernel_lock(Path("lock")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_kernel_lock_refuses_a_second_holder_until_the_first_is_done() -> None:
    with kernel_lock(FILE) as descriptor:
        assert isinstance(descriptor, int)
        with pytest.raises(LockHeldError), kernel_lock(FILE):
            pass
    with kernel_lock(FILE) as descriptor:
        assert descriptor is not None


def test_kernel_lock_is_released_when_its_process_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockHeldError), kernel_lock(FILE):
            pass
        holder.kill()
        holder.wait()
    with kernel_lock(FILE) as descriptor:
        assert descriptor is not None


def test_kernel_lock_waits_when_it_may() -> None:
    waiting, held = threading.Event(), threading.Event()

    def wait() -> None:
        with kernel_lock(FILE, waiting=waiting.set):
            held.set()

    thread = threading.Thread(target=wait)
    with kernel_lock(FILE, waiting=waiting.set):
        assert not waiting.is_set()  # the first holder did not wait
        thread.start()
        assert waiting.wait(30)
        assert not held.is_set()
    thread.join(30)
    assert held.is_set()


@pytest.mark.parametrize("inherited", [True, False])
def test_kernel_lock_stays_with_a_child_only_when_inherited(inherited: bool) -> None:
    with kernel_lock(FILE, inherited=inherited) as descriptor:
        assert descriptor is not None
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(descriptor,)
        )
    try:
        if inherited:
            with pytest.raises(LockHeldError), kernel_lock(FILE):
                pass
        else:
            with kernel_lock(FILE):
                pass
    finally:
        child.communicate(b"\n")
    with kernel_lock(FILE):
        pass


def test_kernel_lock_yields_none_when_the_file_system_has_no_locks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with kernel_lock(FILE) as descriptor:
        assert descriptor is None


def test_kernel_lock_gives_a_new_file_the_mode_whatever_the_umask_is() -> None:
    before = os.umask(0o077)
    try:
        with kernel_lock(FILE, mode=0o664):
            assert stat.S_IMODE(FILE.stat().st_mode) == 0o664
    finally:
        os.umask(before)
    FILE.chmod(0o600)
    with kernel_lock(FILE, mode=0o664):
        assert stat.S_IMODE(FILE.stat().st_mode) == 0o600  # that of an existing file stays
