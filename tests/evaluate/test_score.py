"""`studio score` on a real run.

A broken model scores worse, no stale score is returned, and the JSON has its promised form.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.filters import gaussian_blur2d
from PIL import Image
from support.experiments import tiny
from torch import Tensor
from typer.testing import CliRunner

from studio import cli
from studio.build import build_dataset, build_method
from studio.config import dump, resolve
from studio.errors import StudioError
from studio.evaluate import attribute_classifier
from studio.evaluate import score as scoring
from studio.evaluate.score import GROUPS, read_scores
from studio.evaluate.score_table import heading, score_table
from studio.methods.cpca import CPCA
from studio.runs import checkpoint

CONTRACT = {"run", "checkpoint", "extractor", "weights_sha256", "resize", "seed", "rows"}
ROW = {"group", "fid", "kid", "is", "n", "floor"}
RANDOM, COLLAPSED, BLURRED, FITTED = 10, 20, 30, 40  # checkpoints of the run below
N = 300
QUICK = ("--n", "80")


def studio(*arguments: object) -> dict:
    """Runs `studio score ... --json` and returns the JSON, the only output on stdout."""
    result = CliRunner().invoke(cli.app, ["score", *map(str, arguments), "--json"])
    if isinstance(result.exception, StudioError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def save(folder: Path, number: int, state: dict[str, Tensor]) -> None:
    checkpoint.save(folder, number, {"weights": state, "ema": state}, {}, {"shape": [1, 32, 32]})


def blurred(components: Tensor) -> Tensor:
    """Blurs all images that are made of some components."""
    return (
        gaussian_blur2d(components.T.reshape(-1, 1, 32, 32), (9, 9), (2.0, 2.0))
        .flatten(1)
        .T.contiguous()
    )


@pytest.fixture(scope="module", autouse=True)
def _brief_classifier() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attribute_classifier, "STEPS", 80)
        patch.setattr(attribute_classifier, "IMAGES", 800)
        patch.setattr(attribute_classifier, "TESTED", 300)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Contrastive PCA with four checkpoints: random components, none, blurred ones, and those that
    it found."""
    folder = tmp_path_factory.mktemp("runs") / "cpca"
    folder.mkdir()
    raw = {
        "data": {"name": "textured_digits"},
        "method": {"name": "cpca", "z": 100, "s": 30},
        "train": {"images": 2_000},
    }
    config = resolve(raw, "cpca", "cpca")
    dataset, method = build_dataset(config), build_method(config, (1, 32, 32))
    assert isinstance(method, CPCA)
    method.fit(dataset, 2_000)
    fitted = {name: value.clone() for name, value in method.state_dict().items()}
    keys = ("components_z", "components_s")
    random = torch.linalg.qr(torch.randn(1024, 130, generator=torch.Generator().manual_seed(0)))[
        0
    ].split([100, 30], 1)
    states = {
        RANDOM: dict(zip(keys, random, strict=True)),
        COLLAPSED: {key: torch.zeros_like(fitted[key]) for key in keys},
        BLURRED: {
            **{key: blurred(fitted[key]) for key in keys},
            "mean": blurred(fitted["mean"][:, None])[:, 0],
        },
        FITTED: {},
    }
    (folder / "config.yaml").write_text(dump(config))
    for number, changed in states.items():
        save(folder, number, {**fitted, **changed})
    return folder


@pytest.fixture(scope="module")
def scored(run: Path) -> dict:
    """All of its checkpoints, scored."""
    return studio(run, "--checkpoint", "all", "--n", N)


@pytest.fixture
def copy(run: Path, scored: dict, tmp_path: Path) -> Path:
    """A copy of the run with its classifier, and without scores."""
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    (folder / "score.json").unlink()
    return folder


def rows(entry: dict) -> dict[str, dict]:
    return {row["group"]: row for row in entry["rows"]}


