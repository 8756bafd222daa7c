"""A training starts from trained nets, keeps its own state when it is resumed, and says so."""

import json
from pathlib import Path

import pytest
import torch
from support.experiments import tiny
from support.folder_files import fill, noise, write_table
from support.plain_nets import plain
from support.runs import digest, studio, with_train_fields

from studio.config import Config, dump, resolve
from studio.errors import StudioError
from studio.export import export
from studio.runs import checkpoint
from studio.runs.run import Run
from studio.runs.start import read_start
from studio.training.session import train

IMAGES = 64


def config_of(seed: int = 1, **fields: object) -> Config:
    return tiny("dig", **fields).model_copy(update={"seed": seed})


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "first"
    train(config_of(0), folder)
    return folder


def test_train_starts_from_the_averaged_weights_of_a_run(first: Path) -> None:
    train(config_of(), Path("second"), start=first)
    (begin, end) = checkpoint.every(Path("second"))
    theirs = Run.open(first).method.state_dict()
    last = Run.open(first, ema=False).method.state_dict()
    assert any(not torch.equal(theirs[name], last[name]) for name in theirs)
    for kind in ("weights", "ema"):
        found = begin.tensors(kind)
        assert found.keys() == theirs.keys()
        assert all(torch.equal(found[name], theirs[name]) for name in theirs)
    assert (begin.images_seen, end.images_seen) == (0, IMAGES)
    # And the training is another one than from random nets.
    train(config_of(), Path("random"))
    assert digest(Path("second"), IMAGES) != digest(Path("random"), IMAGES)


def test_start_is_recorded_in_manifest_log_export_and_card(first: Path) -> None:
    train(config_of(), Path("second"), start=first)
    expected = {
        "run": str(first.resolve()),
        "method": "dig",
        "dataset": "textured_digits",
        "images_seen": IMAGES,
        "weights": "averaged",
        "sha256": digest(first, IMAGES)["ema.safetensors"],
    }
    assert json.loads(Path("second/start.json").read_text()) == expected
    newest = checkpoint.newest(Path("second"))
    assert newest is not None
    assert newest.verify()["started_from"] == expected
    begun = json.loads(Path("second/log.jsonl").read_text().splitlines()[0])
    assert begun["started"]["started_from"] == expected
    named = {**expected, "run": "first"}
    for source, out in (("second", "shared"), ("shared", "again")):
        assert export(Run.open(source), out, onnx=False)["started_from"] == named
        card = Path(out, "README.md").read_text()
        assert "the averaged weights of first (dig on textured_digits, 64 images)" in card
        assert str(first.parent) not in card


def test_an_export_gives_the_same_start_as_its_run(first: Path) -> None:
    assert export(Run.open(first), "shared", onnx=False)["started_from"] is None
    assert "**Start:**" not in Path("shared/README.md").read_text()
    train(config_of(), Path("of_run"), start=first)
    train(config_of(), Path("of_export"), start=Path("shared"))
    assert digest(Path("of_run"), IMAGES) == digest(Path("of_export"), IMAGES)


def test_resume_keeps_its_own_state_and_does_not_start_over(first: Path) -> None:
    config = config_of(save_every=32)
    train(config, Path("straight"), start=first)
    short = with_train_fields(config, images=32)
    train(short, Path("parts"), start=first)
    source = Path("gone")
    first.rename(source)  # the source is not needed any more
    try:
        train(config, Path("parts"), resume=True)
        assert train(config, Path("parts"), resume=True, start=first).engine.images_seen == IMAGES
    finally:
        source.rename(first)
    assert digest(Path("parts"), IMAGES) == digest(Path("straight"), IMAGES)
    assert read_start(Path("parts")) == read_start(Path("straight"))


def test_resume_without_a_checkpoint_starts_from_the_same_nets(first: Path) -> None:
    config = config_of()
    train(config, Path("straight"), start=first)
    train(config, Path("killed"), start=first)
    for found in checkpoint.every(Path("killed")):
        for file in found.path.iterdir():
            file.unlink()
        found.path.rmdir()
    train(config, Path("killed"), resume=True)
    assert digest(Path("killed"), IMAGES) == digest(Path("straight"), IMAGES)


