"""Maps: the statistic is that of scipy, and the correction holds for all places."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS
from support.codes_of_subjects import plant, with_values

from studio.analyse.cohort import indicators, prepare_covariates
from studio.analyse.distance import adjusted_difference, calibrate, rank_among, roc
from studio.analyse.maps import maximum_test, region_means
from studio.analysis_config import AnalysisConfig

NONE = np.empty((40, 0))
GROUP = np.repeat([True, False], 20)
ONE = np.zeros(40, int)


def test_statistic_is_the_t_test_of_each_place() -> None:
    maps = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    maps[:20, 3] += 2
    maps[:, 5] = 1
    found = maximum_test(maps, GROUP, NONE, ONE, 199, 0)
    expected = stats.ttest_ind(maps[:20], maps[20:]).statistic
    rest = np.arange(30) != 5
    assert np.allclose(found.t[rest], expected[rest], rtol=1e-3, atol=1e-4)
    assert np.isnan(found.t[5])
    assert np.isnan(found.p[5])
    assert found.p[3] == 1 / 200


def test_statistic_after_covariates_is_that_of_the_linear_model() -> None:
    rng = np.random.default_rng(1)
    age, site = rng.normal(size=40), rng.integers(3, size=40)
    maps = (rng.normal(size=(40, 4)) + age[:, None]).astype(np.float32)
    design = np.column_stack([age, indicators(site)])
    found = maximum_test(maps, GROUP, design, site, 49, 0)
    for column, t in zip(maps.T, found.t, strict=True):
        fitted = OLS(column, np.column_stack([GROUP, np.ones(40), design])).fit()
        assert t == pytest.approx(fitted.tvalues[0], rel=1e-3)


def test_corrected_p_is_that_of_a_slow_loop() -> None:
    rng = np.random.default_rng(2)
    maps = rng.normal(size=(40, 25)).astype(np.float32)
    maps[:20, 0] += 1.1
    found = maximum_test(maps, GROUP, NONE, ONE, 999, 0)
    largest = []
    for _ in range(999):
        order = rng.permutation(40)
        t = stats.ttest_ind(maps[order[:20]], maps[order[20:]]).statistic
        largest.append(np.abs(t).max())
    for t, p in zip(found.t, found.p, strict=True):
        slow = (1 + np.sum(np.array(largest) >= abs(t))) / 1000
        assert p == pytest.approx(slow, abs=0.05)
    assert found.threshold == pytest.approx(np.quantile(largest, 0.95), rel=0.05)


def test_places_without_a_difference_are_rarely_found() -> None:
    rng, false = np.random.default_rng(3), 0
    for seed in range(60):
        maps = rng.normal(size=(40, 50)).astype(np.float32)
        false += bool((maximum_test(maps, GROUP, NONE, ONE, 99, seed).p <= 0.05).any())
    assert false <= 8, "5 % of 60 are expected"


def test_region_means_leave_out_what_is_no_region() -> None:
    maps, atlas = np.arange(8.0).reshape(2, 4), np.array([0, 3, 3, 1])
    means = region_means(maps, atlas)
    assert list(means) == [1, 3]
    assert np.array_equal(means[3], [1.5, 5.5])


def test_roc_area_and_interval_are_those_of_known_formulas() -> None:
    """The area is Mann and Whitney's statistic, the interval that of DeLong."""
    rng = np.random.default_rng(4)
    target = np.repeat([True, False], [80, 60])
    distance = np.round(rng.normal(size=140) + 1.2 * target, 1)  # with ties
    found = roc(distance, target, np.array([f"P{i}" for i in range(140)]), 0)
    a, b = distance[target], distance[~target]
    above = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    assert found.auc == pytest.approx(above.mean())
    assert found.auc == pytest.approx(np.trapezoid(found.targets, found.controls))
    error = np.sqrt(above.mean(1).var(ddof=1) / 80 + above.mean(0).var(ddof=1) / 60)
    assert found.low == pytest.approx(found.auc - 1.96 * error, abs=0.015)
    assert found.high == pytest.approx(found.auc + 1.96 * error, abs=0.015)


def test_subject_in_both_sets_is_drawn_as_one() -> None:
    """Distances that depend on the subject: pairs vary together, which narrows the interval."""
    rng = np.random.default_rng(5)
    person = 3 * rng.normal(size=60)
    distance = np.concatenate([person + 0.3, person]) + 0.1 * rng.normal(size=120)
    target = np.repeat([True, False], 60)
    names = np.tile([f"P{i}" for i in range(60)], 2)
    paired = roc(distance, target, names, 0)
    apart = roc(distance, target, np.array([f"P{i}" for i in range(120)]), 0)
    assert paired.auc == apart.auc
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_rank_of_a_control_like_subject_is_uniform() -> None:
    rng = np.random.default_rng(6)
    ranks = [rank_among(rng.normal(size=1), rng.normal(size=19))[0] for _ in range(4000)]
    assert np.mean(np.array(ranks) <= 0.05) == pytest.approx(0.05, abs=0.012)
    assert set(np.round(ranks, 6)) <= set(np.round(np.arange(1, 21) / 20, 6))
    controls = np.array([3.0, 1.0, 2.0])
    assert np.allclose(rank_among(controls, controls, own=True), [1 / 3, 1, 2 / 3])


def test_thresholds_hold_on_other_controls() -> None:
    rng = np.random.default_rng(7)
    target = np.repeat([True, False], [50, 400])
    rows = calibrate(rng.normal(size=450) + 4 * target, target, 0)
    for row in rows:
        assert row["controls_beyond"] == pytest.approx(row["share"], abs=0.02)
        assert row["targets_beyond"] > 0.9
    few = calibrate(rng.normal(size=70), np.arange(70) < 50, 0)
    assert few[0]["controls_beyond"] is None, "20 controls cannot show 1 %"


def test_adjusted_difference_needs_sets_that_covariates_do_not_decide() -> None:
    cohort, _ = plant(40, 1, controls=40)
    rng = np.random.default_rng(0)

    def adjust(cohort: object, *names: str) -> dict:
        config = AnalysisConfig(covariates=[*names])
        return adjusted_difference(cohort, prepare_covariates(cohort, config), 199, rng)

    plain = adjust(cohort, "age")
    fitted = OLS(
        cohort.distance, np.column_stack([cohort.target, np.ones(80), cohort.values["age"]])
    ).fit()
    assert plain["difference"] == pytest.approx(fitted.params[0] / np.sqrt(fitted.scale))
    assert plain["p"] == pytest.approx(fitted.pvalues[0])
    assert plain["p_permutation"] == 1 / 200
    equal = adjust(with_values(cohort, sick=cohort.target.astype(int)), "sick")
    assert equal["p"] is None
    assert "the set follows from the covariates" in equal["note"]
    sites = np.repeat([0, 1, 2, 3], 20)
    apart = adjust(with_values(cohort, site=sites), "site")
    assert apart["p_permutation"] is None
