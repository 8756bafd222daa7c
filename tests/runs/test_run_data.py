"""A run knows its data: stored facts are used, changes are named, stale tables are not returned."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.experiments import tiny
from support.folder_files import fill, noise, write, write_table
from support.runs import studio

from studio import Run
from studio.compare.compare import compare
from studio.compare.sweep import resolve_variants
from studio.config import Config, dump, read_yaml, resolve
from studio.errors import StudioError
from studio.report import collect_run
from studio.runs.data_file import read_data_file
from studio.runs.probe_file import ROW_KEYS, read_probe
from studio.training.session import train
from studio.training.summary import finish

BRIGHT = 20  # factor of the values of scans that are added later


def scans(key: object) -> np.ndarray:
    return noise(key, (16, 16), 200, np.int16)


def folders_config(root: str = "scans", **data: object) -> Config:
    raw = {
        "data": {"name": "folders", "root": root, "resolution": 16, **data},
        "nets": {"width": 4},
        "method": {"name": "cvae", "z": 4, "s": 3},
        "train": {"images": 16, "batch": 16, "threads": 1, "grid_every": 0},
    }
    return resolve(raw, "scans", "scans")


def resumed(images: int = 32) -> Config:
    config = folders_config()
    return config.model_copy(update={"train": config.train.model_copy(update={"images": images})})


@pytest.fixture
def run() -> Path:
    """A run on 25 + 25 scans of 16 bits."""
    fill(Path("scans"), 25, ".npy", scans)
    return train(folders_config(), Path("run")).folder


def add_bright_scans() -> None:
    for i in range(6):
        write(Path("scans/target") / f"new{i}.npy", scans(("target", i)) * np.int16(BRIGHT))


def test_run_stores_window_split_and_fingerprint(run: Path) -> None:
    stored = read_data_file(run)
    data = Run.open(run).data
    assert stored.derived["window"] == [*data.window]
    assert {*stored.derived["split"].values()} == {"train", "test"}
    assert len(stored.fingerprint.items) == len(stored.derived["split"]) == 50


def test_run_keeps_window_and_split_when_files_are_added(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Run.open(run)
    image = before.data.images("test", "target", [0])
    names = {s: before.data.item_names(s, "target") for s in ("train", "test")}
    assert "warning" not in capsys.readouterr().err
    add_bright_scans()
    after = Run.open(run)
    assert torch.equal(after.data.images("test", "target", [0]), image)
    for split, known in names.items():
        assert [n for n in after.data.item_names(split, "target") if "new" not in n] == known
    (line,) = capsys.readouterr().err.splitlines()
    assert "6 files added (target/new0.npy" in line
    assert "target/new4.npy and 1 more)" in line
    assert "target/new5.npy" not in line


def test_window_moves_without_stored_facts(run: Path) -> None:
    """The other side: an old run derives the window from the files, without an error."""
    window = Run.open(run).data.window
    (run / "data.json").unlink()
    add_bright_scans()
    old = Run.open(run)
    assert old.data.window[1] > 5 * window[1]
    assert old.data_changes == ""


def test_run_of_an_older_studio_resumes_with_its_rule_of_intensity(run: Path) -> None:
    """8-bit files beside others by 0 to 255, which a new run would refuse."""
    window = read_data_file(run).derived["window"]
    (run / "data.json").unlink()
    write(Path("scans/target/new.png"), noise("new", (16, 16)))
    with pytest.raises(StudioError, match="files of different depth"):
        train(folders_config(), Path("another"))
    session = train(resumed(), run, resume=True)
    assert session.dataset.intensity.rule == "per_file"
    assert session.dataset.window == pytest.approx(window, abs=3)
    assert read_data_file(run).derived["normalise"] == {"rule": "per_file"}
    data = Run.open(run).data
    rows = {
        (s, n): i for s in ("train", "test") for i, n in enumerate(data.item_names(s, "target"))
    }
    [(split, index)] = [(s, i) for (s, name), i in rows.items() if name == "target/new.png"]
    image = data.images(split, "target", [index])[0, 0]
    np.testing.assert_allclose(image, noise("new", (16, 16)) / 127.5 - 1, atol=1e-6)


def test_resume_takes_another_rule_of_intensity_when_it_is_allowed(run: Path) -> None:
    other = folders_config(normalise="per_image")
    other = other.model_copy(update={"train": resumed().train})
    with pytest.raises(StudioError, match=r"data\.normalise"):
        train(other, run, resume=True)
    session = train(other, run, resume=True, allowed=["data.normalise", "data"])
    assert session.dataset.intensity.rule == "per_image"
    assert Run.open(run).intensity.rule == Run.open(run).data.intensity.rule == "per_image"
    assert read_data_file(run).derived["window"] is None


def test_changes_name_added_removed_changed_and_relabelled_files(run: Path) -> None:
    Path("scans/background/000.npy").unlink()
    np.save("scans/background/001.npy", scans("another"))
    write(Path("scans/background/more.npy"), scans("more"))
    write_table(Path("scans"), "file,subject\nbackground/002.npy,someone\n")
    assert Run.open(run).data_changes == (
        "1 file added (background/more.npy); 1 file removed (background/000.npy); "
        "1 file changed (background/001.npy); 1 file with other labels (background/002.npy)"
    )


def test_same_content_is_no_change_whatever_times_and_places_say(run: Path) -> None:
    shutil.move("scans", "moved")
    for path in Path("moved").rglob("*.npy"):
        np.save(path, np.load(path))
    opened = Run.open(run, data_root="moved")
    assert opened.data_changes == ""
    assert opened.data_sha256 == read_data_file(run).fingerprint.sha256
    moved = folders_config("moved")
    assert train(moved, run, resume=True).engine.images_seen == 16


def test_resume_refuses_other_data_unless_allowed(run: Path) -> None:
    window = read_data_file(run).derived["window"]
    add_bright_scans()
    with pytest.raises(StudioError, match=r"other data: 6 files added .*--allow data"):
        train(resumed(), run, resume=True)
    session = train(resumed(), run, resume=True, allowed=["data"])
    assert session.engine.images_seen == 32
    assert [*session.dataset.window] == window
    assert Run.open(run).data_changes == ""  # the new data are the run's from now on
    assert "6 files added" in (run / "log.jsonl").read_text()
    with pytest.raises(StudioError, match=r"train\.lr"):
        train(
            resumed(32).model_copy(
                update={"train": resumed().train.model_copy(update={"lr": 0.5})}
            ),
            run,
            resume=True,
            allowed=["data"],
        )


def test_tables_of_other_data_are_not_returned() -> None:
    fill(Path("scans"), 25, ".npy", scans)
    Path("cfg.yaml").write_text(dump(folders_config()))
    (row,) = resolve_variants(["cfg.yaml"], [], 1)
    train(row.at(0), Path("all/cfg-seed0"), finish=finish)
    folder = Path("all/cfg-seed0")
    own = json.loads((folder / "probe.json").read_text())
    before = compare([row], Path("all"))
    assert before["notes"] == []
    target = before["rows"][0]["numbers"]["target.salient"]["mean"]
    assert target == own["rows"][-1]["salient"]
    assert collect_run(Run.open(folder), with_probe=False).probe == own
    for i in range(25):
        np.save(f"scans/target/{i:03}.npy", scans(("other", i)))
    after = compare([row], Path("all"))
    (note,) = after["notes"]
    assert "25 files changed" in note
    numbers = after["rows"][0]["numbers"]
    assert numbers["reconstruction.target"] != before["rows"][0]["numbers"]["reconstruction.target"]
    facts = collect_run(Run.open(folder), with_probe=False)
    assert facts.probe is None
    assert "25 files changed" in facts.notes[0]


def test_read_probe_takes_the_data_into_account(run: Path) -> None:
    row = dict.fromkeys(ROW_KEYS)
    for stored, asked, found in (("a", "a", True), ("a", "b", False), (None, "b", True)):
        content = {"images_seen": 16, "rows": [row], "data_sha256": stored}
        (run / "probe.json").write_text(json.dumps(content))
        assert (read_probe(run, 16, asked) is not None) == found


def test_config_of_a_run_has_absolute_folders(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert read_yaml(run / "config.yaml")["data"]["root"] == str(tmp_path / "scans")
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    assert Run.open(tmp_path / "run").data.size("train", "target") > 0


def test_missing_data_name_the_remedy_and_stop_only_verbs_that_need_them(run: Path) -> None:
    shutil.move("scans", "moved")
    for words in (["probe", run], ["render", run, "swap"], ["score", run], ["report", run]):
        _, message = studio(*words, code=2)
        assert f"--data-root DIR, or edit data.root in {run / 'config.yaml'}" in message
    assert "--no-probe" in message
    studio("report", run, "--no-probe")
    studio("render", run, "grid")
    studio("apply", run, "moved/target", "out", "--what", "encode")
    studio("export", run, "exported", "--no-onnx")
    out, _ = studio("probe", run, "--data-root", "moved", "--json")
    assert json.loads(out)["data_sha256"] == read_data_file(run).fingerprint.sha256
    studio("render", run, "swap", "--data-root", "moved")


def test_export_keeps_the_window_and_no_names_of_files(run: Path) -> None:
    studio("export", run, "exported", "--no-onnx")
    stored = read_data_file(Path("exported"))
    kept = read_data_file(run).derived
    assert stored.derived == {name: kept[name] for name in ("window", "normalise")}
    assert stored.fingerprint is None
    assert str(Path.cwd()) not in (Path("exported") / "config.yaml").read_text()


def test_data_root_is_refused_where_no_files_are_read() -> None:
    train(tiny("cvae", images=16), Path("digits"))
    with pytest.raises(StudioError, match="--data-root x: textured_digits reads no files"):
        Run.open("digits", data_root="x")


def test_images_of_another_shape_are_refused(run: Path) -> None:
    for path in Path("scans").rglob("*.npy"):
        np.save(path, np.repeat(np.load(path)[..., None], 3, 2))
    with pytest.raises(StudioError, match=r"trained on images of shape \(1, 16, 16\)"):
        _ = Run.open(run).data
