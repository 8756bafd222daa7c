"""One training at a time in a directory.

A second one is refused, and the lock of a dead one is taken over.
"""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from support.experiments import tiny
from support.forked import fork, wait_for_exit
from support.waiting import wait_until

from studio.errors import StudioError
from studio.runs import lock
from studio.runs.lock import Lock
from studio.training.session import TrainingSession, train


def hold(folder: Path) -> int:
    """Forks a process that locks a directory and keeps the lock. Returns its id."""

    def body() -> None:
        Lock().acquire(folder)
        Path("held").touch()
        signal.pause()

    child = fork(body, Path("out.pt"))
    wait_until(Path("held").exists, 60)
    return child


@pytest.fixture
def run() -> Path:
    Path("run").mkdir()
    return Path("run")


def test_train_is_refused_while_another_runs_in_the_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = []
    original = TrainingSession.record

    def after(self: TrainingSession, terms: dict) -> None:
        for resume in (True, False):
            with pytest.raises(StudioError) as caught:
                train(tiny("vae"), Path("run"), resume=resume)
            refused.append(str(caught.value))
        return original(self, terms)

    monkeypatch.setattr(TrainingSession, "record", after)
    done = train(tiny("vae", images=16), Path("run"))
    here = f"process {os.getpid()} on {socket.gethostname()}"
    assert refused[0].startswith(
        f"run: another training is running in it: {here}; wait for it, stop it, "
        "or give another --run"
    )
    assert "already contains a run" in refused[1]
    assert done.engine.images_seen == 16
    assert not Path("run/.lock").exists()


def test_lock_is_kept_while_its_process_lives_and_lost_when_killed(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    child = hold(run)
    with pytest.raises(StudioError, match=f"another training is running in it: process {child} on"):
        Lock().acquire(run)
    os.kill(child, signal.SIGSTOP)  # a stopped process is alive
    with pytest.raises(StudioError, match="another training"):
        Lock().acquire(run)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: lock._started(child) is None, 10)  # a zombie counts as dead
    mine = Lock()
    mine.acquire(run)
    assert f"the training of process {child} on" in capsys.readouterr().err
    assert json.loads((run / ".lock").read_text())["pid"] == os.getpid()
    mine.release()
    assert list(run.iterdir()) == []
    wait_for_exit([child], 60)


