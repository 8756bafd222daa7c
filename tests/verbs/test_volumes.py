"""Every verb that opens a run, on a run on whole volumes of a drawn study."""

import json
from contextlib import chdir
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.runs import studio

from studio import Run

SIDE = 32
FEW = [p for field in ("permutations=99", "most_groups=2") for p in ("--set", f"analysis.{field}")]
# Of 24 subjects of each set 20 are for testing, which is the least that score takes.
CONFIG = f"""
data: {{name: vbm, root: study, target: patient, resolution: {SIDE}, test_share: 0.84}}
nets: {{width: 2}}
method: {{name: sepvae, z: 4, s: 3, weights: {{class: 1.0}}}}
train: {{images: 8, batch: 4, threads: 1, grid_every: 0}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 24 + 24 volumes, and `runs/tiny-seed0`, trained by two steps."""
    place = tmp_path_factory.mktemp("volumes")
    with chdir(place):
        studio("data", "init", "study", "--cohort", "24", "--volumes")
        Path("tiny.yaml").write_text(CONFIG, encoding="utf-8")
        studio("train", "--cfg", "tiny.yaml", "--run", "runs/tiny-seed0", "--no-report")
    return place


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return Path("runs/tiny-seed0")


def test_probe_and_report_read_volumes(run: Path) -> None:
    found = json.loads(studio("probe", run, "--json")[0])
    assert {"age", "site", "severity", "target"} == {row["attribute"] for row in found["rows"]}
    studio("report", run)
    assert "three planes" in (run / "report.html").read_text(encoding="utf-8")


def test_score_states_the_plane(run: Path) -> None:
    Path("own.py").write_text(
        "from torch import nn\n"
        "class Mean(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.flatten(1)[:, ::64]\n",
        encoding="utf-8",
    )
    said, _ = studio("score", run, "--features", "own:Mean", "--plane", "coronal")
    assert "coronal plane 16 of 32" in said


def test_maps_of_analyse_lie_where_the_volumes_of_the_study_lie(run: Path) -> None:
    studio("analyse", run, *FEW)
    (scan,) = Path("study").glob("sub-0001/anat/*.nii.gz")
    image = nibabel.load(scan)
    made = nibabel.load(run / "analysis/where_targets.nii.gz")
    assert nibabel.aff2axcodes(made.affine) == ("I", "P", "R")
    first, second = map(nibabel.as_closest_canonical, (image, made))
    assert first.shape == second.shape
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-4)


def test_atlas_lies_on_volumes_by_its_place_in_space(run: Path) -> None:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])  # finer than the cube, and stored in other axes
    affine[:3, 3] = -94, -112, -76
    places = np.stack(np.meshgrid(*map(np.arange, (48, 48, 48)), indexing="ij"), -1) * 4.0
    right = (places[..., 0] - 94 > 0).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(right + 1, affine), "atlas.nii.gz")
    from studio.analyse.maps import read_atlas

    opened = Run.open(run)
    found = read_atlas(Path("atlas.nii.gz"), (SIDE,) * 3, opened.data.affine())
    inside = found[1:-1, 1:-1, 1:-1]
    assert set(np.unique(inside)) == {1, 2}
    assert (inside[:, :, : SIDE // 2 - 1] == 1).all(), "the left side comes first"
    assert (inside[:, :, SIDE // 2 - 1 :] == 2).all()


def test_apply_and_codes_read_volumes(run: Path) -> None:
    (scan,) = Path("study").glob("sub-0030/anat/*.nii.gz")
    studio("apply", run, scan, "healed")
    (made,) = Path("healed/heal").glob("*.nii.gz")
    np.testing.assert_array_equal(nibabel.load(made).affine, nibabel.load(scan).affine)
    studio("codes", run, "codes.csv")
    assert len(Path("codes.csv").read_text(encoding="utf-8").splitlines()) == 49


def test_export_of_a_run_on_volumes_heals_as_the_run(run: Path) -> None:
    studio("export", run, "exported", "--no-onnx")
    volumes = Run.open(run).data.images("test", "target", range(2))
    healed = Run.open("exported").heal(volumes)
    np.testing.assert_allclose(healed, Run.open(run).heal(volumes), atol=1e-5)


def test_render_draws_the_planes_that_slice_names(run: Path) -> None:
    for name, planes in (("middle", []), ("same", [16, 16, 16]), ("other", [9, 16, 16])):
        chosen = ["--slice", *planes] if planes else []
        studio("render", run, "heal", "--n", 1, *chosen, "--out", f"{name}.png")
    middle, same, other = (
        np.asarray(Image.open(f"{name}.png")) for name in ("middle", "same", "other")
    )
    assert np.array_equal(middle, same)
    assert middle.shape != other.shape or not np.array_equal(middle, other)
    _, error = studio("render", run, "heal", "--slice", 9, 9, 32, code=2)
    assert error == "--slice: found sagittal plane 32, expected 0 to 31"


def test_compare_of_runs_on_volumes_draws_a_page(run: Path) -> None:
    text, _ = studio("compare", "tiny.yaml", "--seeds", 1, "--out", "runs", "--no-report", "--json")
    (row,) = json.loads(text)["rows"]
    assert [one["state"] for one in row["runs"]] == ["done"]
    assert "data:image/" in Path("runs/compare.html").read_text(encoding="utf-8")


def test_bench_measures_volumes(run: Path) -> None:
    options = ("--cfg", "tiny.yaml", "--iterations", 1, "--no-naive", "--json")
    assert json.loads(studio("bench", *options)[0])["shape"] == [1, SIDE, SIDE, SIDE]
