"""Checkpoints: whole or not at all, hashed, the newest whole one is used."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from studio.errors import StudioError
from studio.runs import checkpoint
from studio.runs.checkpoint import every, newest, prune, save

TENSORS = {
    "weights": {
        "a": torch.arange(4.0),
        "b": torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    }
}


def put(run: Path, number: int) -> checkpoint.Checkpoint:
    tensors = {"weights": {"a": torch.full((4,), float(number))}, "ema": {"a": torch.zeros(4)}}
    return save(
        run,
        number,
        tensors,
        {"iteration": number, "state": {0: torch.ones(2)}},
        {"shape": [1, 32, 32]},
    )


def test_save_returns_the_same_tensors_and_state(tmp_path: Path) -> None:
    saved = save(
        tmp_path, 128, TENSORS, {"iteration": 3, "list": [1, 2.5, "x"]}, {"shape": [1, 2, 3]}
    )
    assert saved.path == tmp_path / "checkpoints" / "00000128"
    found = newest(tmp_path)
    assert found == saved
    back = found.tensors("weights")
    assert all(torch.equal(back[name], value) for name, value in TENSORS["weights"].items())
    assert found.training() == {"iteration": 3, "list": [1, 2.5, "x"]}
    manifest = found.verify()
    assert manifest["format"] == checkpoint.FORMAT
    assert manifest["images_seen"] == 128
    assert manifest["shape"] == [1, 2, 3]
    assert set(manifest["files"]) == {"weights.safetensors", "training.pt"}
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints"}


@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "training.pt"])
def test_newest_skips_a_checkpoint_with_a_flipped_byte(tmp_path: Path, name: str) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    file = tmp_path / "checkpoints" / "00000002" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    lines = []
    assert newest(tmp_path, lines.append).images_seen == 1
    assert len(lines) == 1
    assert name in lines[0]
    assert "damaged" in lines[0]
    with pytest.raises(StudioError, match=f"{name}: damaged: sha256"):
        every(tmp_path)[-1].verify()


def test_newest_raises_when_every_checkpoint_is_damaged(tmp_path: Path) -> None:
    (put(tmp_path, 1).path / "training.pt").unlink()
    with pytest.raises(StudioError, match=r"every checkpoint is damaged\n.*training.pt"):
        newest(tmp_path)
    assert newest(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": 3}'])
def test_verify_refuses_text_that_is_not_a_manifest(tmp_path: Path, text: str) -> None:
    put(tmp_path, 1)
    (put(tmp_path, 2).path / "manifest.json").write_text(text)
    assert newest(tmp_path).images_seen == 1


def test_verify_refuses_an_unknown_format_by_number(tmp_path: Path) -> None:
    path = put(tmp_path, 1).path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(StudioError, match="format 99"):
        newest(tmp_path)


def test_verify_ignores_folders_in_a_manifests_file_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    path = put(tmp_path, 1).path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {"../../secret": manifest["files"]["training.pt"]}
    path.write_text(json.dumps(manifest))
    with pytest.raises(StudioError, match="00000001/secret: damaged"):
        newest(tmp_path)


@pytest.mark.parametrize("call", ["save_file", "torch.save", "write_text", "_flush", "os.replace"])
@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("file write failed"),
        SafetensorError("I/O"),
        KeyboardInterrupt(),
    ],
)
def test_save_leaves_earlier_checkpoints_when_it_fails_or_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    put(tmp_path, 1)

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    owner, name = {
        "save_file": (checkpoint, "save_file"),
        "torch.save": (torch, "save"),
        "write_text": (Path, "write_text"),
        "_flush": (checkpoint, "_flush"),
        "os.replace": (os, "replace"),
    }[call]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(
            KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StudioError
        ):
            put(tmp_path, 2)
    assert [c.images_seen for c in every(tmp_path)] == [1]
    assert newest(tmp_path).images_seen == 1
    put(tmp_path, 2)
    assert newest(tmp_path).images_seen == 2
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints"}


def test_save_removes_the_leftovers_of_a_killed_save(tmp_path: Path) -> None:
    (tmp_path / ".writing-00000005-1").mkdir()
    (tmp_path / "checkpoints" / "00000007").mkdir(parents=True)  # no manifest
    (tmp_path / "checkpoints" / "00000007" / "weights.safetensors").touch()
    (tmp_path / "checkpoints" / ".DS_Store").write_text("stray")
    assert newest(tmp_path) is None
    put(tmp_path, 1)
    assert newest(tmp_path).images_seen == 1
    assert not (tmp_path / ".writing-00000005-1").exists()
    put(tmp_path, 7)  # where the half-removed one stands
    assert newest(tmp_path).images_seen == 7


def test_prune_keeps_the_newest_and_at_least_one(tmp_path: Path) -> None:
    for number in (1, 2, 3, 10):
        put(tmp_path, number)
    prune(tmp_path, 2)
    assert [c.images_seen for c in every(tmp_path)] == [3, 10]
    prune(tmp_path, 0)
    assert [c.images_seen for c in every(tmp_path)] == [10]


def test_save_leaves_an_intact_checkpoint_unchanged(tmp_path: Path) -> None:
    first = put(tmp_path, 1)
    before = (first.path / "manifest.json").stat().st_mtime_ns
    put(tmp_path, 1)
    assert (first.path / "manifest.json").stat().st_mtime_ns == before