def test_score_json_has_the_promised_keys_and_is_stored(run: Path, scored: dict) -> None:
    assert set(scored) >= CONTRACT
    assert [entry["checkpoint"] for entry in scored["scores"]] == [
        RANDOM,
        COLLAPSED,
        BLURRED,
        FITTED,
    ]
    assert scored["checkpoint"] == FITTED
    assert [row["group"] for row in scored["rows"]] == [*GROUPS]
    for row in scored["rows"]:
        assert set(row) >= ROW
        assert row["n"] == N
        assert all(
            isinstance(row[name], float)
            for name in ("fid", "kid", "is", "precision", "recall", "floor")
        )
    assert (scored["extractor"], scored["seed"], scored["resize"], scored["split"]) == (
        "domain",
        0,
        "none",
        "test",
    )
    assert read_scores(run) == scored["scores"]
    assert json.loads((run / "score.json").read_text())["rows"] == scored["rows"], (
        "the newest stands at the top"
    )
    found = {row["attribute"]: row["value"] for row in scored["about"]["accuracy"]}
    assert found["target"] > 0.9
    assert found["digit"] > 0.5


def test_score_floor_is_better_than_any_model(scored: dict) -> None:
    for entry in scored["scores"]:
        for row in entry["rows"]:
            assert row["floor"] < row["fid"]
            assert row["floor_kid"] < row["kid"]
            assert row["floor_recall"] > row["recall"]
    assert scored["rows"][0]["floor"] < 1, (
        "a score of about nothing, in squared standard deviations"
    )


@pytest.mark.parametrize("broken", [RANDOM, COLLAPSED, BLURRED])
def test_score_is_worse_for_a_broken_model(scored: dict, broken: int) -> None:
    entries = {entry["checkpoint"]: rows(entry) for entry in scored["scores"]}
    for group in ("background reconstructions", "target reconstructions", "swaps"):
        found, fitted = entries[broken][group], entries[FITTED][group]
        assert found["fid"] > 1.5 * fitted["fid"], group
        assert found["kid"] > 1.5 * fitted["kid"], group
        assert found["recall"] < fitted["recall"] + 0.01, group
    if broken == COLLAPSED:
        assert all(row["is"] == pytest.approx(1) for row in entries[broken].values()), (
            "one class only"
        )
        assert entries[FITTED]["target reconstructions"]["is"] > 2


def test_score_compares_every_group_with_its_domain(scored: dict) -> None:
    assert {row["group"]: row["against"] for row in scored["rows"]} == GROUPS
    floors = {row["against"]: row["floor"] for row in scored["rows"]}
    assert len({row["floor"] for row in scored["rows"]}) == len(floors) == 2
    assert scored["about"]["is_by"] == {"background": "texture", "target": "digit"}


