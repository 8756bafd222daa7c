"""Probes of planted factors: readings, chance, standard errors and the differences of the
protocols.

Codes are standardised, models get enough iterations and report convergence, and the domain is read
from both codes.
"""

import json
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from support.planted import N, Planted, Rows, Sparse
from torch import Tensor

from studio.code_frame import SEED
from studio.data.dataset import Labels, Split
from studio.errors import StudioError
from studio.evaluate import probe_models
from studio.evaluate.codes import encode_split
from studio.evaluate.probe_table import probe_table, reader_lines
from studio.evaluate.probes import OWN_CLASSIFIER, PROTOCOLS, TWO_LAYERS, ProbeOptions, probe
from studio.evaluate.verdict import judge
from studio.method import Code


@pytest.fixture(scope="module")
def result() -> dict:
    return probe(Rows().eval(), Planted())


def row(result: dict, name: str) -> dict:
    return next(r for r in result["rows"] if r["attribute"] == name)


def test_probe_reads_planted_factors_only_from_their_code(result: dict) -> None:
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


def test_probe_rows_state_chance_and_numbers_of_images(result: dict) -> None:
    kind, size, place, target = (row(result, name) for name in ("kind", "size", "place", "target"))
    assert [r["chance"] for r in (kind, size, place, target)] == [pytest.approx(1 / 3), 0, 0.5, 0.5]
    assert [r["n"] for r in (kind, size, place, target)] == [
        N,
        2 * N - 10,
        2 * N,
        2 * N,
    ]  # NaN rows are left out
    assert target["belongs"] == "salient"
    assert target["salient"] > 0.9  # only targets have anything in the lower row
    assert target["common"] == pytest.approx(0.5, abs=0.05)
    assert result["n_train"] == result["n_test"] == 2 * N
    assert size["also"]["mae_common"] < size["also"]["mae_salient"]
    assert kind["also"]["auc_salient"] > 0.99
    recalls = kind["also"]["recall_salient"]
    assert np.mean([*recalls.values()]) == pytest.approx(kind["salient"])
    assert len(recalls) == 3
    assert "recall_salient" not in size["also"]
    json.dumps(result, allow_nan=False)


def test_probe_errors_have_the_binomial_size(result: dict) -> None:
    for name in ("place", "kind"):
        r = row(result, name)
        home = r["belongs"]
        expected = np.sqrt(r[home] * (1 - r[home]) / r["n"])
        assert r["also"][f"error_{home}"] == pytest.approx(expected, rel=0.35)
        assert r["error"] == max(
            r["also"][f"error_{space}"] for space in ("salient", "common", "whole")
        )


def test_carton_probes_test_targets_only() -> None:
    class OnlyTest(Planted):
        def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
            assert split == "test"
            return super().images(split, domain, indices)

    result = probe(Rows().eval(), OnlyTest(), ProbeOptions("carton"))
    assert result["n_train"] == 0
    place = row(result, "place")
    assert place["metric"] == "accuracy"
    assert place["n"] == N
    assert place["common"] > 0.95
    assert row(result, "target")["n"] == 2 * N
    assert place["also"]["error_salient"] > 0


def test_probe_is_deterministic(result: dict) -> None:
    assert probe(Rows().eval(), Planted()) == result


def test_probe_standardises_codes_in_held_out_only() -> None:
    class Scaled(Rows):
        def encode(self, images: Tensor) -> Code:
            code = super().encode(images)
            return Code(
                code.z * 1e-4, code.s * 1e-4
            )  # too small for an unscaled, regularised regression

    assert row(probe(Scaled().eval(), Planted()), "place")["common"] > 0.95
    assert row(probe(Scaled().eval(), Planted(), ProbeOptions("carton")), "place")["common"] < 0.7


