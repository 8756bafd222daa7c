"""`vbm` from end to end on a drawn study whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.runs import studio

from studio.build import build_method
from studio.config import find_config, list_configs, load, read_yaml, resolve
from studio.data import PairStream
from studio.data.brain_phantom import BrainPhantom, BrainPhantomConfig
from studio.data.dataset import SPLITS
from studio.data.vbm.dataset import Vbm
from studio.data.vbm.phantom_bids import write_volumes
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.evaluate.probes import ProbeOptions, probe
from studio.method import Pair
from studio.training.engine import Engine

SUBJECTS = 24
PLAIN = ["nets.width=4", "method.z=6", "method.s=4", "train.threads=1", "data.test_share=0.4"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "study"
    studio("data", "init", root, "--cohort", SUBJECTS, "--volumes")
    return root


@pytest.fixture(scope="module")
def dataset(study: Path) -> Vbm:
    return Vbm(load(str(study / "vbm.yaml")).data)


def numbers(dataset: Vbm, split: str, domain: str) -> list[int]:
    """Returns the number of each item in the phantom."""
    shift = 1 + SUBJECTS * (domain == "target")
    return [int(name[4:8]) - shift for name in dataset.item_names(split, domain)]


def test_volumes_are_those_of_the_phantom(dataset: Vbm) -> None:
    drawn = BrainPhantom(BrainPhantomConfig(dims=3, resolution=32, noise=0))
    for split in SPLITS:
        for domain in DOMAINS:
            rows = numbers(dataset, split, domain)
            found = dataset.images(split, domain, range(4)).numpy()
            expected = (drawn.images("test", domain, rows[:4]).numpy() + 1) / 2
            for image, truth in zip(found, expected, strict=True):
                brain = truth > 0
                slope, start = np.polyfit(truth[brain], image[brain], 1)
                rest = image[brain] - start - slope * truth[brain]
                # The noise of the files has the standard deviation 0.02.
                assert rest.std() / slope == pytest.approx(0.02, abs=0.003)
                assert np.unique(image[~brain]).size == 1


def test_labels_are_those_of_the_phantom(dataset: Vbm) -> None:
    drawn = BrainPhantom(BrainPhantomConfig(dims=3, resolution=32))
    assert dataset.attributes["severity"].belongs == "salient"
    assert {dataset.attributes[name].belongs for name in ("age", "site")} == {"common"}
    for domain in DOMAINS:
        truth = drawn.labels("test", domain)
        rows = numbers(dataset, "train", domain)
        found = dataset.labels("train", domain)
        np.testing.assert_allclose(found["age"], truth["age"][rows], atol=0.051)
        np.testing.assert_array_equal(found["site"], truth["site"][rows])
    severity = found["severity"]
    known = np.array(rows) % 5 > 0
    np.testing.assert_array_equal(np.isnan(severity), ~known)
    np.testing.assert_allclose(severity[known], truth["severity"][rows][known], atol=1e-4)


@pytest.mark.parametrize("protocol", ["held-out", "louiset"])
def test_probe_leaves_a_subject_without_a_score_out_of_that_row_only(
    study: Path, dataset: Vbm, protocol: str
) -> None:
    config = load(str(study / "vbm.yaml"), PLAIN)
    dataset = Vbm(config.data)
    method = build_method(config, dataset.shape).eval()
    rows = {row["attribute"]: row for row in probe(method, dataset, ProbeOptions(protocol))["rows"]}
    patients = dataset.size("test", "target")
    everyone = patients + dataset.size("test", "background")
    known = np.count_nonzero(~np.isnan(dataset.labels("test", "target")["severity"]))
    assert 0 < known < patients
    assert rows["severity"]["n"] == known
    assert (
        rows["age"]["n"] == rows["site"]["n"] == (everyone if protocol == "held-out" else patients)
    )
    assert rows["target"]["n"] == everyone
    for name in ("age", "severity"):
        assert rows[name]["metric"] == "r2"
        assert rows[name]["also"]["mae_salient"] > 0
    own = {"held-out": "balanced_accuracy", "louiset": "accuracy"}[protocol]
    assert rows["site"]["metric"] == own
    assert "balanced_accuracy_salient" in {**rows["site"]["also"], f"{own}_salient": 0}
    shown = rows["target"]["also"] if protocol == "held-out" else {"auc_salient": 0}
    assert "auc_salient" in shown


CONFIGS = [name for name in list_configs() if name.startswith("vbm_")]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_vbm_config_trains_on_a_study_with_small_nets(study: Path, name: str) -> None:
    raw = read_yaml(find_config(name))
    raw["nets"] = {"width": 4}
    own = [f"data.root={json.dumps(str(study))}", "data.target=patient", "data.resolution=32"]
    config = resolve(raw, name, name, [*own, *PLAIN, "train.batch=8"])
    engine = Engine(config, Vbm(config.data))
    pairs = PairStream(engine.dataset, 4, 0, 0, 1)
    before = {key: value.clone() for key, value in engine.method.G.named_parameters()}
    engine.advance(Pair(*pairs[0]))
    after = dict(engine.method.G.named_parameters())
    assert any(not value.equal(before[key]) for key, value in after.items())
    assert all(value.isfinite().all() for value in after.values())


@pytest.mark.slow  # trains in processes of their own
def test_verbs_train_and_probe_a_study_over_folds(study: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "folds.yaml"
    sweep.write_text(
        f"base: {json.dumps(str(study / 'vbm.yaml'))}\n"
        "each: {data.fold: [0, 1]}\nbudget: 16\nshow: [age.mae_salient]\n"
        "set: {nets.width: 4, method.z: 6, method.s: 4, train.batch: 8, train.threads: 1,"
        " train.grid_every: 0, data.test_share: 0.4}\n",
        encoding="utf-8",
    )
    text, _ = studio("compare", sweep, "--out", tmp_path / "runs", "--json")
    (row,) = json.loads(text)["rows"]
    assert [run["state"] for run in row["runs"]] == ["done", "done"]
    assert row["numbers"]["age.mae_salient"]["n"] == 2
    assert row["numbers"]["age.mae_salient"]["better"] == "higher"
    splits = []
    for seed in (0, 1):
        (run,) = (tmp_path / "runs").glob(f"*-seed{seed}")
        assert f"fold: {seed}" in (run / "config.yaml").read_text(encoding="utf-8")
        splits.append(json.loads((run / "data.json").read_text(encoding="utf-8"))["derived"])
    assert splits[0]["split"] != splits[1]["split"]


@pytest.mark.slow
def test_a_training_finds_the_planted_answers(tmp_path: Path) -> None:
    studio("data", "init", tmp_path / "study", "--cohort", 100, "--volumes")
    few = ["train.images=6000", "train.threads=1", "train.grid_every=0"]
    words = [word for setting in few for word in ("--set", setting)]
    studio("train", "--cfg", tmp_path / "study/vbm.yaml", "--run", tmp_path / "run", *words)
    text, _ = studio("probe", tmp_path / "run", "--protocol", "louiset", "--json")
    rows = {row["attribute"]: row for row in json.loads(text)["rows"]}
    assert rows["target"]["salient"] > 0.85
    assert rows["severity"]["salient"] > 0.3
    assert rows["age"]["common"] > max(0.6, rows["age"]["salient"])


def test_write_volumes_depends_on_its_seed_and_refuses_wrong_numbers(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_volumes(tmp_path / name, 1, seed)
    files = [
        (tmp_path / name / "sub-0001/anat/sub-0001_T1w.nii.gz").read_bytes()[10:] for name in "abc"
    ]
    assert files[0] == files[1] != files[2]
    with pytest.raises(StudioError, match="not an empty folder"):
        write_volumes(tmp_path / "a", 1)
    with pytest.raises(StudioError, match="found 1001 subjects, expected 1 to 1,000"):
        write_volumes(tmp_path / "d", 1001)
    _, error = studio("data", "init", tmp_path / "e", "--volumes", code=2)
    assert error == "--volumes: needs --cohort N, the number of subjects of each set"