def test_resume_refuses_another_start(first: Path) -> None:
    config = config_of(images=16)
    train(config, Path("random"))
    with pytest.raises(StudioError, match="random started from random nets") as error:
        train(config, Path("random"), resume=True, start=first)
    assert "leave --from out" in str(error.value)
    train(config, Path("second"), start=first)
    with pytest.raises(StudioError, match=f"second started from {first.resolve()}"):
        train(config, Path("second"), resume=True, start=Path("random"))


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("method.s", 5, ["(7, 16, 4, 4)", "expected (9, 16, 4, 4)", "found 3, expected 5"]),
        ("nets.width", 8, ["(7, 16, 4, 4)", "(7, 32, 4, 4)", "found 4, expected 8"]),
        ("data.resolution", 64, ["found (1, 32, 32), expected (1, 64, 64)"]),
        ("method.name", "vae", ["is missing there", "found dig, expected vae"]),
    ],
)
def test_train_refuses_nets_of_another_size_and_names_the_field(
    first: Path, field: str, value: object, parts: list[str]
) -> None:
    Path("other.yaml").write_text(dump(config_of()))
    options = ["--cfg", "other.yaml", "--run", "new", "--from", first]
    if field == "method.name":
        Path("other.yaml").write_text(dump(tiny("vae")))
    else:
        options += ["--set", f"{field}={value}"]
    for more in ([], ["--dry-run"]):
        _, error = studio("train", *options, *more, code=2)
        assert error.startswith(f"--from {first}: G." if field != "method.name" else "--from ")
        assert "\n" not in error
        for part in (f"{field} makes it", *parts):
            assert part in error
    assert not Path("new").exists()


def test_train_refuses_a_start_that_is_no_run_or_needs_none(first: Path) -> None:
    with pytest.raises(StudioError, match="--from nowhere: no such run"):
        train(config_of(), Path("new"), start=Path("nowhere"))
    with pytest.raises(StudioError, match="cpca is solved at once"):
        train(tiny("cpca"), Path("new"), start=first)
    Path("empty").mkdir()
    with pytest.raises(StudioError, match="--from empty: not a run"):
        train(config_of(), Path("new"), start=Path("empty"))
    assert not Path("new").exists()


def test_a_failed_step_returns_to_the_start_and_not_to_random_nets(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studio.training.engine import Engine

    original, calls = Engine._backward, []

    def broken(self: Engine, *rest: object) -> dict:
        means = original(self, *rest)  # pyright: ignore[reportArgumentType]
        calls.append(1)
        return {k: v * float("nan") for k, v in means.items()} if len(calls) == 1 else means

    monkeypatch.setattr(Engine, "_backward", broken)
    session = train(config_of(images=16, lr=1e-12), Path("new"), start=first)
    assert session.engine.rollbacks == 1
    theirs = Run.open(first).method.state_dict()
    ours = session.engine.method.state_dict()
    key = "G.first.0.weight"
    assert torch.allclose(ours[key], theirs[key], atol=1e-6)


def test_note_counts_held_out_files_that_the_start_was_trained_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(Path("images"), 12, make=lambda key: noise(key, (32, 32)))
    fields = {"name": "folders", "root": "images", "resolution": 32, "channels": 1}
    raw = plain("vae", images=16).model_dump(mode="json") | {"data": fields}
    train(resolve(raw, "files", "files"), Path("first"))
    split = json.loads(Path("first/data.json").read_text())["derived"]["split"]
    held_out = sum(side == "test" for side in split.values())
    train(resolve(raw, "files", "files"), Path("same"), start=Path("first"))
    assert "held-out names" not in capsys.readouterr().err
    turned = {name: "train" if side == "test" else "test" for name, side in split.items()}
    write_table(Path("images"), "\n".join(["file,split", *map(",".join, turned.items())]))
    train(resolve(raw, "files", "files"), Path("turned"), start=Path("first"))
    known = len(split) - held_out
    expected = f"{known} of {known} held-out names are names that these nets were trained on"
    assert expected in " ".join(capsys.readouterr().err.split())