def test_encode_split_takes_a_fixed_sample_of_each_domain_when_it_is_larger() -> None:
    some = encode_split(Rows().eval(), Planted(), "test", limit=50)
    assert len(some.spaces["common"]) == 100
    assert some.values["target"].tolist() == [0] * 50 + [1] * 50
    assert some.values["kind"][:50].tolist() == [-1] * 50  # the background has none
    again = encode_split(Rows().eval(), Planted(), "test", limit=50, seed=1)
    assert np.array_equal(some.spaces["whole"], again.spaces["whole"])
    rows = np.sort(np.random.default_rng(SEED).choice(N, 50, replace=False))
    labels = Planted().labels("test", "target")["kind"][rows]
    assert some.of("target").values["kind"].tolist() == labels.tolist()
    assert some.known("kind").values["target"].tolist() == [1] * 50
    assert not some.has("colour").any()  # declared by a data set that has no such labels
    every = encode_split(Rows().eval(), Planted(), "test", limit=10 * N)
    assert len(every.spaces["common"]) == 2 * N


def test_encode_split_meets_every_class_when_a_set_is_in_order_of_its_classes() -> None:
    class Ordered(Planted):
        def labels(self, split: Split, domain: str) -> Labels:
            labels = super().labels(split, domain)
            return {name: np.sort(value) for name, value in labels.items()}

    codes = encode_split(Rows().eval(), Ordered(), "test", ("target",), limit=100)
    every = set(Planted().labels("test", "target")["kind"].tolist())
    assert set(codes.values["kind"].tolist()) == every


@pytest.mark.parametrize(
    ("protocol", "images"), [("held-out", 4 * N), ("louiset", 4 * N), ("carton", 2 * N)]
)
def test_probe_encodes_each_image_once(protocol: str, images: int) -> None:
    class Counting(Rows):
        seen = 0

        def encode(self, images: Tensor) -> Code:
            self.seen += len(images)
            return super().encode(images)

    method = Counting().eval()
    probe(method, Planted(), ProbeOptions(protocol))
    assert method.seen == images


def test_probe_explains_rows_that_cannot_be_probed() -> None:
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
    assert (
        row(result, "place")["also"]["note"]
        == f"not probed: always the same on the {2 * N} training images"
    )
    assert row(result, "size")["also"]["note"] == "not probed: unknown on every training image"
    assert row(result, "kind")["salient"] > 0.5
    assert (
        "folds" in row(probe(Rows().eval(), Odd(), ProbeOptions("carton")), "kind")["also"]["note"]
    )
    json.dumps(result, allow_nan=False)
    assert "unknown on every training image" in judge(row(result, "size")).sentence
    assert (
        probe_table({"method": "rows", "dataset": "planted", "images_seen": 0} | result).row_count
        == 4
    )


def test_verdict_distinguishes_separated_from_leaking(result: dict) -> None:
    head = {"method": "rows", "dataset": "planted", "images_seen": 0}
    table = probe_table({**head, **result})
    assert table.row_count == 4
    lines = reader_lines(result["rows"])
    assert len(lines) == len(result["rows"])
    assert lines[0].startswith(f"non-linear reader of {result['rows'][0]['attribute']}: salient ")
    assert judge(row(result, "kind")).kind == "separated"
    leaking = row(result, "kind") | {"common": 0.93}
    assert judge(leaking).kind in ("leaks", "not separated", "wrong code")
    assert "the common code (93 %)" in judge(leaking).sentence


