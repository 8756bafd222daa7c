"""Separation: each statistic against a closed form, a slow loop or another library.

Values that cannot be measured have a note.
"""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from support.experiments import tiny
from support.planted import Planted, Rows, Sparse
from torch import Tensor
from typer.testing import CliRunner

from studio import cli
from studio.data import Attribute, textured_digits
from studio.evaluate import separation as module
from studio.evaluate.codes import Codes, encode_split
from studio.evaluate.measure import measure
from studio.evaluate.probe_table import separation_lines, separation_table, show_probe
from studio.evaluate.probes import ProbeOptions, probe
from studio.evaluate.separation import (
    cluster,
    clustering_chance,
    matched_accuracy,
    salient_distance_auc,
    salient_variance_ratio,
    separation,
    silhouette,
    w2_common,
    wasserstein2,
)
from studio.method import Code
from studio.projection import tsne_plane
from studio.training import session

HEAD = {"run": "r", "method": "rows", "dataset": "planted", "images_seen": 0}


def blobs(n: int, classes: int, distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns points (n, classes) around far corners, and their classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return rng.normal(size=(n, classes)) + distance * np.eye(classes)[labels], labels


def test_silhouette_equals_rousseeuw() -> None:
    points, labels = blobs(40, 3, 2.0)
    labels[0] = 3  # alone in its class: 0 by convention
    distances, expected = cdist(points, points), []
    for i in range(40):
        others = labels == labels[i]
        others[i] = False
        if not others.any():
            expected.append(0.0)
            continue
        a = distances[i, others].mean()
        b = min(distances[i, labels == k].mean() for k in set(labels) - {labels[i]})
        expected.append((b - a) / max(a, b))
    assert silhouette(points, labels) == pytest.approx(np.mean(expected))
    far, classes = blobs(200, 3, 200.0)
    assert silhouette(far, classes) > 0.98
    assert silhouette(far, np.random.default_rng(1).permutation(classes)) == pytest.approx(
        0, abs=0.1
    )
    assert silhouette(points, np.zeros(40)) is None
    assert silhouette(points, np.arange(40)) is None


def test_matched_accuracy_is_the_best_assignment() -> None:
    rng = np.random.default_rng(0)
    for classes, clusters in ((4, 4), (4, 3), (3, 4)):
        y, c = rng.integers(classes, size=30), rng.integers(clusters, size=30)
        names = range(max(classes, clusters))  # a cluster beyond the classes is named after none
        best = max(np.mean(np.array(name)[c] == y) for name in permutations(names))
        assert matched_accuracy(c, y) == pytest.approx(best)
    assert matched_accuracy(np.array([5, 5, 2, 2]), np.array([0, 0, 9, 9])) == 1


def test_cluster_finds_distant_classes() -> None:
    points, labels = blobs(300, 4, 20.0)
    clusters = cluster(points, 4, seed=0)
    assert matched_accuracy(clusters, labels) == 1
    assert np.array_equal(clusters, cluster(points, 4, seed=0))
    assert matched_accuracy(cluster(blobs(300, 4, 0.0)[0], 4, seed=0), labels) < 0.4
    assert set(cluster(np.zeros((9, 2)), 3, seed=0)) == {0}  # one distinct point


def test_clustering_chance_exceeds_one_in_k() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(10, size=100)
    clusters = rng.integers(10, size=100)
    slow = [
        matched_accuracy(rng.integers(10, size=100), rng.integers(10, size=100)) for _ in range(200)
    ]
    assert clustering_chance(clusters, labels, seed=0) == pytest.approx(np.mean(slow), abs=0.02)
    assert clustering_chance(clusters, labels, seed=0) > 0.17
    lopsided = np.array([0] * 70 + [1] * 30)
    assert clustering_chance(np.zeros(100, int), lopsided, seed=0) == pytest.approx(
        0.7
    )  # one cluster takes the largest class
    assert clustering_chance(lopsided, lopsided, seed=0) < matched_accuracy(lopsided, lopsided) == 1


def test_wasserstein2_is_exact() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)) * 2
    cost = cdist(a, b, "sqeuclidean")
    assert wasserstein2(a, b) == pytest.approx(
        min(np.mean(cost[range(5), order]) for order in permutations(range(5)))
    )
    a, b = (
        rng.normal(size=(80, 4)).astype(np.float32),
        rng.normal(size=(80, 4)).astype(np.float32) + 1,
    )
    cost = cdist(a, b, "sqeuclidean")
    assert wasserstein2(a, b) == pytest.approx(cost[linear_sum_assignment(cost)].mean())
    assert wasserstein2(a, a + np.array([3, 0, 4, 0])) == pytest.approx(
        25, rel=1e-5
    )  # a shift costs its squared length
    line = rng.normal(size=(2, 60, 1))
    assert wasserstein2(*line) == pytest.approx(
        np.mean((np.sort(line[0], 0) - np.sort(line[1], 0)) ** 2)
    )
    assert wasserstein2(np.array([[0.0]]), np.array([[1.0], [3.0]])) == pytest.approx(
        5
    )  # unequal numbers: (1 + 9) / 2