def test_lock_is_taken_over_from_another_process_of_the_same_id(run: Path) -> None:
    mine = Lock()
    old = {**mine.me, "started": "before this boot", "beats": 3}
    (run / ".lock").write_text(json.dumps(old))
    mine.acquire(run)
    assert json.loads((run / ".lock").read_text())["started"] == mine.me["started"]
    mine.release()
    assert not (run / ".lock").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"host": 3}',
        '{"pid": "x"}',
        '{"host": "HERE", "table": "TABLE", "pid": -1}',
    ],
)
def test_lock_is_taken_over_when_its_content_is_invalid(
    run: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(lock, "WATCH", 0.05)
    me = Lock().me
    (run / ".lock").write_text(text.replace("HERE", me["host"]).replace("TABLE", me["table"]))
    mine = Lock()
    mine.acquire(run)
    mine.release()
    assert list(run.iterdir()) == []


def test_lock_of_another_host_is_taken_over_without_heartbeats(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WATCH", 1.5)
    path, dead = run / ".lock", threading.Event()

    def beat(count: int) -> None:
        (run / "theirs").write_text(
            json.dumps({"host": "elsewhere", "table": "", "pid": 1, "started": "x", "beats": count})
        )
        (run / "theirs").replace(path)

    def live() -> None:  # without an end, because the first look may come late
        count = 0
        while not dead.wait(0.05):
            count += 1
            beat(count)

    beat(0)
    theirs = threading.Thread(target=live)
    theirs.start()
    try:
        with pytest.raises(
            StudioError, match="another training is running in it: process 1 on elsewhere"
        ):
            Lock().acquire(run)
    finally:
        dead.set()
        theirs.join()
    mine = Lock()
    start = time.monotonic()
    mine.acquire(run)  # no further beat
    assert time.monotonic() - start > 1
    mine.release()


def test_lock_beats_and_release_leaves_a_lock_that_was_taken_over(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.02)
    mine = Lock()
    mine.acquire(run)
    wait_until(lambda: json.loads((run / ".lock").read_text())["beats"] >= 3, 60)
    theirs = {"host": "elsewhere", "table": "", "pid": 1, "started": "x", "beats": 0}
    partial = run / "theirs"
    partial.write_text(json.dumps(theirs))
    partial.replace(run / ".lock")
    time.sleep(0.2)
    mine.release()
    assert json.loads((run / ".lock").read_text()) == theirs


def test_lock_is_acquired_by_one_of_many_when_stale(run: Path) -> None:
    for attempt in range(6):
        refused = Path(f"refused-{attempt}")
        refused.mkdir()
        (run / ".lock").write_text(json.dumps({**Lock().me, "started": "before this boot"}))

        def body(refused: Path = refused) -> None:
            mine, content = Lock(), lock._content

            def slowly(path: Path) -> dict | None:
                found = content(path)
                # Different times, so that processes act between the looks and acts of others.
                time.sleep(os.getpid() * 7 % 11 / 50)
                return found

            lock._content = slowly
            try:
                mine.acquire(run)
            except StudioError:
                (refused / str(os.getpid())).touch()
                raise SystemExit(3) from None
            wait_until(lambda: len(list(refused.iterdir())) == 5, 60)
            mine.release()

        codes = wait_for_exit([fork(body, Path(f"{attempt}-{n}.pt")) for n in range(6)], 120)
        assert sorted(codes) == [0, 3, 3, 3, 3, 3]


def test_train_removes_partial_files_of_a_killed_start() -> None:
    Path("run").mkdir()
    Path("run/.writing-lock-vm-1").write_text("{")
    Path("run/.writing-config.yaml").write_text("na")
    train(tiny("vae", images=16), Path("run"))
    assert not [path for path in Path("run").iterdir() if path.name.startswith(".")]


def test_lock_does_not_return_after_its_release(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = lock._owner

    def slowly(path: Path) -> dict | None:
        found = owner(path)
        if threading.current_thread().name == "lock":
            time.sleep(0.3)  # between the look at the lock and its replacement
        return found

    monkeypatch.setattr(lock, "_owner", slowly)
    monkeypatch.setattr(lock, "BEAT", 0.05)
    mine = Lock()
    mine.acquire(run)
    wait_until((run / ".writing-lock").exists, 10)
    monkeypatch.setattr(lock, "BEAT", 10)  # release waits for at most this long
    mine.release()
    time.sleep(0.4)
    assert list(run.iterdir()) == []


def test_lock_works_without_hard_links(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    mine = Lock()
    mine.acquire(run)
    with pytest.raises(StudioError, match="another training"):
        Lock().acquire(run)
    mine.release()
    assert list(run.iterdir()) == []


def test_train_names_a_directory_without_write_permission(run: Path) -> None:
    run.chmod(0o555)

    def body() -> None:
        if os.getuid() == 0:  # root may write anywhere
            os.setuid(65534)
        with pytest.raises(StudioError, match="run: cannot be written: Permission denied"):
            train(tiny("vae", images=16), Path("run"))

    Path().chmod(0o777)
    for folder in (*Path().resolve().parents, Path()):
        if str(folder).startswith("/tmp/") or folder == Path():
            folder.chmod(0o777)
    assert wait_for_exit([fork(body, Path("out.pt"))], 120) == [0]
    assert list(run.iterdir()) == []


def test_train_is_unaffected_when_the_clock_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    true, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return true() + (-1e9 if calls[0] % 2 else 1e9)

    monkeypatch.setattr(time, "time", jumping)
    done = train(tiny("vae", images=64, save_every=32, log_every=16), Path("run"), stop_after=600)
    assert calls[0] > 0
    assert done.engine.images_seen == 64
    assert not done.stopped
    rates = [
        json.loads(line).get("images_per_second", 1)
        for line in Path("run/log.jsonl").read_text().splitlines()
    ]
    assert all(0 < rate < 1e6 for rate in rates)
