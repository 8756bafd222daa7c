"""`studio data` with missing, empty or forbidden folders: one clear line, never a traceback."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.data_check import FILES, KEYS
from support.source_files import mnist_arrays

from studio.data import DATASETS

# Sets of files that do not exist here.
ABSENT = {
    "affectnet",
    "brats",
    "celeba_accessories",
    "folders",
    "mice_protein",
    "pneumonia",
    "rna",
    "vbm",
}


@pytest.mark.parametrize("name", FILES)
def test_check_states_the_expected_files_without_a_folder(
    problem, studio, monkeypatch, name: str
) -> None:
    monkeypatch.delenv("STUDIO_DATA", raising=False)
    text = problem(name)
    assert text.startswith(
        "data.root: not given, and the environment variable STUDIO_DATA is not set; expected "
    )
    report = json.loads(studio("data", "check", name, "--json").out)
    assert report["root"] is None
    assert "ROOT/mnist.npz" in report["expected"]
    assert report["expected"] == DATASETS[name].LAYOUT


def test_check_has_the_same_keys_for_every_data_set(studio, root: Path) -> None:
    for name in DATASETS:
        report = json.loads(studio("data", "check", name, "--json").out)
        assert list(report) == KEYS
        assert report["ok"] is (name not in ABSENT)
        assert report["root"] == (str(root) if name in (*FILES, *ABSENT - {"folders"}) else None)
    report = json.loads(studio("data", "check", "folders", "--json").out)
    assert "data.root: missing: the folder with your images" in report["problems"][0]
    assert report["expected"].startswith("ROOT/background/... and ROOT/target/...")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("absent", "no folder "),
        ("file", "is a file, not a folder"),
        ("empty", "no MNIST in "),
        ("~", "no folder "),
    ],
)
def test_check_names_a_missing_or_empty_folder(
    problem, tmp_path: Path, monkeypatch, name: str, kind: str, expected: str
) -> None:
    place = {"~": "~nobody-has-this-name/x"}.get(kind, str(tmp_path / kind))
    if kind == "file":
        Path(place).write_text("x")
    elif kind == "empty":
        Path(place).mkdir()
    monkeypatch.setenv("STUDIO_DATA", place)
    text = problem(name)
    assert expected in text
    assert place in text
    assert kind == "empty" or text.startswith("STUDIO_DATA (data.root): ")
    monkeypatch.delenv("STUDIO_DATA")
    assert kind == "empty" or problem(name, "--set", f"data.root={place}").startswith("data.root: ")


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder in which file permissions apply to this process even if it runs as root."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        was = os.geteuid()
        if was == 0:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(was)


@pytest.mark.parametrize("kind", ["folder", "file", "above"])
def test_check_names_a_file_or_folder_without_permission(
    problem, unprivileged_folder: Path, monkeypatch, kind: str
) -> None:
    place = unprivileged_folder / "mine" / "data"
    place.mkdir(parents=True)
    np.savez(place / "mnist.npz", **mnist_arrays())
    closed = {"folder": place, "file": place / "mnist.npz", "above": place.parent}[kind]
    closed.chmod(0)
    try:
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.chdir(unprivileged_folder)
        text = problem("grassy_mnist", "--set", f"data.root={place}")
    finally:
        closed.chmod(0o700)
    assert str(place) in text
    assert "cannot be read: Permission denied" in text
