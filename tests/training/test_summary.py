"""The end of a training, with and without its pictures."""

import json
from pathlib import Path

from support.runs import studio

from studio.config import load

TINY = """
data: {name: digits}
nets: {width: 4}
method: {name: vae, z: 4, s: 3}
train: {images: 32, batch: 16, threads: 1, grid_every: 16, save_every: 0, log_with: []}
"""


def test_train_without_report_leaves_the_probe_and_no_picture() -> None:
    Path("tiny.yaml").write_text(TINY)
    _, said = studio("train", "--cfg", "tiny.yaml", "--run", "run", "--no-report")
    run = Path("run")
    assert json.loads((run / "probe.json").read_text())["rows"]
    assert not [*run.rglob("*.png"), *run.rglob("*.webp"), *run.rglob("*.html")]
    assert "no report: studio report run writes it" in said
    assert "pictures:" not in said
    assert load(str(run / "config.yaml")).train.grid_every == 0


def test_train_draws_pictures_and_report_by_default() -> None:
    Path("tiny.yaml").write_text(TINY)
    _, said = studio("train", "--cfg", "tiny.yaml", "--run", "run")
    assert {"00000016.png", "swap.png"} <= {path.name for path in Path("run/grids").iterdir()}
    assert Path("run/report.html").is_file()
    assert "pictures: run/grids" in said
