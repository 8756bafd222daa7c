"""Trackers get the config, numbers and pictures. A double of Accelerate's class records them."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.errors import StudioError
from studio.training import trackers
from studio.training.trackers import Trackers, check_installed


class Recorder:
    """Has the methods of a tracker of Accelerate, and keeps their calls."""

    calls: list[tuple[str, Any, Any]]
    broken = False

    def __init__(self, project: str, **options: Any) -> None:
        type(self).calls = [("made", project, options)]

    def start(self) -> None:
        pass

    def store_init_configuration(self, values: dict) -> None:
        self.calls.append(("config", values, None))

    def log(self, values: dict, step: int) -> None:
        if self.broken:
            raise ConnectionError("the network is down")
        self.calls.append(("log", values, step))

    def log_images(self, values: dict, step: int) -> None:
        self.calls.append(("images", list(values), step))

    def finish(self) -> None:
        self.calls.append(("finish", None, None))


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> Trackers:
    monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    monkeypatch.setattr(Recorder, "broken", False)
    return Trackers(
        ["tensorboard", "wandb"], Path("runs/one"), {"train.lr": 1e-3, "data.root": None}
    )


def test_tracker_gets_config_numbers_and_pictures(tracked: Trackers) -> None:
    tracked.log({"G/adv": 0.5, "started": {"host": "x"}, "probe/digit/salient": 0.9}, 64)
    tracked.picture("grid", Image.new("RGB", (2, 2)), 64)
    tracked.close()
    assert Recorder.calls == [
        ("made", "contrastive-studio", {"name": "one", "dir": "runs/one"}),
        ("config", {"train.lr": 1e-3, "data.root": "None"}, None),
        ("log", {"G/adv": 0.5, "probe/digit/salient": 0.9}, 64),
        ("images", ["grid"], 64),
        ("finish", None, None),
    ]


def test_tracker_that_fails_is_dropped_and_nothing_stops(
    tracked: Trackers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Recorder, "broken", True)
    tracked.log({"G/adv": 0.5}, 64)
    tracked.log({"G/adv": 0.5}, 128)
    error = capsys.readouterr().err
    assert error.count("wandb gets nothing more") == 1
    assert "the network is down" in error


def test_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(StudioError, match="mlflow is not installed; `pip install mlflow`"):
        check_installed(["mlflow"])
    check_installed([])
