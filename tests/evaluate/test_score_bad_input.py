"""User errors with `studio score`: each has one clear message, and no code in a file is run."""

import pickle
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from support.experiments import tiny
from typer.testing import CliRunner

from studio import cli
from studio.build import build_method
from studio.config import dump
from studio.errors import StudioError
from studio.evaluate.score import read_scores
from studio.evaluate.weights import INCEPTION_FILE, inception_weights, read_weights
from studio.runs import checkpoint
from studio.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An untrained run with one checkpoint."""
    folder, config = tmp_path / "run", tiny("vae")
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(config))
    state = build_method(config, (1, 32, 32)).state_dict()
    checkpoint.save(folder, 64, {"weights": state, "ema": state}, {}, {"shape": [1, 32, 32]})
    return folder


def error(*arguments: object) -> str:
    """Returns the message of `studio score ...`. Fails unless it is a clear refusal."""
    result = CliRunner().invoke(cli.app, ["score", *map(str, arguments)])
    assert isinstance(result.exception, StudioError), (result.output, result.exception)
    return str(result.exception)


class Bomb:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("exploded"),)


def test_score_refuses_missing_runs_and_checkpoints(run: Path) -> None:
    assert "nowhere: no such run" in error("nowhere")
    assert "no checkpoint 65; there are: 64" in error(run, "--checkpoint", 65)
    assert "--checkpoint newest: expected a number of images seen, or all" in error(
        run, "--checkpoint", "newest"
    )
    file = run / "checkpoints" / "00000064" / "ema.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert "ema.safetensors: damaged" in error(run, "--checkpoint", "all")
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in error(run)
    assert "no checkpoint yet" in error(run, "--checkpoint", "all")


def test_intact_checkpoints_skips_damaged_ones(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from studio.evaluate.score import intact_checkpoints

    shutil.copytree(run / "checkpoints" / "00000064", run / "checkpoints" / "00000128")
    (run / "checkpoints" / "00000128" / "ema.safetensors").write_bytes(b"")
    assert intact_checkpoints(run) == [64]
    assert "damaged" in capsys.readouterr().err


def test_score_refuses_an_impossible_number_of_images(run: Path) -> None:
    assert (
        "--n 9: expected 10 to 2500, because of 5,000 background and 5,000 target test images "
        "one half" in error(run, "--n", 9)
    )
    assert "--n 2501: expected 10 to 2500" in error(run, "--n", 2501)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("inceptoin", "no such extractor; did you mean 'inception'?"),
        ("dinov2", "no such extractor; valid: domain, inception, module:Class"),
        ("not_a_module:Net", "not_a_module cannot be imported: ModuleNotFoundError"),
        ("broken:Net", "broken cannot be imported: ZeroDivisionError"),
        ("nets.trunk:Trunc", "has no torch.nn.Module 'Trunc'; did you mean 'Trunk'?"),
        ("os:getcwd", "os has no torch.nn.Module 'getcwd'"),
        (":Net", "--features :Net: no such extractor"),
        ("torch.nn:", "--features torch.nn:: no such extractor"),
        ("torch.nn:Linear", "cannot be constructed: TypeError"),
        ("torch.nn:Identity", "expected features of shape (2, D), found (2, 1, 32, 32)"),
        ("fails:Net", "failed on images (2, 1, 32, 32) of torch.float32: KeyError"),
        ("fails:Single", "expected at least 2 features, found 1"),
        ("fails:Infinite", "some features are not finite"),
    ],
)
def test_score_refuses_an_invalid_extractor(run: Path, features: str, message: str) -> None:
    Path("broken.py").write_text("1 / 0")
    Path("fails.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return {}['nothing']\n"
        "class Single(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return images.flatten(1)[:, :1]\n"
        "class Infinite(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return images.flatten(1) / 0\n"
    )
    assert message in error(run, "--features", features)


def test_inception_weights_names_the_expected_places_when_missing(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STUDIO_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    said = error(run, "--features", "inception")
    assert str(tmp_path / "weights" / INCEPTION_FILE) in said
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / INCEPTION_FILE) in said
    assert "sha256 begins with 6726825d" in said
    assert f"releases/download/v0.2.0/{INCEPTION_FILE}" in said
    gone = tmp_path / "gone.pth"
    assert f"{gone}: no such file of weights" in error(
        run, "--features", "inception", "--weights", gone
    )
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / INCEPTION_FILE).write_bytes(b"another file")
    assert inception_weights(None) == tmp_path / "weights" / INCEPTION_FILE
    assert "sha256 expected 6726825d..., found" in error(run, "--features", "inception")


def test_read_weights_never_runs_code_in_a_pickle(run: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "more": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "plain.pth"):
        for features in (
            "inception",
            "torch_fidelity:FeatureExtractorInceptionV3",
            "torch.nn:Flatten",
        ):
            said = error(run, "--features", features, "--weights", tmp_path / name)
            assert f"{name}: not a file of tensors" in said
    assert not Path("exploded").exists()
    pickle.loads((tmp_path / "plain.pth").read_bytes())
    assert Path("exploded").exists(), "it would have been"


def test_read_weights_names_the_code_in_a_pickle_without_unsafe_advice(
    tmp_path: Path,
) -> None:
    torch.save({"more": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb(), protocol=4))
    (tmp_path / "empty.pth").write_bytes(b"")
    for name, reason in (
        ("bomb.pth", f"it needs {Path.touch.__module__}"),
        ("plain.pth", "damaged, or has another format"),
        ("empty.pth", "it is empty or truncated"),
    ):
        with warnings.catch_warnings(action="error"), pytest.raises(StudioError) as refused:
            read_weights(tmp_path / name)
        assert reason in str(refused.value) or "it needs" in str(refused.value)
        assert "weights_only" not in str(refused.value)


def test_read_weights_refuses_other_files(run: Path, tmp_path: Path) -> None:
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not weights\n")
        assert f"{name}: not a file of tensors" in error(
            run, "--features", "inception", "--weights", tmp_path / name
        )
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    assert "list.pth: expected tensors by name" in error(
        run, "--features", "inception", "--weights", tmp_path / "list.pth"
    )
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    said = error(run, "--features", "inception", "--weights", tmp_path / "other.safetensors")
    assert "other.safetensors: not the weights of torch-fidelity's Inception" in said
    said = error(run, "--weights", tmp_path / "other.safetensors")
    assert "other.json: not the manifest of a classifier" in said


def test_read_weights_finds_the_state_in_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.ones(2)}}, tmp_path / "lightning.ckpt")
    state, sha256 = read_weights(tmp_path / "lightning.ckpt")
    assert state["weight"].tolist() == [1, 1]
    assert len(sha256) == 64


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scores": [{}]}', '{"scores": 3}'])
def test_read_scores_refuses_a_damaged_file(run: Path, content: str) -> None:
    (run / "score.json").write_text(content)
    with pytest.raises(
        StudioError,
        match=r"score\.json: expected scores written by `studio score` .*delete the file",
    ):
        read_scores(run)


def test_score_refuses_images_that_are_not_finite(run: Path) -> None:
    state = checkpoint.newest(run).tensors("ema")
    broken = {
        name: value * torch.nan if value.is_floating_point() else value
        for name, value in state.items()
    }
    checkpoint.save(run, 128, {"weights": broken, "ema": broken}, {}, {"shape": [1, 32, 32]})
    Path("flat.py").write_text("import torch\nclass Flat(torch.nn.Flatten):\n    pass\n")
    said = error(run, "--features", "flat:Flat", "--n", 10)
    assert (
        said == "background samples: 10 of 10 images have values that are not finite: "
        "has training diverged?"
    )


def test_score_refuses_vectors(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "data", SimpleNamespace(shape=(20,)))
    assert (
        "expected images (channels, height, width) or volumes to score, "
        "found 20 numbers: FID, KID and IS compare features" in error(run)
    )
