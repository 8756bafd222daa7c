"""Probe models: metrics, standard errors and the two-layer net."""

import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from studio.data import Attribute
from studio.evaluate import probe_models


def test_balanced_accuracy_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        y, read = rng.integers(1, 4, size=30), rng.integers(1, 5, size=30)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class that was read and does not occur
            assert probe_models.balanced_accuracy(y, read) == pytest.approx(
                balanced_accuracy_score(y, read)
            )


@pytest.mark.parametrize("n", [200, 400])
def test_two_layers_match_a_linear_model_on_few_images(n: int) -> None:
    # With scikit-learn's batch, rate and patience this reads at chance for some seeds: a leak that
    # nobody would see.
    rng = np.random.default_rng(0)
    (a, x), (b, y) = ((rng.normal(size=(m, 8)), np.arange(m) % 2) for m in (n, 2000))
    a[:, 0], b[:, 0] = a[:, 0] + x, b[:, 0] + y
    kind = Attribute("salient", ("background", "target"))
    best = norm.cdf(1 / np.sqrt(2))
    for seed in range(3):
        reading = probe_models.fit_two_layers(
            kind, probe_models.Examples(a, x), probe_models.Examples(b, y), "auc", seed
        )
        assert best - 0.12 < reading.scores["auc"] < best + 3 * reading.error
        assert reading.converged


def test_auc_error_equals_delong() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 200])
    score = np.round(rng.normal(size=500) + 1.2 * y, 1)  # with ties
    rows = (
        np.concatenate([rng.choice(np.flatnonzero(y == k), np.sum(y == k)) for k in (0, 1)])
        for _ in range(500)
    )
    resampled = np.std([roc_auc_score(y[r], score[r]) for r in rows])
    assert probe_models.auc_error(y, score) == pytest.approx(resampled, rel=0.12)
    # Definition: the mean over pairs, and how its two marginal means vary.
    wins = (score[y == 1][:, None] > score[y == 0]) + 0.5 * (
        score[y == 1][:, None] == score[y == 0]
    )
    slow = np.sqrt(np.var(wins.mean(1), ddof=1) / 200 + np.var(wins.mean(0), ddof=1) / 300)
    assert probe_models.auc_error(y, score) == pytest.approx(slow, rel=1e-9)
    assert roc_auc_score(y, score) == pytest.approx(norm.cdf(1.2 / np.sqrt(2)), abs=4 * slow)
    assert probe_models.auc_error(np.array([0, 1, 1]), np.array([0.0, 1.0, 2.0])) == 0


def test_fit_and_bootstrap_predicts_the_codes_once_for_all_metrics() -> None:
    calls: list[int] = []

    class Counted(KNeighborsClassifier):
        def predict_proba(self, codes: np.ndarray) -> np.ndarray:
            calls.append(len(codes))
            return super().predict_proba(codes)

        def predict(self, codes: np.ndarray) -> np.ndarray:
            raise AssertionError("the search for neighbours would run a second time")

    rng = np.random.default_rng(0)
    values = np.arange(200) % 3
    examples = probe_models.Examples(rng.normal(size=(200, 4)) + values[:, None], values)
    reading = probe_models.fit_and_bootstrap(
        make_pipeline(StandardScaler(), Counted(5)),
        Attribute("salient", ("a", "b", "c")),
        examples,
        examples,
        "balanced_accuracy",
        0,
    )
    assert calls == [200]
    plain = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(*examples)
    expected = balanced_accuracy_score(values, plain.predict(examples.codes))
    assert reading.scores["balanced_accuracy"] == pytest.approx(expected)
