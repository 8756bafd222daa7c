"""`studio apply` and exports follow the run's rule of intensity, whatever the type of a file."""

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from support.applied import code_values, read_codes
from support.folder_files import fill, noise, write
from support.own_files import smooth

from studio.apply import apply
from studio.config import resolve
from studio.data.brain_phantom import write_brats
from studio.errors import StudioError
from studio.export.write import export
from studio.runs.data_file import DataFile
from studio.runs.run import Run
from studio.training.session import train

KINDS = ("uint8", "int16", "int64", "float32", "float64")


def run_on(root: Path, suffix: str, kind: str, factor: float = 1, **fields: Any) -> Run:
    """Trains on 40 images of a type."""

    def make(key: object) -> np.ndarray:
        return (noise(key).astype(np.float64) * factor).astype(kind)

    fill(root / "data", 20, suffix, make)
    raw = {
        "data": {"name": "folders", "root": str(root / "data"), "resolution": 8, **fields},
        "method": {"name": "cpca", "z": 48, "s": 8},
        "train": {"images": 64, "batch": 16, "threads": 1, "grid_every": 0, "save_every": 0},
    }
    train(resolve(raw, "own", "own"), root / "run")
    return Run.open(root / "run")


def codes_of(run: Run, source: Path, out: Path, **options: Any) -> list[tuple[str, ...]]:
    """Returns the codes of files without their names."""
    done = apply(run, source, out, ["encode"], **options)
    assert done["set_aside"] == []
    return [code_values(row) for row in read_codes(out / "codes.csv")]


