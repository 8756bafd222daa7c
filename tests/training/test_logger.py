"""The log of a training on a full disk."""

import errno
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image
from support.warned import no_warning
from tensorboard.summary.writer.record_writer import RecordWriter

from studio.errors import StudioError
from studio.training.logger import Logger


def full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def log_until_refused(logger: Logger) -> None:
    for step in range(1_000):
        logger.log(step, {"D/adv": 1.0})
        logger.picture(step, "grid", Image.new("RGB", (4, 4)))
        time.sleep(0.001)


@no_warning  # pytest turns the traceback of a thread into a warning
def test_full_disk_under_tensorboard_is_one_clean_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = threading.excepthook
    logger = Logger(tmp_path, 1_000, 0)
    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(StudioError) as refused:
        log_until_refused(logger)
    logger.close()
    assert (
        str(refused.value)
        == f"{tmp_path / 'tensorboard'}: cannot be written: No space left on device"
    )
    assert capsys.readouterr().err == ""
    assert threading.excepthook == before


@no_warning
def test_full_disk_at_the_start_is_one_clean_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordWriter, "flush", full)
    before = threading.excepthook
    with pytest.raises(StudioError, match=r"tensorboard: cannot be written: No space left"):
        Logger(tmp_path, 1_000, 0)
    assert threading.excepthook == before


def test_other_error_of_a_thread_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    logger = Logger(tmp_path, 1_000, 0)
    thread = threading.Thread(target=full)
    thread.start()
    thread.join()
    logger.close()
    assert len(seen) == 1


def test_full_disk_under_stderr_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, refused = Logger(tmp_path, 1_000, 0), []

    def refuse(line: object, **_: object) -> NoReturn:
        refused.append(line)
        full()

    monkeypatch.setattr(logger.console, "print", refuse)
    logger.say("a line")
    logger.log(10, {"loss": 1.0})
    logger.close()
    assert refused == ["a line"]
    assert '"loss": 1.0' in (tmp_path / "log.jsonl").read_text(encoding="utf-8")
