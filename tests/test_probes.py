"""Probes: a planted factor is found, an absent one is at chance, errors are of the right size, the protocols differ."""

import json
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from studio.data import Attribute, DataConfig, Dataset
from studio.evaluate.probes import _balanced, codes, probe
from studio.evaluate.table import probe_table, verdict
from studio.method import Code, Method, MethodConfig

N = 600


class Planted(Dataset):
    """Images of 2x4 pixels of noise; a category sits in the lower row, a number and a shared category in the upper."""

    def __init__(self) -> None:
        super().__init__(DataConfig(name="planted", resolution=8))
        self.shape = (1, 2, 4)
        self.attributes = {
            "kind": Attribute("salient", ("a", "b", "c"), target_only=True),
            "size": Attribute("common"),
            "place": Attribute("common", ("left", "right")),
        }

    def size(self, split: str, domain: str) -> int:
        return N

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([split == "test", domain == "target"])
        labels = {"size": rng.normal(size=N), "place": rng.integers(2, size=N), "kind": rng.integers(3, size=N)}
        labels["size"][:5] = np.nan
        if domain == "background":
            del labels["kind"]
        return labels

    def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
        rng = np.random.default_rng([7, split == "test", domain == "target"])
        images, labels = rng.normal(size=(N, 1, 2, 4)) * 0.3, self.labels(split, domain)
        images[:, 0, 0, 0] = np.nan_to_num(labels["size"])
        images[:, 0, 0, 1] += 3 * labels["place"]
        if domain == "target":
            for kind in range(3):
                images[:, 0, 1, kind] += 3 * (labels["kind"] == kind)
        return torch.from_numpy(images[np.asarray(indices)]).float()


class Rows(Method):
    """Reads z from the upper row and s from the lower."""

    def __init__(self) -> None:
        super().__init__(MethodConfig(name="rows", z=4, s=4))
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def encode(self, images: Tensor) -> Code:
        return Code(images[:, 0, 0], images[:, 0, 1])


@pytest.fixture(scope="module")
def result() -> dict:
    return probe(Rows().eval(), Planted())


def row(result: dict, name: str) -> dict:
    return next(r for r in result["rows"] if r["attribute"] == name)


def test_planted_factors_are_found_where_they_are_and_nowhere_else(result: dict) -> None:
    kind, size, place = (row(result, name) for name in ("kind", "size", "place"))
    assert kind["salient"] > 0.95
    assert kind["common"] == pytest.approx(1 / 3, abs=0.08)
    assert place["common"] > 0.95
    assert place["salient"] == pytest.approx(0.5, abs=0.06)
    assert size["metric"] == "r2"
    assert size["common"] > 0.99
    assert size["salient"] == pytest.approx(0, abs=0.03)
    for r in (kind, size, place):
        assert r["whole"] == pytest.approx(max(r["salient"], r["common"]), abs=0.03)


def test_rows_say_chance_numbers_and_which_images(result: dict) -> None:
    kind, size, place, target = (row(result, name) for name in ("kind", "size", "place", "target"))
    assert [r["chance"] for r in (kind, size, place, target)] == [pytest.approx(1 / 3), 0, 0.5, 0.5]
    assert [r["n"] for r in (kind, size, place, target)] == [N, 2 * N - 10, 2 * N, 2 * N]  # NaN rows are left out
    assert target["belongs"] == "salient"
    assert target["salient"] > 0.9  # only targets have anything in the lower row
    assert target["common"] == pytest.approx(0.5, abs=0.05)
    assert result["n_train"] == result["n_test"] == 2 * N
    assert size["also"]["mae_common"] < size["also"]["mae_salient"]
    assert kind["also"]["auc_salient"] > 0.99
    json.dumps(result, allow_nan=False)


def test_standard_errors_are_of_the_binomial_size(result: dict) -> None:
    for name in ("place", "kind"):
        r = row(result, name)
        home = r["belongs"]
        expected = np.sqrt(r[home] * (1 - r[home]) / r["n"])
        assert r["also"][f"error_{home}"] == pytest.approx(expected, rel=0.35)
        assert r["error"] == max(r["also"][f"error_{space}"] for space in ("salient", "common", "whole"))


def test_carton_stays_inside_the_test_split_and_reads_targets_only() -> None:
    class OnlyTest(Planted):
        def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
            assert split == "test"
            return super().images(split, domain, indices)

    result = probe(Rows().eval(), OnlyTest(), "carton")
    assert result["n_train"] == 0
    place = row(result, "place")
    assert place["metric"] == "accuracy"
    assert place["n"] == N
    assert place["common"] > 0.95
    assert row(result, "target")["n"] == 2 * N
    assert place["also"]["error_salient"] > 0


def test_balanced_accuracy_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        y, read = rng.integers(1, 4, size=30), rng.integers(1, 5, size=30)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class that was read and does not occur
            assert _balanced(y, read) == pytest.approx(balanced_accuracy_score(y, read))


def test_probing_is_deterministic(result: dict) -> None:
    assert probe(Rows().eval(), Planted()) == result


def test_features_are_standardised_in_held_out_only() -> None:
    class Scaled(Rows):
        def encode(self, images: Tensor) -> Code:
            code = super().encode(images)
            return Code(code.z * 1e-4, code.s * 1e-4)  # too small for an unscaled, regularised regression

    assert row(probe(Scaled().eval(), Planted()), "place")["common"] > 0.95
    assert row(probe(Scaled().eval(), Planted(), "carton"), "place")["common"] < 0.7


def test_limit_takes_the_first_images_of_each_domain() -> None:
    some = codes(Rows().eval(), Planted(), "test", limit=50)
    assert len(some.spaces["common"]) == 100
    assert some.values["target"].tolist() == [0] * 50 + [1] * 50
    assert "kind" not in some.values  # the background has none


def test_what_cannot_be_probed_says_why() -> None:
    class Odd(Planted):
        def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
            labels = super().labels(split, domain)
            labels["place"] = labels["place"] * (split == "test")
            labels["size"] = np.full(N, np.nan)
            if domain == "target":
                labels["kind"][3:] = np.minimum(labels["kind"][3:], 1)
                labels["kind"][:3] = 2
            return labels

    result = probe(Rows().eval(), Odd())
    assert row(result, "place")["also"]["note"] == f"not probed: always the same on the {2 * N} training images"
    assert row(result, "size")["also"]["note"] == "not probed: unknown on every training image"
    assert row(result, "kind")["salient"] > 0.5
    assert "folds" in row(probe(Rows().eval(), Odd(), "carton"), "kind")["also"]["note"]
    json.dumps(result, allow_nan=False)
    assert "unknown on every training image" in verdict(row(result, "size"))
    assert probe_table({"method": "rows", "dataset": "planted", "images_seen": 0} | result).row_count == 4


def test_verdict_and_table_tell_separated_from_leaking(result: dict) -> None:
    head = {"method": "rows", "dataset": "planted", "images_seen": 0}
    table = probe_table({**head, **result})
    assert table.row_count == 4
    assert "in the right place" in verdict(row(result, "kind"))
    assert "not readable from common" in verdict(row(result, "kind"))
    leaking = row(result, "kind") | {"common": 0.93}
    assert "leaks into common at 0.930" in verdict(leaking)
    assert "not separated" in verdict(leaking | {"salient": 0.9})