RULES = {
    "png": (".png", "uint8", {}),
    "int16": (".npy", "int16", {}),
    "png and window": (".png", "uint8", {"window": [20, 200]}),
    "per image": (".png", "uint8", {"normalise": "per_image"}),
    "zscore": (".npy", "float32", {"normalise": "per_image", "per_image": "zscore"}),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("exported", [False, True])
def test_apply_gives_the_same_codes_when_only_the_type_of_a_file_differs(
    rule: str, exported: bool, tmp_path: Path
) -> None:
    suffix, kind, fields = RULES[rule]
    run = run_on(tmp_path, suffix, kind, **fields)
    own = run.data.images("test", "target", [0])
    [name] = run.data.item_names("test", "target")[:1]
    if exported:
        export(run, tmp_path / "exported", onnx=False)
        shutil.move(tmp_path / "data", tmp_path / "gone")
        run = Run.open(tmp_path / "exported")
    key = ("target", int(Path(name).stem))
    write(tmp_path / "in/a.png", noise(key))
    for number in KINDS:
        np.save(tmp_path / f"in/{number}.npy", noise(key).astype(number))
    codes = codes_of(run, tmp_path / "in", tmp_path / "out")
    assert len(codes) == len(KINDS) + 1
    assert len(set(codes)) == 1
    expected = run.encode(own)
    found = np.array(codes[0], float)
    np.testing.assert_allclose(found, np.r_[expected.z[0], expected.s[0]], atol=1e-5)


def test_apply_reads_8_bit_files_by_the_window_of_the_run(tmp_path: Path) -> None:
    """A picture as PNG is dark in a run on the values of a scanner, and a note says so."""
    run = run_on(tmp_path, ".npy", "int16", 100)
    write(tmp_path / "a.png", noise("a"))
    done = apply(run, tmp_path / "a.png", tmp_path / "out", ["encode"])
    (note,) = done["notes"]
    assert note.startswith("1 of 1 files have values of another size than the images of the run")
    assert "a.png" in note
    assert "--window" in note
    done = apply(run, tmp_path / "a.png", tmp_path / "there", ["encode"], window=(0, 255))
    assert done["notes"] == []
    np.save(tmp_path / "b.npy", noise("b").astype(np.float64) * 100)
    done = apply(run, tmp_path / "b.npy", tmp_path / "right", ["encode"])
    assert done["notes"] == []


def test_apply_notes_8_bit_files_when_the_run_is_on_values_from_0_to_1(tmp_path: Path) -> None:
    run = run_on(tmp_path, ".npy", "float32", 1 / 255)
    write(tmp_path / "a.png", noise("a"))
    (note,) = apply(run, tmp_path / "a.png", tmp_path / "out", ["encode"])["notes"]
    assert "another size than the images of the run (values from " in note


def test_apply_uses_a_given_window_for_8_bit_files(tmp_path: Path) -> None:
    run = run_on(tmp_path, ".png", "uint8")
    values = noise("a")
    write(tmp_path / "half.png", values // 2)
    write(tmp_path / "whole.png", values // 2 * 2)
    half = codes_of(run, tmp_path / "half.png", tmp_path / "a", window=(0, 127.5))
    whole = codes_of(run, tmp_path / "whole.png", tmp_path / "b")
    np.testing.assert_allclose(np.array(half, float), np.array(whole, float), atol=1e-5)


def test_apply_says_when_a_slice_has_no_effect(tmp_path: Path) -> None:
    run = run_on(tmp_path, ".png", "uint8")
    write(tmp_path / "a.png", noise("a"))
    note = "--slice has no effect: no file is a volume."
    for chosen, notes in ((3, [note]), ("all", [note]), (None, [])):
        done = apply(
            run, tmp_path / "a.png", tmp_path / "out", ["encode"], chosen=chosen, overwrite=True
        )
        assert done["notes"] == notes
    np.save(tmp_path / "v.npy", noise("v", (8, 8, 6)))
    assert note not in apply(run, tmp_path / "v.npy", tmp_path / "v", ["encode"], chosen=3)["notes"]


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_apply_refuses_other_types_when_the_run_is_8_bit(kind: str, tmp_path: Path) -> None:
    run = run_on(tmp_path, ".png", "uint8")
    values = noise("a", high=4096, dtype=np.uint16) if kind == "uint16" else noise("a") / 255
    np.save(tmp_path / "a.npy", values.astype(kind))
    with pytest.raises(StudioError, match=rf"is not 8-bit .* {kind} .* with --window"):
        apply(run, tmp_path / "a.npy", tmp_path / "out", ["encode"])


def test_apply_refuses_a_window_when_brats_takes_percentiles(tmp_path: Path) -> None:
    write_brats(tmp_path / "brats", 8, side=64)
    data = {"name": "brats", "root": str(tmp_path / "brats"), "resolution": 32}
    raw = {
        "data": {**data, "slices": [82, 98], "min_tumour": 0.1, "test_share": 0.4},
        "method": {"name": "cpca", "z": 4, "s": 2},
        "train": {"images": 16, "batch": 16, "threads": 1, "grid_every": 0},
    }
    train(resolve(raw, "b", "b"), tmp_path / "run")
    source = sorted((tmp_path / "brats").rglob("*_t1.nii.gz"))[0]
    with pytest.raises(StudioError, match="--window: this run takes percentiles"):
        apply(Run.open(tmp_path / "run"), source, tmp_path / "out", ["heal"], window=(0, 1))


@pytest.mark.parametrize("suffix", [".npy", ".nii.gz"])
def test_apply_writes_values_of_the_file_back_when_each_image_has_its_own_range(
    suffix: str, tmp_path: Path
) -> None:
    """Scans ten times as bright come back ten times as bright, and the air around stays 0."""
    run = run_on(tmp_path, ".png", "uint8", normalise="per_image")
    head = np.zeros((8, 8, 6), np.float32)
    head[1:7, 1:7] = 100 + smooth(0, (6, 6, 6), 50, np.float32)
    results = []
    for factor in (1, 10):
        path = tmp_path / f"x{factor}{suffix}"
        if suffix == ".npy":
            np.save(path, head * factor)
        else:
            nibabel.save(nibabel.Nifti1Image(head * factor, np.eye(4)), path)
        apply(run, path, tmp_path / f"out{factor}", ["reconstruct"], chosen="all")
        made = tmp_path / f"out{factor}/reconstruct/{path.name}"
        results.append(np.load(made) if suffix == ".npy" else nibabel.load(made).get_fdata())
    assert not results[0][head == 0].any()
    assert results[0][head > 0].min() > 90
    assert not np.array_equal(results[0], head)
    np.testing.assert_allclose(results[1], results[0] * 10, rtol=1e-3)


def former(run: Run, derived: dict[str, Any] | None) -> Run:
    """Returns the run as an older studio has left it."""
    path = run.folder / "data.json"
    path.unlink()
    if derived is not None:
        DataFile("folders", derived, None).write(run.folder)
    return Run.open(run.folder)


@pytest.mark.parametrize("stored", [True, False])
def test_apply_keeps_the_rule_of_a_run_of_an_older_studio(stored: bool, tmp_path: Path) -> None:
    """8-bit files from 0 to 255, others by the window, which a note says."""
    run = run_on(tmp_path, ".npy", "int16", 4)
    window = [*run.data.window]
    old = former(run, {"window": window} if stored else None)
    images = run.data.images("test", "target", [0, 1])
    assert torch.equal(old.data.images("test", "target", [0, 1]), images)
    write(tmp_path / "a.png", noise("a"))
    np.save(tmp_path / "b.npy", noise("a").astype(np.int16) * np.int16(4))
    eight = codes_of(old, tmp_path / "a.png", tmp_path / "out")
    deep = codes_of(old, tmp_path / "b.npy", tmp_path / "there")
    by_rule = codes_of(run, tmp_path / "b.npy", tmp_path / "new")
    assert deep == by_rule
    plain = codes_of(run, tmp_path / "a.png", tmp_path / "plain", window=(0, 255))
    np.testing.assert_allclose(np.array(eight, float), np.array(plain, float), atol=1e-2)
    notes = apply(old, tmp_path / "a.png", tmp_path / "noted", ["encode"])["notes"]
    assert any("an older studio trained this run" in note for note in notes)


def test_export_of_an_older_run_keeps_its_rule(tmp_path: Path) -> None:
    run = run_on(tmp_path, ".png", "uint8", window=[0, 128])
    old = former(run, {"window": None})
    export(old, tmp_path / "out", onnx=False)
    Image.fromarray(noise("a")).save(tmp_path / "a.png")
    again = Run.open(tmp_path / "out")
    assert codes_of(again, tmp_path / "a.png", tmp_path / "x") == codes_of(
        old, tmp_path / "a.png", tmp_path / "y"
    )
    card = (tmp_path / "out/README.md").read_text()
    assert "**Values of the files:** 0 to 255 become -1 to 1 in 8-bit files" in card
    assert again.intensity.rule == old.intensity.rule == "per_file"
    assert run.intensity.rule == "window"
