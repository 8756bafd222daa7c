"""`studio analyse` on a small drawn study, as a user calls it."""

import json
import re
import shutil
from contextlib import chdir
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.html_page import check_page
from support.runs import studio

from studio import Run
from studio.report.analysis import analysis_blocks, read_analysis

FEW = [
    part
    for field in ("permutations=99", "most_groups=2")
    for part in ("--set", f"analysis.{field}")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 16 + 16 subjects, and an untrained run on it."""
    place = tmp_path_factory.mktemp("study")
    with chdir(place):
        studio("data", "init", "study", "--cohort", "16")
        fields = ("data.resolution=32", "method.name=cvae", "method.z=4", "method.s=3",
                  "nets.width=4", "train.images=16", "train.batch=16", "train.threads=1",
                  "train.grid_every=0", "train.save_every=0", "data.memory_gb=1")  # fmt: skip
        options = [part for field in fields for part in ("--set", field)]
        studio("train", "--cfg", "study/cohort.yaml", *options, "--run", "run")
    return place


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return Path("run")


def test_analysis_is_written_and_read_again(run: Path) -> None:
    said, _ = studio("analyse", run, *FEW)
    found = json.loads((run / "analysis.json").read_text())
    assert found["n"] == {"background": 8, "target": 8, "images": 48}
    assert len(found["subjects"]) == 16
    assert found["settings"]["covariates"] == ["age", "site"]
    assert any("only 8 held-out targets" in line for line in found["warnings"])
    assert found["subgroups"]["number"] == 1
    assert "8 subjects, expected at least 20" in found["subgroups"]["notes"][0]
    assert {r["q"] for r in found["associations"]} == {None}, "too few subjects for covariates"
    page = (run / "analysis.html").read_text()
    check_page(page)
    for line in said.splitlines():
        assert line.split("(")[0] in page.replace("&lt;", "<").replace("&#39;", "'")
    assert (run / "analysis" / "where.png").is_file()
    again = studio("analyse", run, *FEW, "--json")[0]
    assert json.loads(again) == found, "the same seed gives the same numbers"
    assert read_analysis(run, found["images_seen"]) == found
    assert read_analysis(run, found["images_seen"] + 1) is None


def test_damaged_analysis_is_left_out(run: Path, capsys: pytest.CaptureFixture) -> None:
    copy = Path(shutil.copytree(run, "damaged", dirs_exist_ok=True))
    seen = Run.open(run).images_seen
    (copy / "analysis.json").write_text(json.dumps({"images_seen": seen}))
    assert read_analysis(copy, seen) is None
    assert "not an analysis as studio analyse writes it" in capsys.readouterr().err


def test_names_are_hidden_on_request(run: Path) -> None:
    studio("analyse", run, *FEW, "--no-names", "--no-maps")
    for name in ("analysis.json", "analysis.html"):
        assert not re.search(r"\b[BT]00\d\d", (run / name).read_text()), name


def test_private_report_shows_no_subject(run: Path) -> None:
    studio("analyse", run, *FEW, "--no-maps")
    studio("report", run, "--private", "--no-probe", "--out", "private.html")
    page = Path("private.html").read_text()
    assert "analysis.json names subjects and is left out" in page
    assert not re.search(r"\b[BT]00\d\d", page)
    assert "Generated images" in page
    for headline in ("Healed images", "Salient content swapped", "Codes in two"):
        assert headline not in page
    found = json.loads((run / "analysis.json").read_text())
    figures = [f.caption for b in analysis_blocks(run, found, private=True) for f in b.figures]
    assert figures == ["ROC curve and distances of held-out subjects"]
    assert len([f for b in analysis_blocks(run, found) for f in b.figures]) == 2


def test_atlas_gives_a_table_by_region(run: Path) -> None:
    labels = np.zeros((32, 32, 1), np.int16)
    labels[:16], labels[16:, 8:] = 1, 7
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), "atlas.nii.gz")
    options = ["--set", "analysis.covariates=[]", "--set", "analysis.atlas=atlas.nii.gz"]
    studio("analyse", run, *FEW, *options)
    regions = json.loads((run / "analysis.json").read_text())["where"]["regions"]
    assert [row["region"] for row in regions] == [1, 7]
    assert all(0 < row["p"] <= 1 for row in regions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "analysis.covariates=[aeg]"], "no attribute 'aeg'; did you mean 'age'"),
        (["--set", "analysis.covariates=age"], "analysis.covariates: found 'age', expected"),
        (["--set", "analysis.pols=3"], "no such field; did you mean"),
        (["--set", "train.images=3"], "expected a field of analysis"),
        (["--set", "analysis.atlas=no.nii"], "analysis.atlas: no.nii: "),
        (["--set", "analysis.atlas=large.nii"], r"is 40 x 40, expected the shape .* 32 x 32"),
        (["--set", "analysis.atlas=zero.nii"], "is 0 everywhere"),
        (
            ["--set", "analysis.atlas=zero.nii", "--set", "analysis.same_space=false"],
            "needs images that share a space|is 0 everywhere",
        ),
        (["elsewhere"], "elsewhere: no such run"),
    ],
)
def test_wrong_input_is_named(run: Path, options: list[str], message: str) -> None:
    for name, side in (("large", 40), ("zero", 32)):
        image = nibabel.Nifti1Image(np.full((side, side, 1), side > 32, np.int16), np.eye(4))
        nibabel.save(image, f"{name}.nii")
    _, error = studio("analyse", run, *FEW, *options, code=2)
    assert re.search(message, error), error
