"""Trainings from the command line: run directories, resuming, stopping and refusals."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from support.experiments import tiny
from support.runs import digest, studio, with_train_fields

from studio import Run, cli
from studio.config import resolve
from studio.errors import StudioError
from studio.runs import checkpoint
from studio.runs.folder import claim_folder
from studio.training.session import TrainingSession, train

SMALL = [
    "--set",
    "nets.width=4",
    "--set",
    "method.z=4",
    "--set",
    "method.s=3",
    "--set",
    "train.batch=16",
    "--set",
    "train.threads=1",
    "--set",
    "train.grid_every=0",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny training with its pictures and probe."""
    place = tmp_path_factory.mktemp("finished place")  # a path with a space
    before = Path.cwd()
    os.chdir(place)
    try:
        studio(
            "train",
            "--cfg",
            "digits_dig",
            *SMALL,
            "--set",
            "train.images=96",
            "--set",
            "train.save_every=48",
        )
    finally:
        os.chdir(before)
    return place / "runs" / "digits_dig-1"


def test_train_writes_every_file_of_a_run_directory(finished: Path) -> None:
    assert {p.name for p in finished.iterdir()} == {
        "config.yaml",
        "data.json",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "grids",
        "probe.json",
        "report.html",
    }
    assert {p.name for p in (finished / "checkpoints").iterdir()} == {"00000048", "00000096"}
    kinds = (
        "overview",
        "grid",
        "reconstruct",
        "swap",
        "heal",
        "isolate",
        "traverse",
        "interpolate",
        "codes",
    )
    assert {f"{kind}.png" for kind in kinds} <= {p.name for p in (finished / "grids").iterdir()}
    probe = json.loads((finished / "probe.json").read_text())
    assert {"run", "method", "dataset", "images_seen", "n_train", "n_test", "rows"} <= set(probe)
    assert [row["attribute"] for row in probe["rows"]] == ["digit", "texture", "target"]
    keys = {
        "attribute",
        "belongs",
        "metric",
        "salient",
        "common",
        "whole",
        "chance",
        "error",
        "n",
        "also",
    }
    assert all(set(row) == keys for row in probe["rows"])
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert "command" in lines[0]["started"]


