"""The command `studio` and small source files."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.data_check import KEYS
from support.source_files import cifar_arrays, mnist_arrays

from studio import cli


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    np.savez(place / "mnist.npz", **mnist_arrays())
    np.savez(place / "cifar10.npz", **cifar_arrays())
    monkeypatch.setenv("STUDIO_DATA", str(place))
    return place


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Returns a function that runs a command as the console script does."""

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr("sys.argv", ["studio", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def problem(studio):
    """Returns a function that checks an unusable data set and returns its one problem.

    It also checks that `preview` reports the same problem.
    """

    def run(name: str, *words: str) -> str:
        checked = studio("data", "check", name, "--json", *words)
        report = json.loads(checked.out)
        assert (checked.code, checked.err, report["ok"], list(report)) == (1, "", False, KEYS)
        (text,) = report["problems"]
        drawn = studio("data", "preview", name, *words)
        assert (drawn.code, drawn.out, drawn.err) == (2, "", f"error: {text}\n")
        assert not Path("preview.png").exists()
        return text

    return run
