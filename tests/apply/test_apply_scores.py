"""`studio apply --what score`: a map, and the rank among the run's held-out controls."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.applied import read_codes
from support.own_files import smooth

from studio.apply import apply
from studio.errors import StudioError
from studio.runs.run import Run


def test_score_is_the_rank_among_held_out_controls(gray: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    marked = smooth(3)
    marked[2:5, 2:5] = 250
    for name, values in (("plain", smooth(700)), ("marked", marked)):
        Image.fromarray(values).save(tmp_path / "in" / f"{name}.png")
    done = apply(gray, "in", "out", "score")
    assert done["what"] == ["difference"]
    assert (tmp_path / "out" / "difference" / "plain.png").is_file()
    rows = read_codes(tmp_path / done["scores"])
    assert list(rows[0]) == ["file", "subject", "distance", "change", "beyond"]
    controls = gray.codes("test")
    controls = controls[controls["domain"] == "background"]["distance"].to_numpy()
    for row in rows:
        distance = float(row["distance"])
        expected = (1 + np.sum(controls >= distance)) / (1 + len(controls))
        assert float(row["beyond"]) == pytest.approx(expected, rel=1e-5)
    by_name = {row["file"]: float(row["distance"]) for row in rows}
    assert by_name["marked.png"] > by_name["plain.png"]
    with pytest.raises(StudioError, match=r"codes\.csv: exists, and 3 more"):
        apply(gray, "in", "out", "score")


def test_score_needs_the_data_of_the_run(gray: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(smooth(1)).save(tmp_path / "in" / "a.png")
    folder = Path(shutil.copytree(gray.folder, tmp_path / "copy"))
    moved = Run.open(folder, data_root=tmp_path / "nowhere")
    with pytest.raises(StudioError, match="--what score: needs the run's held-out controls: "):
        apply(moved, "in", "out", "score")
    assert not (tmp_path / "out").exists()