def test_train_saves_a_resolved_config_that_reproduces_the_run(finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    assert "images: 96" in text
    assert "prior_z: normal" in text
    assert Run.open(finished).config.nets.width == 4


def test_run_opens_in_eval_mode_with_averaged_weights(
    finished: Path,
) -> None:
    run = Run.open(finished)
    assert run.images_seen == 96
    assert not any(m.training for m in run.method.modules())
    x = run.data.images("test", "background", range(3))
    y = run.data.images("test", "target", range(3))
    code = run.encode(y)
    torch.testing.assert_close(run.reconstruct(y), run.decode(code))
    blank = run.method.blank(3)
    torch.testing.assert_close(run.heal(y), run.decode(code._replace(s=blank)))
    torch.testing.assert_close(run.swap(x, y), run.decode(run.encode(x)._replace(s=code.s)))
    assert run.sample(4, "background", seed=1).shape == (4, 1, 32, 32)
    assert torch.equal(run.sample(2, seed=1), run.sample(2, seed=1))
    assert not torch.equal(run.sample(2, seed=1), run.sample(2, seed=2))
    last = Run.open(finished, ema=False)
    assert not torch.equal(last.reconstruct(y), run.reconstruct(y))
    assert Run.open(finished, 48).images_seen == 48


def test_probe_prints_only_json_on_stdout_with_json(finished: Path) -> None:
    out, _ = studio("probe", finished, "--json")
    result = json.loads(out)
    assert result["images_seen"] == 96
    assert result["protocol"] == "held-out"
    saved = json.loads((finished / "probe.json").read_text())
    assert result["rows"] == saved["rows"]
    carton = json.loads(studio("probe", finished, "--json", "--protocol", "carton")[0])
    assert carton["rows"][0]["metric"] == "accuracy"


def test_render_writes_the_same_picture_twice_for_one_seed(finished: Path) -> None:
    studio("render", finished, "swap", "--out", "a b.png", "--n", 3)
    studio("render", finished, "swap", "--out", "sub/c.png", "--n", 3)
    assert Path("a b.png").read_bytes() == Path("sub/c.png").read_bytes()
    studio("render", finished, "swap", "--out", "d.png", "--n", 3, "--seed", 1)
    assert Path("d.png").read_bytes() != Path("a b.png").read_bytes()


def interrupt_after(monkeypatch: pytest.MonkeyPatch, iterations: int, number: int) -> None:
    original = TrainingSession.record

    def after(self: TrainingSession, terms: dict) -> bool:
        if self.engine.iteration == iterations:
            os.kill(os.getpid(), number)
        return original(self, terms)

    monkeypatch.setattr(TrainingSession, "record", after)


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_train_resumes_to_the_weights_of_an_uninterrupted_run(
    monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    config = tiny(images=96, save_every=32)
    train(config, Path("straight"))
    with monkeypatch.context() as patch:
        interrupt_after(patch, stop_at, signal.SIGINT)
        stopped = train(config, Path("resumed"))
    assert stopped.stopped == "SIGINT"
    assert stopped.engine.iteration == stop_at
    assert checkpoint.newest(Path("resumed")).images_seen == 16 * stop_at
    done = train(config, Path("resumed"), resume=True)
    assert done.stopped == ""
    assert digest(Path("resumed"), 96) == digest(Path("straight"), 96)


def test_train_resumes_from_the_newest_intact_checkpoint_after_a_kill() -> None:
    config = tiny(images=96, save_every=32)
    train(config, Path("straight"))
    train(config, Path("killed"))
    newest = Path("killed/checkpoints/00000096/ema.safetensors")
    newest.write_bytes(newest.read_bytes()[:-7])  # cut short, as by a dying disk
    again = train(config, Path("killed"), resume=True)
    assert again.logger.first == 64
    assert checkpoint.newest(Path("killed")).images_seen == 96
    assert digest(Path("killed"), 96) == digest(Path("straight"), 96)


def test_train_never_replaces_an_intact_checkpoint_by_a_damaged_one() -> None:
    config = tiny(images=96, save_every=32)
    train(config, Path("run"))
    newest = Path("run/checkpoints/00000096/ema.safetensors")
    newest.write_bytes(newest.read_bytes()[:-7])
    stopped = train(with_train_fields(config, keep=1), Path("run"), resume=True, stop_after=0.0)
    assert stopped.engine.images_seen == 80
    assert [c.images_seen for c in checkpoint.every(Path("run"))] == [80]
    assert checkpoint.newest(Path("run")).images_seen == 80


def test_train_drops_log_lines_after_the_checkpoint_it_resumes_from() -> None:
    config = tiny(images=64, log_every=16)
    train(config, Path("run"))
    with open("run/log.jsonl", "a") as file:
        file.write('{"images_seen": 5000, "x": 1}\n{"images_seen": 50')
    train(
        config.model_copy(update={"train": config.train.model_copy(update={"images": 96})}),
        Path("run"),
        resume=True,
    )
    seen = [
        json.loads(line)["images_seen"] for line in Path("run/log.jsonl").read_text().splitlines()
    ]
    assert seen == sorted(seen)
    assert max(seen) == 96
    values = json.loads(Path("run/log.jsonl").read_text().splitlines()[1])
    assert {"D/adv.background", "G/info_s.target", "D/info_real", "images_per_second"} <= set(
        values
    )


def test_train_saves_and_exits_with_130_on_sigint(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(monkeypatch, 2, signal.SIGINT)
    studio(
        "train", "--cfg", "digits_dig", *SMALL, "--set", "train.images=960", "--run", "r", code=130
    )
    assert checkpoint.newest(Path("r")).images_seen == 32


def test_train_loses_nothing_on_a_second_interrupt_during_a_save(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(images=96, save_every=32)
    calls = []

    def killed(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 3:  # the second checkpoint's first file
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    original = checkpoint.save_file
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, Path("run"))
    assert [c.images_seen for c in checkpoint.every(Path("run"))] == [32]
    train(config, Path("run"), resume=True)
    train(config, Path("straight"))
    assert digest(Path("run"), 96) == digest(Path("straight"), 96)


def test_train_saves_and_stops_after_the_time_of_stop_after() -> None:
    stopped = train(tiny(images=9600), Path("run"), stop_after=0.0)
    assert stopped.stopped == "--stop-after"
    assert checkpoint.newest(Path("run")).images_seen == stopped.engine.images_seen == 16


def test_train_counts_runs_up_and_resumes_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(images=16)
    for number in (1, 2):
        assert train(config).folder == Path(f"runs/tiny-{number}")
    Path("runs/tiny-x").mkdir()
    longer = config.model_copy(update={"train": config.train.model_copy(update={"images": 32})})
    resumed = train(longer, resume=True)
    assert resumed.folder == Path("runs/tiny-2")
    assert resumed.engine.images_seen == 32


def test_train_refuses_to_resume_with_another_config_field_by_field() -> None:
    config = tiny(images=32)
    train(config, Path("run"))
    with pytest.raises(StudioError, match=r"train.lr: 0.0002 in the run, 0.1 now") as caught:
        train(
            with_train_fields(config, lr=0.1, images=64, betas=(0.1, 0.9)), Path("run"), resume=True
        )
    assert "train.betas" in str(caught.value)
    assert "train.images" not in str(caught.value)
    assert "lr: 0.0002" in Path("run/config.yaml").read_text()  # the run is as it was


def test_train_never_overwrites_a_run_or_a_foreign_folder() -> None:
    config = tiny(images=16)
    train(config, Path("run"))
    with pytest.raises(StudioError, match="already contains a run; --resume continues it"):
        train(config, Path("run"))
    Path("photos").mkdir()
    Path("photos/a.jpg").touch()
    with pytest.raises(StudioError, match="not empty and not a run"):
        train(config, Path("photos"))
    assert [p.name for p in Path("photos").iterdir()] == ["a.jpg"]
    with pytest.raises(StudioError, match="--resume: typo: no such run"):
        train(config, Path("typo"), resume=True)
    with pytest.raises(StudioError, match="no run of other"):
        train(config.model_copy(update={"name": "other"}), resume=True)


def test_train_keeps_the_newest_checkpoints() -> None:
    train(tiny(images=96, save_every=16, keep=2), Path("run"))
    assert [c.images_seen for c in checkpoint.every(Path("run"))] == [80, 96]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["probe", "nowhere"], "nowhere: no such run"),
        (["render", ".", "swap"], ": not a run (no config.yaml in it)"),
        (["render", "RUN", "swop"], "render swop: no such picture; did you mean 'swap'?"),
        (["render", "RUN", "swap", "--out", "a.txt"], "--out a.txt: expected a name that ends in"),
        (["probe", "RUN", "--protocol", "cartoon"], "did you mean 'carton'?"),
        (["probe", "RUN", "--checkpoint", "7"], "no checkpoint 7; there are: 48, 96"),
        (["train", "--cfg", "digits_digg"], "did you mean 'digits_dig.yaml'?"),
        (
            ["train", "--cfg", "digits_dig", "--stop-after", "soon"],
            "--stop-after soon: expected a duration",
        ),
        (["data", "check", "digts"], "no such data set or config"),
    ],
)
def test_verbs_answer_wrong_input_with_one_plain_line(
    finished: Path, arguments: list[str], expected: str
) -> None:
    _, error = studio(*[finished if a == "RUN" else a for a in arguments], code=2)
    assert expected in error
    assert "\n" not in error.strip()


def test_main_prints_a_plain_line_on_stderr_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["studio", "probe", "nowhere"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: nowhere: no such run\n"


def test_train_dry_run_prints_the_config_and_trains_nothing() -> None:
    out, _ = studio("train", "--cfg", "digits_dig", "--set", "train.lr=1e-5", "--dry-run")
    assert "lr: 1.0e-05" in out
    assert re.search(r"# G: [\d,]+ parameters", out)
    assert not Path("runs").exists()


def test_run_open_names_a_damaged_checkpoint_and_takes_an_older_one(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    file = copy / "checkpoints" / "00000096" / "ema.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert Run.open(copy).images_seen == 48
    assert "ema.safetensors: damaged: sha256" in capsys.readouterr().err
    with pytest.raises(StudioError, match="damaged"):
        Run.open(copy, 96)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(StudioError, match="no checkpoint yet"):
        Run.open(copy)


def test_claim_folder_names_a_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("file").touch()
    with pytest.raises(StudioError, match="file/run: cannot be written"):
        train(tiny(images=16), Path("file/run"))
    claim_folder(tiny(), Path("fine/run"))
    assert "seed: 0" in Path("fine/run/config.yaml").read_text()


def test_train_leaves_nothing_behind_when_it_cannot_start() -> None:
    raw = {
        "data": {"name": "folders", "root": "nowhere", "resolution": 32},
        "method": {"name": "dig"},
    }
    with pytest.raises(StudioError, match="nowhere"):
        train(resolve(raw, "x", "x"), Path("run"))
    assert not Path("run").exists()


def test_train_requeue_starts_a_run_and_then_continues_it() -> None:
    line = ("train", "--cfg", "digits_dig", *SMALL, "--set", "train.images=96", "--requeue")
    _, error = studio(*line, code=2)
    assert "--requeue: needs --run" in error
    studio(*line, "--run", "r", "--stop-after", "0s", code=75)
    assert checkpoint.newest(Path("r")).images_seen == 16
    studio(*line, "--run", "r")
    assert checkpoint.newest(Path("r")).images_seen == 96
    straight = [*line[:-1], "--run", "straight"]
    studio(*straight)
    assert digest(Path("r"), 96) == digest(Path("straight"), 96)
