"""Files are written completely or not at all.

A training is killed wherever it writes, at a byte in the middle of a file, or its disk fills.
"""

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
from support.forked import fork, wait_for_exit
from support.runs import digest, with_train_fields

from studio.errors import StudioError
from studio.runs import checkpoint, lock
from studio.runs.checkpoint import every, newest, prune, save
from studio.training import logger, summary
from studio.training.logger import Logger
from studio.training.session import TrainingSession, train

EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}


def call_at_changes(folder: Path, act: Callable[[int], None]) -> None:
    """Calls `act(n)` before the n-th change that this process makes in a folder from Python."""
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


def kill_at(point: int) -> Callable[[int], None]:
    return lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == point else None


def count_changes(body: Callable[[], object], folder: Path) -> int:
    """Runs `body` in a child and returns the number of changes that it makes in a folder."""
    count = Path("count")

    def counted() -> None:
        most = [0]
        call_at_changes(folder, lambda n: most.__setitem__(0, n))
        body()
        count.write_text(str(most[0]))

    assert wait_for_exit([fork(counted, Path("out.pt"))], 300) == [0]
    return int(count.read_text())


def save_checkpoint(run: Path, number: int) -> None:
    tensors = {name: {"a": torch.full((3000,), float(number))} for name in ("weights", "ema")}
    save(
        run,
        number,
        tensors,
        {"iteration": number, "parts": 1, "rollbacks": 0, "state": torch.ones(500)},
        {"shape": [1, 2, 2]},
    )


def prepare_run(run: Path, damaged: bool) -> None:
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    for number in (1, 2, 3):
        save_checkpoint(run, number)
    (run / "checkpoints" / "notes.txt").write_text("stray")
    (run / "checkpoints" / "00000009").mkdir()
    if damaged:  # a damaged checkpoint in the place of number 4
        save_checkpoint(run, 4)
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
    save_checkpoint(run, 4)
    prune(run, kept)
    assert [c.images_seen for c in every(run)] == [2, 3, 4][-kept:]
    assert all(c.is_intact() for c in every(run))
    assert {p.name for p in run.iterdir()} == {"checkpoints"}


@pytest.mark.parametrize("damaged", [False, True])
def test_save_loses_nothing_when_killed_at_any_change(damaged: bool) -> None:
    run = Path("run")

    def body() -> None:
        save_checkpoint(run, 4)
        prune(run, 2)

    prepare_run(run, damaged)
    points = count_changes(body, run)
    assert points > 25
    for point in range(1, points + 1):
        prepare_run(run, damaged)
        child = fork(
            lambda point=point: (call_at_changes(run, kill_at(point)), body()), Path("out.pt")
        )
        assert wait_for_exit([child], 120) == [-signal.SIGKILL]
        assert_nothing_is_lost(run, 2)


