"""`studio apply`: progress, rows as it goes, continuing, and the exit code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.applied import code_values, read_codes, to_images
from support.own_files import SIDE, smooth
from typer.testing import CliRunner

from studio import cli, progress
from studio.apply import apply
from studio.apply import files as applying
from studio.data.io.user_files import UserFile
from studio.errors import StudioError
from studio.runs.run import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images in the sub-folders of three subjects."""
    for i in range(7):
        path = tmp_path / f"in/sub-{i % 3}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(i)).save(path)
    return tmp_path / "in"


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in out.rglob("*")
        if p.is_file() and p.name != "codes.csv"
    }


def check_same(out: Path, whole: Path) -> None:
    """Compares results. The last digits of codes depend on the images beside them in a batch."""
    assert contents(out) == contents(whole)
    found, expected = (
        sorted(read_codes(folder / "codes.csv"), key=lambda row: row["file"])
        for folder in (out, whole)
    )
    assert [row["file"] for row in found] == [row["file"] for row in expected]
    assert [list(row) for row in found] == [list(row) for row in expected]
    np.testing.assert_allclose(
        [[float(v) for v in code_values(row)] for row in found],
        [[float(v) for v in code_values(row)] for row in expected],
        atol=1e-5,
    )


def test_apply_writes_subject_distance_and_change_beside_the_codes(
    gray: Run, folder: Path, tmp_path: Path
) -> None:
    apply(gray, folder, tmp_path / "out", ["heal", "encode"])
    rows = read_codes(tmp_path / "out/codes.csv")
    images = to_images(gray, np.stack([smooth(int(Path(row["file"]).stem)) for row in rows]))
    assert [row["subject"] for row in rows] == [row["file"].split("/")[0] for row in rows]
    code, blank = gray.encode(images), gray.method.blank(1)
    expected = ((code.s - blank) ** 2).sum(1).sqrt()
    np.testing.assert_allclose([float(row["distance"]) for row in rows], expected, rtol=1e-4)
    change = (gray.reconstruct(images) - gray.heal(images)).abs().mean((1, 2, 3))
    np.testing.assert_allclose([float(row["change"]) for row in rows], change, rtol=1e-4)
    apply(gray, folder, tmp_path / "codes", ["encode"])  # nothing is healed
    assert list(read_codes(tmp_path / "codes/codes.csv")[0])[-2:] == ["subject", "distance"]


def stop_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Stops the process at a file, as Ctrl-C does."""
    write = applying.write_back

    def stop(source: UserFile, images: np.ndarray, out: Path, difference: bool = False) -> None:
        if source.path.stem == str(number):
            raise KeyboardInterrupt
        write(source, images, out, difference)

    patch.setattr(applying, "write_back", stop)


@pytest.mark.parametrize("cut", [False, True])
def test_apply_goes_on_after_it_was_stopped(
    cut: bool, gray: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "BATCH", 2)
    apply(gray, folder, tmp_path / "whole", ["heal"], difference=True)
    with monkeypatch.context() as patch:
        stop_at(patch, 5)  # the last of 0, 3, 6 of sub-0, 1, 4 of sub-1, and 2, 5 of sub-2
        with pytest.raises(KeyboardInterrupt):
            apply(gray, folder, tmp_path / "out", ["heal"], difference=True)
    table = tmp_path / "out/codes.csv"
    assert len(read_codes(table)) == 6  # as it goes
    if cut:  # in the middle of a row, as a full disk leaves it
        table.write_bytes(table.read_bytes()[:-9])
    made = tmp_path / "out/heal/sub-0/0.png"
    before = made.stat().st_mtime_ns
    done = apply(gray, folder, tmp_path / "out", ["heal"], None, True, skip_existing=True)
    assert (done["files"], done["skipped"]) == ((2, 5) if cut else (1, 6))
    check_same(tmp_path / "out", tmp_path / "whole")
    assert made.stat().st_mtime_ns == before
    again = apply(gray, folder, tmp_path / "out", ["heal"], None, True, skip_existing=True)
    assert (again["files"], again["skipped"]) == (0, 7)
    check_same(tmp_path / "out", tmp_path / "whole")


def test_apply_makes_a_lost_result_again_when_it_is_continued(
    gray: Run, folder: Path, tmp_path: Path
) -> None:
    apply(gray, folder, tmp_path / "out")
    apply(gray, folder, tmp_path / "whole")
    (tmp_path / "out/heal/sub-2/5.png").unlink()
    assert apply(gray, folder, tmp_path / "out", skip_existing=True)["files"] == 1
    check_same(tmp_path / "out", tmp_path / "whole")
    with pytest.raises(StudioError, match="--force"):
        apply(gray, folder, tmp_path / "out")


def test_apply_refuses_to_continue_what_another_command_made(
    gray: Run, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    apply(gray, folder, out)
    for options, words in (
        ({"what": ["reconstruct"]}, "--what of the results there is another one: found"),
        ({"window": (0.0, 200.0)}, "--window"),
        ({"chosen": 3}, "--slice"),
    ):
        with pytest.raises(StudioError, match=words):
            apply(gray, folder, out, **{"skip_existing": True, **options})
    weights = {key: value.clone() for key, value in gray.method.state_dict().items()}
    with torch.no_grad():
        next(iter(gray.method.state_dict().values())).add_(1)
    with pytest.raises(StudioError, match="the model of the results there is another one"):
        apply(gray, folder, out, skip_existing=True)
    gray.method.load_state_dict(weights)
    (out / "codes.csv").write_text("file,z0\na.png,1\n")
    with pytest.raises(StudioError, match="its columns are others"):
        apply(gray, folder, out, skip_existing=True)
    (out / "apply.json").unlink()
    with pytest.raises(StudioError, match=r"without apply\.json"):
        apply(gray, folder, out, skip_existing=True)


def test_apply_holds_no_more_images_than_fit(
    gray: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = []
    encode = applying.sampling.encode
    monkeypatch.setattr(applying, "VALUES", 3 * SIDE * SIDE)
    monkeypatch.setattr(
        applying.sampling, "encode", lambda m, x: largest.append(len(x)) or encode(m, x)
    )
    apply(gray, folder, tmp_path / "out", ["encode"])
    assert largest == [3, 3, 1]


def test_verb_shows_progress_and_ends_with_its_own_code_when_files_are_set_aside(
    gray: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    arguments = ["apply", str(gray.folder), str(folder)]
    result = CliRunner().invoke(cli.app, [*arguments, "good"])
    assert result.exit_code == 0, result.output
    assert "apply: 7/7 files, " in result.stderr
    (folder / "bad.png").write_text("no image")
    result = CliRunner().invoke(cli.app, [*arguments, "out"])
    assert result.exit_code == 3
    assert "apply: 8/8 files, " in result.stderr
    assert result.stderr.splitlines()[-2] == "warning: 1 of 8 files are set aside"
    assert "bad.png is no PNG" in result.stderr.splitlines()[-1]
    result = CliRunner().invoke(cli.app, [*arguments, "out", "--skip-existing", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["set_aside"][0][0]) == (3, "bad.png")
    (folder / "bad.png").unlink()
    result = CliRunner().invoke(cli.app, [*arguments, "out", "--skip-existing", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["skipped"]) == (0, 7)
    result = CliRunner().invoke(cli.app, [*arguments, "out", "--skip-existing", "--force"])
    assert "expected one of them" in str(result.exception)
