"""Whole or not at all: killed at every point where a training writes, at a byte in the middle of a file, on a disk that fills."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import torch
from support.experiments import tiny
from support.forked import ended, fork
from support.runs import changed, digest

from studio.errors import StudioError
from studio.runs import checkpoint, lock
from studio.runs.checkpoint import every, newest, prune, save
from studio.training import logger, summary
from studio.training.logger import Logger
from studio.training.session import TrainingSession, train

EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}


def counting(folder: Path, act: Callable[[int], None]) -> None:
    """From now on calls `act(n)` before the n-th change to anything in a folder that this process makes from Python."""
    root, count = str(folder.resolve()), [0]

    def change(path: object) -> None:
        if os.path.abspath(os.fsdecode(path)).startswith(root):
            count[0] += 1
            act(count[0])

    def hook(event: str, arguments: tuple) -> None:
        if event in EVENTS and isinstance(arguments[0], str | bytes | os.PathLike):
            change(arguments[0])
        if (
            event == "open"
            and isinstance(arguments[0], str | bytes)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            change(arguments[0])

    sys.addaudithook(hook)
    for owner, name in (
        (checkpoint, "save_file"),
        (checkpoint, "_flush"),
        (torch, "save"),
    ):  # written outside Python
        original = getattr(owner, name)

        def wrapped(*arguments: object, original: Callable = original, **options: object) -> None:
            change(root)
            original(*arguments, **options)
            change(root)

        setattr(owner, name, wrapped)
    lock.BEAT = (
        1e6  # on a busy machine signs of life would be changes that another time there are not
    )


def die_at(point: int) -> Callable[[int], None]:
    return lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == point else None


def points_of(body: Callable[[], object], folder: Path) -> int:
    """Returns how many changes `body` makes to a folder, all of it in a child."""
    count = Path("count")

    def counted() -> None:
        most = [0]
        counting(folder, lambda n: most.__setitem__(0, n))
        body()
        count.write_text(str(most[0]))

    assert ended([fork(counted, Path("out.pt"))], 300) == [0]
    return int(count.read_text())


def put(run: Path, number: int) -> None:
    tensors = {name: {"a": torch.full((3000,), float(number))} for name in ("weights", "ema")}
    save(
        run,
        number,
        tensors,
        {"iteration": number, "parts": 1, "rollbacks": 0, "state": torch.ones(500)},
        {"shape": [1, 2, 2]},
    )


def prepared(run: Path, damaged: bool) -> None:
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    for number in (1, 2, 3):
        put(run, number)
    (run / "checkpoints" / "notes.txt").write_text("stray")
    (run / "checkpoints" / "00000009").mkdir()
    if damaged:  # where number 4 is to stand
        put(run, 4)
        (run / "checkpoints" / "00000004" / "ema.safetensors").write_bytes(b"short")


def assert_nothing_is_lost(run: Path, kept: int) -> None:
    found = newest(run)
    assert found.images_seen in (3, 4)
    assert (
        float(found.tensors("weights")["a"][0])
        == found.training()["iteration"]
        == found.images_seen
    )
    whole = [c for c in every(run) if c.is_intact()]
    assert len(whole) >= kept
    put(run, 4)
    prune(run, kept)
    assert [c.images_seen for c in every(run)] == [2, 3, 4][-kept:]
    assert all(c.is_intact() for c in every(run))
    assert {p.name for p in run.iterdir()} == {"checkpoints"}


@pytest.mark.parametrize("damaged", [False, True])
def test_kill_9_at_every_point_of_a_save_loses_nothing(damaged: bool) -> None:
    run = Path("run")

    def body() -> None:
        put(run, 4)
        prune(run, 2)

    prepared(run, damaged)
    points = points_of(body, run)
    assert points > 25
    for point in range(1, points + 1):
        prepared(run, damaged)
        child = fork(lambda point=point: (counting(run, die_at(point)), body()), Path("out.pt"))
        assert ended([child], 120) == [-signal.SIGKILL]
        assert_nothing_is_lost(run, 2)


@pytest.mark.parametrize("dies", [True, False])
def test_a_file_cut_at_any_byte_is_never_taken_for_whole(dies: bool) -> None:
    # The limit on a file's size ends a write in its middle, whoever writes: with a signal, or as on a full disk.
    run = Path("run")
    prepared(run, False)
    Path("other").mkdir()
    put(Path("other"), 4)
    largest = max(file.stat().st_size for file in Path("other/checkpoints/00000004").iterdir())
    for limit in (0, 1, 7, 100, 350, 900, 2000, 4096, largest // 2, largest - 1):
        prepared(run, False)

        def body(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if dies else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            with pytest.raises(StudioError, match="could not be written"):
                put(run, 4)
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            raise SystemExit(7)

        assert ended([fork(body, Path("out.pt"))], 120) == [-signal.SIGXFSZ if dies else 7], limit
        assert_nothing_is_lost(run, 3)


def killed_everywhere(step: int) -> int:
    config, run = tiny("vae", images=64, save_every=16, keep=2, log_every=16), Path("run")
    straight = train(config, Path("straight"))
    points = points_of(lambda: train(config, run), run)
    assert points > 100
    for point in range(1, points + 1, step):
        shutil.rmtree(run)
        child = fork(
            lambda point=point: (counting(run, die_at(point)), train(config, run)), Path("out.pt")
        )
        assert ended([child], 300) == [-signal.SIGKILL]
        resume = (run / "config.yaml").exists()
        train(config, run, resume=resume)
        assert digest(run, 64) == digest(straight.folder, 64), point
        assert [c.images_seen for c in every(run)] == [48, 64]
        left = {p.name for p in run.iterdir() if p.name.startswith((".lock", ".writing"))}
        assert not left, (point, left)
    return len(range(1, points + 1, step))


def test_a_training_killed_where_it_writes_resumes_to_the_same_weights() -> None:
    killed_everywhere(step=23)


@pytest.mark.slow
def test_a_training_killed_wherever_it_writes_resumes_to_the_same_weights() -> None:
    print(f"\n{killed_everywhere(step=1)} points")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB, which only root may mount."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "none", str(place)], capture_output=True
    ).returncode:
        pytest.skip("no small file system could be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_ends_the_training_and_loses_nothing(small_disk: Path) -> None:
    config, run = tiny("vae", images=320, save_every=16, keep=20), small_disk / "run"
    with pytest.raises(
        StudioError,
        match=r"could not be written .*earlier ones are unchanged|log.jsonl: cannot be written",
    ):
        train(config, run)
    saved = newest(run).images_seen
    assert 0 < saved < 320
    assert not (run / ".lock").exists()
    with pytest.raises(StudioError, match=r"cannot be written|could not be written"):
        train(config, run, resume=True)
    assert newest(run).images_seen == saved
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    train(config, run, resume=True)
    train(config, Path("straight"))
    assert digest(run, 320) == digest(Path("straight"), 320)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ((TrainingSession, "draw_grid"), "grids/00000032.png: cannot be written: No space left"),
        ((TrainingSession, "save"), r"could not be written \(.*; 0 bytes are free there\)"),
        ((summary, "write_json"), "probe.json: cannot be written: No space left"),
        ((logger, "_drop_lines_after"), "log.jsonl: cannot be written: No space left"),
    ],
)
def test_a_disk_that_is_full_is_one_clear_line_wherever_it_is_met(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, before: tuple, named: str
) -> None:
    subprocess.run(["mount", "-o", "remount,size=3m", str(small_disk)], check=True)
    run, where = small_disk / "run", getattr(*before)
    config = tiny("vae", images=32, save_every=16, grid_every=32)
    if before[0] is logger:
        train(config, run)

    def when_full(*arguments: object, **options: object) -> object:
        if before[1] != "save" or newest(run):
            fill(small_disk)
        return where(*arguments, **options)

    monkeypatch.setattr(*before, when_full)
    with pytest.raises(StudioError, match=named):
        train(config, run, resume=before[0] is logger, finish=summary.finish)
    assert newest(run).images_seen == (16 if before[0] is TrainingSession else 32)
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]
    assert not (run / ".lock").exists()


def test_what_tensorboard_could_not_write_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(Logger(Path(), 100, 0)) as log:
        log.log(10, {"loss": 1.0})

        def fails(*arguments: object, **options: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(log.board, "add_scalar", fails)
        monkeypatch.setattr(log.board, "close", fails)
        with pytest.raises(
            StudioError, match=r"^tensorboard: cannot be written: No space left on device$"
        ):
            log.log(20, {"loss": 1.0})
    assert log.file.closed


def test_retention_keeps_the_newest_and_the_first_after_every_mark() -> None:
    train(tiny("vae", images=240, save_every=16, keep=2, keep_every=64), Path("run"))
    assert [c.images_seen for c in every(Path("run"))] == [64, 128, 192, 224, 240]
    done = train(
        changed(tiny("vae", images=240, save_every=16), images=320, keep=1),
        Path("run"),
        resume=True,
    )
    assert [c.images_seen for c in every(done.folder)] == [320]


def test_a_mark_between_two_checkpoints_keeps_the_one_behind_it() -> None:
    Path("run").mkdir()
    for number in (16, 48, 80, 112, 144, 176):
        put(Path("run"), number)
        prune(Path("run"), 1, keep_every=70)
    assert [c.images_seen for c in every(Path("run"))] == [80, 144, 176]


def test_retention_keeps_the_checkpoint_up_to_which_a_term_was_lowest_on_average() -> None:
    config = tiny("vae", images=240, save_every=32, log_every=32, keep=100)
    train(config, Path("all"))
    lines = [json.loads(line) for line in Path("all/log.jsonl").read_text().splitlines()]
    means = {
        line["images_seen"]: line["vae/kl_z.target"] for line in lines if "vae/kl_z.target" in line
    }
    best = min(means, key=lambda seen: means[seen])
    assert best < 224  # or the newest would be it
    ranked = changed(config, keep=1, keep_best="vae/kl_z.target")
    train(changed(ranked, images=96), Path("best"))
    train(ranked, Path("best"), resume=True)
    assert [c.images_seen for c in every(Path("best"))] == [best, 240]
    assert every(Path("best"))[0].mean("vae/kl_z.target") == pytest.approx(means[best], rel=1e-6)
    train(changed(ranked, keep_best=""), Path("newest"))
    assert [c.images_seen for c in every(Path("newest"))] == [240]
    with pytest.raises(
        StudioError, match=r"train.keep_best: no such term 'vae/kl_z'; did you mean"
    ):
        train(changed(config, keep_best="vae/kl_z"), Path("none"))


def test_of_equals_the_first_is_best_and_what_has_no_mean_is_not() -> None:
    Path("run").mkdir()
    for number, mean in ((16, None), (32, 0.5), (48, 0.25), (64, 0.25), (80, 0.75), (96, None)):
        put(Path("run"), number)
        manifest = Path(f"run/checkpoints/{number:08d}/manifest.json")
        manifest.write_text(
            json.dumps(
                json.loads(manifest.read_text()) | ({} if mean is None else {"means": {"t": mean}})
            )
        )
    prune(Path("run"), 2, keep_best="t")
    assert [c.images_seen for c in every(Path("run"))] == [48, 80, 96]
    prune(Path("run"), 1, keep_best="other")
    assert [c.images_seen for c in every(Path("run"))] == [96]


def test_a_log_that_the_disk_does_not_take_is_one_clear_line() -> None:
    Path("run").mkdir()
    journal = Logger(Path("run"), 64, 0)
    journal.file.close()
    journal.file = Path("/dev/full").open("a")  # noqa: SIM115
    with pytest.raises(
        StudioError, match=r"run/log.jsonl: cannot be written: No space left on device"
    ):
        journal.log(16, {"x": 1})
    journal.close()