def test_w2_common_has_a_floor_for_equal_samples() -> None:
    rng = np.random.default_rng(0)
    background, target = rng.normal(size=(600, 4)), rng.normal(size=(250, 4))
    same, moved = (
        w2_common(background, target),
        w2_common(background, target + np.array([2, 0, 0, 0])),
    )
    assert same["w2_n"] == 250
    assert same["w2_common"] == pytest.approx(same["w2_floor"], rel=0.25)
    assert same["w2_floor"] > 0.1
    assert moved["w2_floor"] == same["w2_floor"]
    assert moved["w2_common"] == pytest.approx(4 + same["w2_common"], abs=0.5)
    assert w2_common(background[:101], target)["w2_n"] == 50
    assert w2_common(background, target, seed=1) != same
    assert w2_common(background, target, seed=0) == same
    assert w2_common(background[:1], target) == {"w2_common": None, "w2_floor": None, "w2_n": 0}


def test_w2_floor_never_shares_an_image_between_its_halves() -> None:
    background = np.arange(20.0)[:, None] * 100  # each image once: no half can meet the other
    assert w2_common(background, background)["w2_floor"] >= 100**2


def test_salient_distance_auc_separates_a_centre_from_its_surroundings() -> None:
    rng = np.random.default_rng(0)
    blank = np.array([2.0, -1.0, 0.5])
    directions = rng.normal(size=(400, 3))
    shell = blank + 3 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    centre = blank + 0.5 * rng.normal(size=(300, 3))
    apart, inside_out = (
        salient_distance_auc(centre, shell, blank),
        salient_distance_auc(shell, centre, blank),
    )
    assert apart is not None
    assert apart > 0.99
    assert inside_out == pytest.approx(1 - apart)
    both = np.concatenate([centre, shell])
    linear = LogisticRegression().fit(both, np.repeat([0, 1], [300, 400])).decision_function(both)
    assert (
        roc_auc_score(np.repeat([0, 1], [300, 400]), linear) < 0.6
    )  # as a linear probe does for the row `target`
    assert salient_distance_auc(centre, centre, blank) == pytest.approx(0.5)
    far = (
        [np.linalg.norm(code - blank) for code in centre[:20]],
        [np.linalg.norm(code - blank) for code in shell[:20] / 2],
    )
    slow = np.mean([(b > a) + (b == a) / 2 for a in far[0] for b in far[1]])
    assert salient_distance_auc(centre[:20], shell[:20] / 2, blank) == pytest.approx(slow)
    assert salient_distance_auc(centre[:0], shell, blank) is None


def test_salient_variance_ratio_is_target_over_background() -> None:
    rng = np.random.default_rng(0)
    background = rng.normal(size=(4000, 3)) * [1, 2, 0] + 5
    target = rng.normal(size=(4000, 3)) * 3
    assert salient_variance_ratio(background, target) == pytest.approx(27 / 5, rel=0.08)
    slow = sum(np.mean((t - t.mean()) ** 2) for t in target.T) / sum(
        np.mean((b - b.mean()) ** 2) for b in background.T
    )
    assert salient_variance_ratio(background, target) == pytest.approx(slow)
    assert salient_variance_ratio(target, target + 7) == pytest.approx(1)
    assert salient_variance_ratio(background, target[:1]) == 0
    blank = np.full((5000, 3), 0.1, np.float32)  # whose mean is not 0.1 exactly
    assert salient_variance_ratio(blank, target) is None
    assert salient_variance_ratio(background[:0], target) is None


