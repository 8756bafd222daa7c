"""Runs of an earlier format open and resume, and every run records its software and command."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.experiments import tiny

from studio import Run
from studio.config import read_yaml, resolve
from studio.errors import StudioError
from studio.runs import checkpoint, provenance
from studio.training.session import train

HERE = Path(__file__).parent


@pytest.fixture
def frozen() -> Path:
    """A cvae of width 1, trained by version 0.1.0 at format 1, stopped at 32 of 48 images."""
    return Path(shutil.copytree(HERE / "frozen_run", "frozen_run"))


def test_run_opens_a_run_of_format_1(frozen: Path) -> None:
    run = Run.open(frozen)
    assert json.loads((frozen / "checkpoints/00000032/manifest.json").read_text())["format"] == 1
    assert run.images_seen == 32
    images = run.data.images("test", "target", range(3))
    assert run.heal(images).shape == run.swap(images, images).shape == (3, 1, 32, 32)
    state = checkpoint.newest(frozen).training()
    assert (state["parts"], state["rollbacks"], state["iteration"]) == (1, 0, 2)


def test_train_resumes_a_run_of_format_1_to_the_expected_weights(frozen: Path) -> None:
    config = resolve(read_yaml(frozen / "config.yaml"), "frozen", "frozen")
    done = train(config, frozen, resume=True)
    assert done.logger.first == 32
    expected, start = (
        load_file(HERE / "frozen_after.safetensors"),
        Run.open(frozen, 32, ema=False).method.state_dict(),
    )
    for name, value in done.engine.method.state_dict().items():
        # The tolerance is for processors that round otherwise.
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)
    moved = [
        name
        for name, value in expected.items()
        if not torch.allclose(value, start[name], rtol=1e-3, atol=1e-5)
    ]
    assert len(moved) > len(expected) / 2
    assert [c.verify()["format"] for c in checkpoint.every(frozen)] == [1, checkpoint.FORMAT]


def test_migrations_cover_every_earlier_format() -> None:
    assert set(checkpoint.MIGRATIONS) == set(range(1, checkpoint.FORMAT))


@pytest.mark.parametrize("version", [0, "1", None])
def test_run_refuses_a_format_that_is_not_known(frozen: Path, version: object) -> None:
    path = frozen / "checkpoints/00000032/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": version}))
    with pytest.raises(
        StudioError, match=f"written in format {version}, this studio reads formats 1 to 2"
    ):
        Run.open(frozen)


def test_train_records_software_and_command_in_log_and_manifest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["studio", "train", "--cfg", "a b.yaml"])
    train(tiny("vae", images=16), Path("run"))
    started = json.loads(Path("run/log.jsonl").read_text().splitlines()[0])["started"]
    manifest = checkpoint.newest(Path("run")).verify()
    assert {key: manifest[key] for key in started} == started
    assert started["command"] == "studio train --cfg 'a b.yaml'"
    assert started["torch"] == torch.__version__
    assert (started["device"], started["processes"], started["threads"]) == ("cpu", 1, 1)
    assert started["deterministic"] is False
    assert set(started) == {
        "studio",
        "commit",
        "python",
        "torch",
        "numpy",
        "accelerate",
        "safetensors",
        "platform",
        "machine",
        "accelerator",
        "cuda",
        "deterministic",
        "command",
        "device",
        "processes",
        "threads",
        "precision",
    }


def test_commit_is_that_of_the_checkout_and_marks_changed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    find = provenance.commit.__wrapped__
    assert find() is None  # installed, perhaps inside another repository
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert find() == head
    (tmp_path / "file").write_text("2")
    assert find() == f"{head}+changes"
    monkeypatch.setenv("PATH", "")
    assert find() is None


def test_train_deterministic_is_recorded_and_repeats_the_weights() -> None:
    try:
        first, second = (
            train(tiny("vae", images=32), Path(name), deterministic=True)
            for name in ("first", "second")
        )
        assert first.environment["deterministic"] is True
        assert torch.are_deterministic_algorithms_enabled()
        states = [done.engine.method.state_dict() for done in (first, second)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    finally:
        torch.use_deterministic_algorithms(False)


def test_train_resumes_with_an_allowed_change_of_a_field() -> None:
    config = tiny("vae", images=32)
    train(config, Path("run"))
    slow = config.model_copy(
        update={"train": config.train.model_copy(update={"lr": 1e-5, "images": 48})}
    )
    with pytest.raises(
        StudioError, match=r"--allow FIELD accepts a change\n  train.lr: .* in the run, 1e-05 now"
    ):
        train(slow, Path("run"), resume=True)
    with pytest.raises(
        StudioError, match=r"--allow train.lrr: no such field; did you mean 'train.lr'\?"
    ):
        train(slow, Path("run"), resume=True, allowed=["train.lrr"])
    done = train(slow, Path("run"), resume=True, allowed=["train.lr"])
    assert {group["lr"] for o in done.engine.optimizers.values() for group in o.param_groups} == {
        1e-5
    }
    assert read_yaml(Path("run/config.yaml"))["train"]["lr"] == 1e-5
    wider = slow.model_copy(update={"nets": slow.nets.model_copy(update={"width": 8})})
    with pytest.raises(StudioError, match="does not fit the run's config"):
        train(wider, Path("run"), resume=True, allowed=["nets.width"])