@pytest.mark.parametrize("dies", [True, False])
def test_newest_ignores_a_checkpoint_with_a_file_cut_at_any_byte(dies: bool) -> None:
    # A limit on the size of files ends any write in its middle, with a signal or as on a full disk.
    run = Path("run")
    prepare_run(run, False)
    Path("other").mkdir()
    save_checkpoint(Path("other"), 4)
    largest = max(file.stat().st_size for file in Path("other/checkpoints/00000004").iterdir())
    for limit in (0, 1, 7, 100, 350, 900, 2000, 4096, largest // 2, largest - 1):
        prepare_run(run, False)

        def body(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if dies else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            with pytest.raises(StudioError, match="could not be written"):
                save_checkpoint(run, 4)
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            raise SystemExit(7)

        assert wait_for_exit([fork(body, Path("out.pt"))], 120) == [
            -signal.SIGXFSZ if dies else 7
        ], limit
        assert_nothing_is_lost(run, 3)


def check_killing_at_changes(step: int) -> int:
    config, run = tiny("vae", images=64, save_every=16, keep=2, log_every=16), Path("run")
    straight = train(config, Path("straight"))
    points = count_changes(lambda: train(config, run), run)
    assert points > 100
    for point in range(1, points + 1, step):
        shutil.rmtree(run)
        child = fork(
            lambda point=point: (call_at_changes(run, kill_at(point)), train(config, run)),
            Path("out.pt"),
        )
        assert wait_for_exit([child], 300) == [-signal.SIGKILL]
        resume = (run / "config.yaml").exists()
        train(config, run, resume=resume)
        assert digest(run, 64) == digest(straight.folder, 64), point
        assert [c.images_seen for c in every(run)] == [48, 64]
        left = {p.name for p in run.iterdir() if p.name.startswith((".lock", ".writing"))}
        assert not left, (point, left)
    return len(range(1, points + 1, step))


def test_train_resumes_exactly_when_killed_at_some_changes() -> None:
    check_killing_at_changes(step=23)


@pytest.mark.slow
def test_train_resumes_exactly_when_killed_at_any_change() -> None:
    print(f"\n{check_killing_at_changes(step=1)} points")


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


def test_train_loses_no_checkpoint_when_the_disk_fills(small_disk: Path) -> None:
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
        ((logger, "drop_lines_after"), "log.jsonl: cannot be written: No space left"),
    ],
)
def test_train_names_the_file_when_the_disk_is_full(
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


def test_logger_reports_an_error_of_tensorboard(
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


def test_train_keeps_the_newest_and_the_first_after_every_mark() -> None:
    train(tiny("vae", images=240, save_every=16, keep=2, keep_every=64), Path("run"))
    assert [c.images_seen for c in every(Path("run"))] == [64, 128, 192, 224, 240]
    done = train(
        with_train_fields(tiny("vae", images=240, save_every=16), images=320, keep=1),
        Path("run"),
        resume=True,
    )
    assert [c.images_seen for c in every(done.folder)] == [320]


def test_prune_keeps_the_checkpoint_after_a_mark() -> None:
    Path("run").mkdir()
    for number in (16, 48, 80, 112, 144, 176):
        save_checkpoint(Path("run"), number)
        prune(Path("run"), 1, keep_every=70)
    assert [c.images_seen for c in every(Path("run"))] == [80, 144, 176]


def test_train_keeps_the_checkpoint_with_the_lowest_mean_of_a_term() -> None:
    config = tiny("vae", images=240, save_every=32, log_every=32, keep=100)
    train(config, Path("all"))
    lines = [json.loads(line) for line in Path("all/log.jsonl").read_text().splitlines()]
    means = {
        line["images_seen"]: line["vae/kl_z.target"] for line in lines if "vae/kl_z.target" in line
    }
    best = min(means, key=lambda seen: means[seen])
    assert best < 224  # otherwise the newest would be kept anyway
    ranked = with_train_fields(config, keep=1, keep_best="vae/kl_z.target")
    train(with_train_fields(ranked, images=96), Path("best"))
    train(ranked, Path("best"), resume=True)
    assert [c.images_seen for c in every(Path("best"))] == [best, 240]
    assert every(Path("best"))[0].mean("vae/kl_z.target") == pytest.approx(means[best], rel=1e-6)
    train(with_train_fields(ranked, keep_best=""), Path("newest"))
    assert [c.images_seen for c in every(Path("newest"))] == [240]
    with pytest.raises(
        StudioError, match=r"train.keep_best: no such term 'vae/kl_z'; did you mean"
    ):
        train(with_train_fields(config, keep_best="vae/kl_z"), Path("none"))


def test_prune_keeps_the_first_of_equal_means_and_none_without_a_mean() -> None:
    Path("run").mkdir()
    for number, mean in ((16, None), (32, 0.5), (48, 0.25), (64, 0.25), (80, 0.75), (96, None)):
        save_checkpoint(Path("run"), number)
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


def test_logger_names_its_file_when_the_disk_is_full() -> None:
    Path("run").mkdir()
    log = Logger(Path("run"), 64, 0)
    log.file.close()
    log.file = Path("/dev/full").open("a")  # noqa: SIM115
    with pytest.raises(
        StudioError, match=r"run/log.jsonl: cannot be written: No space left on device"
    ):
        log.log(16, {"x": 1})
    log.close()