def test_real_images_splits_inputs_from_reference(run: Path) -> None:
    dataset = build_dataset(tiny())
    real = scoring.RealImages(dataset, "target", 2_500, 0, None, True)  # pyright: ignore[reportArgumentType] - not needed for it
    assert len({*real.inputs} | {*real.reference}) == 5_000
    other = scoring.RealImages(dataset, "target", 2_500, 1, None, True)  # pyright: ignore[reportArgumentType]
    assert (real.inputs != other.inputs).any()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by an item with every distance that is computed."""
    found: list[str] = []
    original = scoring.compare_features
    monkeypatch.setattr(
        scoring, "compare_features", lambda *a, **k: found.append("") or original(*a, **k)
    )
    return found


def test_score_is_reused_only_when_nothing_has_changed(copy: Path, computed: list[str]) -> None:
    once = [copy, *QUICK]
    first = studio(*once)
    assert len(computed) == len(GROUPS) + 2, "and a floor for each set"
    assert studio(*once) == first
    assert len(computed) == len(GROUPS) + 2, "nothing was computed"

    state = checkpoint.newest(copy).tensors("ema")
    state["mean"][500] += 0.2  # one pixel of every image
    shutil.rmtree(copy / "checkpoints" / f"{FITTED:08d}")
    save(copy, FITTED, state)
    second = studio(*once)
    assert [row["fid"] for row in second["rows"]] != [row["fid"] for row in first["rows"]]
    assert len(computed) == 2 * (len(GROUPS) + 2)

    studio(*once, "--seed", 1)
    studio(copy, "--n", 81)
    assert len(computed) == 4 * (len(GROUPS) + 2)

    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("- gravel", "- moon"))
    other = studio(*once)
    assert other["weights_sha256"] != first["weights_sha256"], "a classifier of these images"
    assert len(computed) == 5 * (len(GROUPS) + 2)


def test_score_file_replaces_only_the_same_checkpoint(copy: Path) -> None:
    studio(copy, *QUICK, "--checkpoint", FITTED)
    studio(copy, *QUICK, "--checkpoint", RANDOM)
    assert [entry["checkpoint"] for entry in read_scores(copy)] == [RANDOM, FITTED]
    studio(copy, "--n", 90, "--checkpoint", RANDOM)
    assert [entry["n"] for entry in read_scores(copy)] == [90, 80]


def test_score_reports_kid_without_fid_for_few_images(copy: Path) -> None:
    found = studio(copy, "--n", 64)
    assert all(row["fid"] is None and row["floor"] is None for row in found["rows"])
    assert all(isinstance(row["kid"], float) and row["n"] == 64 for row in found["rows"])
    assert found["kid_subset_size"] == 32
    assert "no FID, because with n = 64 images and 64 features" in found["notes"][0]


def test_score_accepts_the_classifier_of_another_run(copy: Path, run: Path) -> None:
    shutil.rmtree(copy / "score")
    found = studio(copy, *QUICK, "--weights", run / "score" / "domain.safetensors")
    assert not (copy / "score").exists()
    assert found["weights_sha256"] == read_scores(run)[0]["weights_sha256"]


def test_own_extractor_gets_images_in_its_format(copy: Path) -> None:
    Path("mine.py").write_text(
        "import torch\n"
        "class Mean(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        assert images.dtype == torch.float32\n"
        "        assert -1 <= images.min() and images.max() <= 1\n"
        "        return images.mean(2).flatten(1)[:, :4]\n"
        "class Pair(Mean):\n"
        "    def forward(self, images):\n"
        "        return super().forward(images).repeat(1, 2), images.flatten(1)[:, :3]\n"
    )
    found = studio(copy, *QUICK, "--features", "mine:Mean")
    assert (found["extractor"], found["features"]) == ("mine:Mean", 4)
    assert all(row["is"] is None and row["fid"] is not None for row in found["rows"])
    assert all(row["is"] > 0 for row in studio(copy, *QUICK, "--features", "mine:Pair")["rows"])
    assert len(read_scores(copy)) == 2


def test_own_extractor_scores_are_never_reused(copy: Path, computed: list[str]) -> None:
    Path("again.py").write_text("import torch\nclass Flat(torch.nn.Flatten):\n    pass\n")
    for _ in range(2):
        studio(copy, *QUICK, "--features", "again:Flat")
    assert len(computed) == 2 * (len(GROUPS) + 2)


def test_score_table_states_settings_and_curve_is_a_picture(run: Path, scored: dict) -> None:
    shown = (
        CliRunner()
        .invoke(cli.app, ["score", str(run), "--n", str(N)], env={"COLUMNS": "60"})
        .output
    )
    for word in (
        f"n {N}",
        "domain",
        scored["weights_sha256"][:12],
        "resize none",
        "seed 0",
        "checkpoint 40",
    ):
        assert word in heading(scored)
    assert f"{scored['rows'][0]['fid']:.2f} ({scored['rows'][0]['floor']:.2f})" in shown
    assert "…" not in shown, "no number is cut off"
    assert score_table(scored).row_count == len(GROUPS)
    picture = np.asarray(Image.open(run / "grids" / "score.png").convert("RGB"))
    drawn = {tuple(colour) for colour in picture.reshape(-1, 3)}
    wanted = {
        tuple(bytes.fromhex(colour[1:]))
        for colour in ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
    }
    assert wanted <= drawn, "one line per group"
