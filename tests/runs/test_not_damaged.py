"""A newer studio and Git LFS pointers are told apart from damage, and nothing replaces them."""

import json
from pathlib import Path

import pytest
from support.experiments import tiny
from support.folder_files import fill, open_folders

from studio import Run
from studio.data.folders import QuarantineError
from studio.errors import NotDamagedError, StudioError
from studio.runs.data_file import read_data_file
from studio.runs.exported import find_export
from studio.training.session import train

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n"


@pytest.fixture
def run() -> Path:
    """A run with checkpoints at 16 and 32 images."""
    return train(tiny("cvae", images=32, save_every=16, keep=2), Path("run")).folder


def set_key(path: Path, **keys: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_newer_checkpoint_is_refused_and_no_older_one_taken(run: Path) -> None:
    set_key(run / "checkpoints/00000032/manifest.json", format=9)
    with pytest.raises(NotDamagedError, match=r"written by a newer studio \(format 9"):
        Run.open(run)
    with pytest.raises(StudioError, match="written by a newer studio"):
        train(tiny("cvae", images=48, save_every=16, keep=2), run, resume=True)
    assert (run / "checkpoints/00000032/manifest.json").is_file()
    assert Run.open(run, 16).images_seen == 16


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/00000032/ema.safetensors",
        "checkpoints/00000032/manifest.json",
        "config.yaml",
        "data.json",
    ],
)
def test_lfs_pointer_in_a_run_is_named(run: Path, name: str) -> None:
    (run / name).write_text(POINTER)
    with pytest.raises(StudioError) as caught:
        Run.open(run)
    assert f"{run / name}: a Git LFS pointer, not the file: git lfs pull" in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_damaged_checkpoint_is_still_called_damaged(run: Path) -> None:
    for number in (16, 32):
        (run / f"checkpoints/{number:08d}/ema.safetensors").write_text("x")
    with pytest.raises(StudioError, match="every checkpoint is damaged"):
        Run.open(run)


def test_unknown_fields_of_a_run_come_from_a_newer_studio(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("  rollbacks:", "  turbo: true\n  rollbacks:"))
    with pytest.raises(StudioError, match=r"(?s)written by a newer studio.*train\.turbo: no such"):
        Run.open(run)
    path.write_text(path.read_text().replace("  turbo: true", "  lr: -1"))
    with pytest.raises(StudioError) as caught:
        Run.open(run)
    assert "newer" not in str(caught.value)


def test_newer_data_file_and_export_are_named(run: Path) -> None:
    set_key(run / "data.json", format=2)
    with pytest.raises(StudioError, match="written by a newer studio"):
        read_data_file(run)
    Path("exported").mkdir()
    content = {"kind": "contrastive-studio export", "format": 2, "shape": [1, 8, 8]}
    Path("exported/manifest.json").write_text(
        json.dumps({**content, "images_seen": 1, "files": {}})
    )
    with pytest.raises(NotDamagedError, match="written by a newer studio"):
        find_export(Path("exported"))


def test_lfs_pointer_among_images_is_named() -> None:
    fill(Path("own"))
    Path("own/target/000.png").write_text(POINTER)
    with pytest.raises(QuarantineError, match=r"000\.png is a Git LFS pointer"):
        open_folders(Path("own"), max_bad=0.0)