def split_of(domain: str, split: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Returns s, z and labels of a domain of a split, without the probe's code."""
    images, data = Planted().images(split, domain, np.arange(N)).numpy(), Planted()
    return images[:, 0, 1], images[:, 0, 0], data.labels(split, domain)


def test_louiset_fits_training_targets_and_scores_test_targets() -> None:
    found = probe(Rows().eval(), Planted(), ProbeOptions("louiset"))
    kind, size, place, target = (row(found, name) for name in ("kind", "size", "place", "target"))
    assert [r["metric"] for r in (kind, size, place, target)] == [
        "accuracy",
        "r2",
        "accuracy",
        "auc",
    ]
    assert [r["n"] for r in (kind, size, place, target)] == [N, N - 5, N, 2 * N]
    assert [r["also"]["n_train"] for r in (kind, size, place, target)] == [N, N - 5, N, 2 * N]
    (_, a, x), (_, b, y) = (split_of("target", split) for split in ("train", "test"))
    line = LinearRegression().fit(a[5:], x["size"][5:])  # standardising changes nothing for it
    assert size["common"] == pytest.approx(r2_score(y["size"][5:], line.predict(b[5:])), abs=1e-6)
    assert size["also"]["mae_common"] == pytest.approx(
        mean_absolute_error(y["size"][5:], line.predict(b[5:])), abs=1e-6
    )
    scale = a.mean(0), a.std(0)
    model = LogisticRegression(max_iter=1000).fit((a - scale[0]) / scale[1], x["place"])
    read = (b - scale[0]) / scale[1]
    assert place["common"] == pytest.approx(model.score(read, y["place"]), abs=0.003)
    assert place["also"]["auc_common"] == pytest.approx(
        roc_auc_score(y["place"], model.predict_proba(read)[:, 1]), abs=1e-4
    )
    assert place["also"]["balanced_accuracy_common"] > 0.95
    assert place["chance"] == max(np.mean(y["place"] == k) for k in (0, 1))
    assert target["chance"] == 0.5
    assert kind["salient"] > 0.95
    json.dumps(found, allow_nan=False)


class Ringed(Rows):
    """Salient codes of targets lie around those of the background: no line tells them apart."""

    def encode(self, images: Tensor) -> Code:
        generator = torch.Generator().manual_seed(len(images))
        angle = torch.rand(len(images), generator=generator) * 2 * torch.pi
        radius = 1.0 + 2.0 * (
            images[:, 0, 1, :3].amax(1) > 1.5
        )  # a kind is planted in targets only
        return Code(images[:, 0, 0], torch.stack([angle.cos() * radius, angle.sin() * radius], 1))


def test_louiset_separates_domains_with_two_layers() -> None:
    linear = row(probe(Ringed().eval(), Planted()), "target")
    deep = row(probe(Ringed().eval(), Planted(), ProbeOptions("louiset")), "target")
    assert linear["salient"] == pytest.approx(0.5, abs=0.06)
    assert deep["salient"] > 0.95
    assert deep["common"] == pytest.approx(0.5, abs=4 * deep["also"]["error_common"])
    assert deep["also"]["accuracy_salient"] > 0.9
    assert all(deep["also"][f"converged_{space}"] for space in ("salient", "common", "whole"))
    assert deep["also"]["salient_read_by"] == TWO_LAYERS
    assert row(probe(Ringed().eval(), Planted(), ProbeOptions("louiset")), "target") == deep


def test_louiset_uses_classify_salient_when_the_method_has_one() -> None:
    class Own(Ringed):
        def classify_salient(self, s: Tensor) -> Tensor:
            return 2.0 - s.norm(
                dim=1
            )  # the wrong way round, so that it cannot be mistaken for a fit

    own, deep = (
        row(probe(method.eval(), Planted(), ProbeOptions("louiset")), "target")
        for method in (Own(), Ringed())
    )
    assert own["salient"] < 0.05
    assert own["also"]["accuracy_salient"] == pytest.approx(
        1 - deep["also"]["accuracy_salient"], abs=0.05
    )
    assert own["also"]["salient_read_by"] == OWN_CLASSIFIER
    assert "converged_salient" not in own["also"]  # nothing was fitted
    assert [own[space] for space in ("common", "whole")] == [
        deep[space] for space in ("common", "whole")
    ]
    for protocol in ("held-out", "carton"):
        rows = [
            row(probe(method.eval(), Planted(), ProbeOptions(protocol)), "target")
            for method in (Own(), Ringed())
        ]
        assert rows[0] == rows[1]


def test_louiset_refuses_own_logits_of_the_wrong_shape() -> None:
    class Wide(Rows):
        def classify_salient(self, s: Tensor) -> Tensor:
            return s[:, :1]

    with pytest.raises(
        StudioError,
        match=rf"classify_salient of rows: expected {2 * N} .* found shape \({2 * N}, 1\)",
    ):
        probe(Wide().eval(), Planted(), ProbeOptions("louiset"))


def test_probe_reports_convergence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert row(probe(Rows().eval(), Planted()), "kind")["also"]["converged_salient"] is True
    monkeypatch.setattr(
        probe_models, "LogisticRegression", lambda max_iter: LogisticRegression(max_iter=1)
    )
    for protocol in PROTOCOLS:
        assert (
            row(probe(Rows().eval(), Planted(), ProbeOptions(protocol, limit=200)), "kind")["also"][
                "converged_salient"
            ]
            is False
        )


def test_carton_and_louiset_probe_attributes_on_targets_only() -> None:
    class Mirrored(
        Planted
    ):  # `place` means the opposite in the background, so reading both sets would hide it
        def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
            labels = super().labels(split, domain)
            return labels | {"place": 1 - labels["place"]} if domain == "background" else labels

    by_protocol = {
        p: row(probe(Rows().eval(), Mirrored(), ProbeOptions(p)), "place")["common"]
        for p in PROTOCOLS
    }
    assert by_protocol["held-out"] < 0.6
    assert min(by_protocol["carton"], by_protocol["louiset"]) > 0.95


def test_probe_reads_encoded_codes_and_never_the_blank_code() -> None:
    class Referenced(Rows):  # a reference that is not zero, as sRb-VAE's
        def blank(self, n: int) -> Tensor:
            raise AssertionError("a probe asked for a blank code")

        def decode(self, code: Code) -> Tensor:
            raise AssertionError("a probe decoded")

    for protocol in PROTOCOLS:
        probe(Referenced().eval(), Planted(), ProbeOptions(protocol, limit=30))
    probe(Referenced().eval(), Planted(), ProbeOptions(limit=30, eval_mode="authors"))
    found = (
        encode_split(Referenced().eval(), Planted(), "test", limit=N)
        .of("background")
        .spaces["salient"]
    )
    assert np.array_equal(found, split_of("background", "test")[0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_probe_uses_few_labels_or_reports_too_few(protocol: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = probe(Rows().eval(), Sparse(), ProbeOptions(protocol))
    kind, size, place = (row(found, name) for name in ("kind", "size", "place"))
    assert (kind["n"], size["n"], place["n"]) == (100, 8, N)
    assert place["common"] > 0.95
    if protocol == "carton":
        assert (
            kind["also"]["note"] == "not probed: 5 folds need at least 5 test images of each class"
        )
        assert size["also"]["note"] == "not probed: 5 folds need at least 10 test images, found 8"
    else:
        assert kind["salient"] > 0.5
        assert size["common"] is not None
    json.dumps(found, allow_nan=False)


def test_louiset_reports_too_few_images_for_two_layers() -> None:
    target = row(probe(Rows().eval(), Planted(), ProbeOptions("louiset", limit=9)), "target")
    assert target["salient"] is None
    assert (
        target["also"]["note"]
        == "not probed: two layers need at least 20 training images, 2 of each domain; found [9, 9]"
    )
    assert (
        row(probe(Rows().eval(), Planted(), ProbeOptions("louiset", limit=10)), "target")["salient"]
        > 0.5
    )


def test_probe_refuses_codes_that_are_not_finite() -> None:
    class Diverged(Rows):
        def encode(self, images: Tensor) -> Code:
            code = super().encode(images)
            return Code(code.z, torch.where(code.s > 3, torch.nan, code.s))

    with pytest.raises(
        StudioError, match=r"rows: \d+ of 1200 codes of test images are NaN or infinite"
    ):
        probe(Diverged().eval(), Planted())
