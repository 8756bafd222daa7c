"""The non-linear reader, on codes that hide an attribute from a linear model."""

import numpy as np
import pytest

from studio.data import Attribute
from studio.evaluate.nonlinear import cross_validate_nonlinear, fit_nonlinear
from studio.evaluate.probe_models import Examples, fit_linear
from studio.evaluate.verdict import best_reading, judge

TWO = Attribute("salient", ("background", "target"))
NUMBER = Attribute("salient")


def shell(n: int, seed: int, share: float = 0.5) -> Examples:
    """Returns background codes around 0 and target codes on a shell around them."""
    rng = np.random.default_rng(seed)
    values = (rng.random(n) < share).astype(np.int64)
    codes = rng.normal(size=(n, 4))
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    radius = np.where(values, 3.0, 0.3)[:, None]
    return Examples(codes * radius + 0.1 * rng.normal(size=codes.shape), values)


def noise(n: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    return Examples(rng.normal(size=(n, 4)), rng.integers(2, size=n))


def test_fit_nonlinear_sees_a_centre_inside_a_shell_that_a_linear_model_does_not() -> None:
    train, test = shell(600, 0), shell(400, 1)
    linear = fit_linear(TWO, train, test, "balanced_accuracy", 0)
    reading = fit_nonlinear(TWO, train, test, "balanced_accuracy", 0)
    assert linear.scores["balanced_accuracy"] < 0.65
    assert reading.scores["balanced_accuracy"] > 0.97
    assert reading.model


def test_fit_nonlinear_finds_nothing_in_noise() -> None:
    for seed in range(3):
        train, test = noise(800, seed), noise(800, 10 + seed)
        reading = fit_nonlinear(TWO, train, test, "balanced_accuracy", seed)
        assert abs(reading.scores["balanced_accuracy"] - 0.5) < 4 * reading.error


def test_fit_nonlinear_is_deterministic() -> None:
    train, test = shell(200, 0), shell(100, 1)
    first, second = (fit_nonlinear(TWO, train, test, "balanced_accuracy", 3) for _ in range(2))
    assert first == second


def test_fit_nonlinear_finds_a_rare_class() -> None:
    train, test = shell(800, 0, share=0.05), shell(800, 1, share=0.05)
    reading = fit_nonlinear(TWO, train, test, "balanced_accuracy", 0)
    assert reading.scores["balanced_accuracy"] > 0.9


def test_fit_nonlinear_predicts_a_number_from_a_distance() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(1_200, 2))
    values = np.linalg.norm(codes, axis=1)
    train, test = Examples(codes[:800], values[:800]), Examples(codes[800:], values[800:])
    assert fit_linear(NUMBER, train, test, "r2", 0).scores["r2"] < 0.1
    assert fit_nonlinear(NUMBER, train, test, "r2", 0).scores["r2"] > 0.8


def test_fit_nonlinear_reports_an_auc_with_its_error() -> None:
    reading = fit_nonlinear(TWO, shell(400, 0), shell(300, 1), "auc", 0)
    assert reading.scores["auc"] > 0.97
    assert 0 <= reading.error < 0.05


def test_cross_validate_nonlinear_scores_each_fold_of_the_test_images() -> None:
    test = shell(300, 2)
    reading = cross_validate_nonlinear(TWO, test, test, "accuracy", 0)
    assert reading.scores["accuracy"] > 0.95
    assert reading.error < 0.05


@pytest.mark.parametrize(
    ("nonlinear", "expected"), [(None, (0.6, 0.02)), (0.55, (0.6, 0.02)), (0.9, (0.9, 0.01))]
)
def test_best_reading_is_the_better_reader(
    nonlinear: float | None, expected: tuple[float, float]
) -> None:
    also = {"error_common": 0.02}
    if nonlinear is not None:
        also |= {"common_nonlinear": nonlinear, "common_nonlinear_error": 0.01}
    row = {"common": 0.6, "error": 0.03, "also": also}
    assert best_reading(row, "common") == expected


def test_judge_rests_on_a_leak_that_only_the_nonlinear_reader_finds() -> None:
    row = {
        "attribute": "subtype",
        "belongs": "salient",
        "metric": "balanced_accuracy",
        "salient": 0.9,
        "common": 0.5,
        "chance": 0.5,
        "error": 0.01,
        "also": {},
    }
    assert judge(row).kind == "separated"
    row["also"] = {"common_nonlinear": 0.8, "common_nonlinear_error": 0.01}
    assert judge(row).kind == "leaks"
    assert "80 %" in judge(row).sentence