@pytest.fixture(scope="module")
def result() -> dict:
    return measure(Rows().eval(), Planted(), tsne=False)


def test_measure_adds_the_separation_of_test_codes_to_the_probe(result: dict) -> None:
    beside = (
        "separation",
        "reconstruction",
    )  # and no `disentangle`: nobody can make images of given factors here
    assert {name: part for name, part in result.items() if name not in beside} == probe(
        Rows().eval(), Planted()
    )
    lost = Planted().images("test", "background", np.arange(600))[:, 0, 1]  # the salient part
    assert result["reconstruction"] == {
        "background": pytest.approx(lost.abs().mean().item() / 2),
        "target": 0,
        "n": 600,
    }
    found = result["separation"]
    assert set(found["attributes"]) == {"kind", "place"}  # a number has no classes
    kind, place = found["attributes"]["kind"], found["attributes"]["place"]
    assert kind["n"] == place["n"] == 600
    assert kind["silhouette_salient"] > 0.5 > 0.1 > abs(kind["silhouette_common"])
    codes = encode_split(Rows().eval(), Planted(), "test", ("target",))
    assert kind["silhouette_whole"] == pytest.approx(
        silhouette(codes.spaces["whole"], codes.values["kind"]), abs=1e-5
    )
    assert kind["clustering_accuracy_salient"] > 0.95
    assert kind["clustering_accuracy_common"] < kind["clustering_chance_common"] + 0.05
    assert place["silhouette_common"] > 0.3 > 0.1 > abs(place["silhouette_salient"])
    assert place["clustering_accuracy_common"] > 0.95
    assert found["w2_n"] == 300
    assert found["w2_common"] < 2  # the upper row is drawn alike in both
    assert found["salient_variance_ratio"] > 5  # only targets have a kind
    assert found["salient_distance_auc"] > 0.9
    assert "tsne" not in kind
    assert "note" not in found
    json.dumps(result, allow_nan=False)


def test_w2_common_grows_when_salient_content_is_in_the_common_code(result: dict) -> None:
    class Swapped(Rows):
        def encode(self, images: Tensor) -> Code:
            return Code(*reversed(super().encode(images)))

    found, straight = (
        measure(Swapped().eval(), Planted(), ProbeOptions("carton"))["separation"],
        result["separation"],
    )
    assert found["w2_common"] > 5
    assert found["salient_variance_ratio"] == pytest.approx(1, abs=0.2)
    assert found["salient_distance_auc"] == pytest.approx(0.5, abs=0.06)
    kind, before = found["attributes"]["kind"], straight["attributes"]["kind"]
    assert kind["silhouette_common"] == before["silhouette_salient"]
    assert kind["clustering_accuracy_common"] == before["clustering_accuracy_salient"]


def test_measure_encodes_each_image_once_for_probes_and_separation() -> None:
    class Counting(Rows):
        seen = 0

        def encode(self, images: Tensor) -> Code:
            self.seen += len(images)
            return super().encode(images)

    method = Counting().eval()
    measure(method, Planted())
    assert method.seen == 4 * 600 + 2 * 600  # once more for the reconstructions


def test_separation_computes_shared_tsne_planes_only_on_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    monkeypatch.setattr(module, "POINTS", 120)
    monkeypatch.setattr(
        module,
        "tsne_plane",
        lambda points, seed: made.append(points.shape) or tsne_plane(points, seed),
    )
    found = measure(Rows().eval(), Planted(), ProbeOptions("carton"), tsne=True)["separation"][
        "attributes"
    ]
    assert made == [(120, 4), (120, 4)]  # one plane per space, though there are two attributes
    kind, place = found["kind"], found["place"]
    assert kind["n"] == 120
    assert kind["tsne"]["perplexity"] == 30
    assert kind["tsne"]["clustering_accuracy_salient"] > 0.95
    assert kind["tsne"]["clustering_accuracy_common"] < 0.55
    assert kind["tsne"]["silhouette_salient"] > 0.5 > 0.2 > abs(kind["tsne"]["silhouette_common"])
    assert place["tsne"]["silhouette_common"] > place["tsne"]["silhouette_salient"]
    # k-means finds clusters in anything: their own silhouette says nothing of the classes.
    assert kind["tsne"]["silhouette_clusters_common"] > 0.25


def test_separation_explains_too_few_or_equal_labels() -> None:
    codes = {"salient": np.zeros((8, 2), np.float32), "common": np.zeros((8, 2), np.float32)}
    values = {
        "target": np.repeat([0, 1], 4),
        "none": np.full(8, -1),
        "same": np.full(8, 2),
        "each": np.arange(8),
        "one": np.array([0, 0, 0, 0, 0, 1, 1, 1]),
    }
    attributes = {
        name: Attribute("salient", ("a", "b", "c"))
        for name in ("none", "same", "each", "one", "missing")
    }
    found = separation(Codes(codes, values), attributes, np.zeros(2), tsne=True)
    notes = {name: found["attributes"][name].get("note") for name in attributes}
    assert notes == {
        "none": "not measured: unknown on every target test image",
        "same": "not measured: always the same on the 4 target test images",
        "each": "not measured: never the same on the 4 target test images",
        "one": None,
        "missing": "not measured: unknown on every target test image",
    }
    assert found["attributes"]["none"]["silhouette_salient"] is None
    one = found["attributes"][
        "one"
    ]  # codes that have collapsed to a point, one label alone in its class
    assert one["clustering_accuracy_salient"] == one["clustering_chance_salient"] == 0.75
    assert found["salient_variance_ratio"] is None
    assert (
        found["note"] == "salient_variance_ratio: the salient codes of the background do not vary"
    )
    assert found["w2_common"] == 0
    json.dumps(found, allow_nan=False)
    assert separation_lines(found)[-1].startswith("not measured: salient_variance_ratio")


def test_separation_leaves_out_unlabelled_images() -> None:
    found = measure(Rows().eval(), Sparse(), ProbeOptions("carton"))["separation"]["attributes"]
    assert found["kind"]["n"] == 100
    assert found["place"]["n"] == 600


def test_show_probe_prints_every_measure_and_reason(
    result: dict, capsys: pytest.CaptureFixture
) -> None:
    assert separation_table(HEAD | result).row_count == 4
    show_probe(HEAD | result)
    shown = capsys.readouterr().out
    kind = result["separation"]["attributes"]["kind"]
    assert f"{kind['clustering_accuracy_salient']:.3f} ↑" in shown
    assert f"{kind['silhouette_common']:.3f} ↓" in shown
    assert f"squared W2 {result['separation']['w2_common']:.4g}" in shown
    assert (
        f"target against background: AUC {result['separation']['salient_distance_auc']:.3f}"
        in shown
    )
    assert (
        f"target divided by background: {result['separation']['salient_variance_ratio']:.4g}"
        in shown
    )
    odd = result["separation"] | {
        "attributes": {"kind": {"n": 0, "note": "not measured: unknown on every target test image"}}
    }
    show_probe(HEAD | result | {"separation": odd})
    assert "not measured: unknown on every target test image" in capsys.readouterr().out
    show_probe(
        HEAD | {name: part for name, part in result.items() if name != "separation"}
    )  # a run probed before this existed
    assert "squared W2" not in capsys.readouterr().out


def test_probe_verb_and_training_report_the_same_separation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textured_digits, "SIZES", {"train": 300, "test": 200})
    for name, points in (("POINTS", 60), ("W2_POINTS", 50)):
        monkeypatch.setattr(module, name, points)
    from studio.training.summary import finish

    session.train(tiny(), tmp_path / "run", finish=finish)
    saved = json.loads((tmp_path / "run" / "probe.json").read_text())
    done = CliRunner().invoke(
        cli.app, ["probe", str(tmp_path / "run"), "--json", "--tsne", "--protocol", "louiset"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    for name in ("digit", "texture"):
        assert (
            found["separation"]["attributes"][name].pop("tsne")["clustering_accuracy_salient"] > 0
        )
        assert "tsne" not in saved["separation"]["attributes"][name]
    assert found["separation"] == saved["separation"]
    assert [row["metric"] for row in found["rows"]] == ["accuracy", "accuracy", "auc"]
    assert [row["metric"] for row in saved["rows"]] == ["balanced_accuracy"] * 3
