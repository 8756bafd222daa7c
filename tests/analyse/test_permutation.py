"""The statistics, each against a closed form or a library."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS
from statsmodels.stats.multitest import multipletests

from studio.analyse.associations import group_trace, group_trace_p
from studio.analyse.cohort import indicators
from studio.analyse.models import cramers_v, eta_squared, linear_effect, odds_ratio
from studio.analyse.permutation import (
    adjust,
    orthonormal,
    partial_r2,
    permutation_p,
    shuffle_within,
)

ONE = np.zeros(60, int)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_q_values_are_those_of_statsmodels(rng: np.random.Generator) -> None:
    p = np.concatenate([rng.random(30), rng.random(10) ** 6, [0.5, 0.5]])
    expected = multipletests(p, method="fdr_bh")[1]
    assert np.allclose(adjust(p), expected)
    with_missing = np.insert(p, 3, np.nan)
    assert np.allclose(np.delete(adjust(with_missing), 3), expected)
    assert np.isnan(adjust(with_missing)[3])
    assert np.isnan(adjust(np.full(2, np.nan))).all()


def test_rows_move_within_their_site_only(rng: np.random.Generator) -> None:
    blocks = rng.integers(4, size=200)
    orders = [shuffle_within(blocks, rng) for _ in range(50)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(200))
        assert np.array_equal(blocks[order], blocks)
    small = np.array([0, 1, 0, 0])
    seen = {tuple(shuffle_within(small, rng)) for _ in range(300)}
    assert seen == {(a, 1, b, c) for a, b, c in permutations((0, 2, 3))}


def test_partial_r2_is_the_gain_of_the_linear_model(rng: np.random.Generator) -> None:
    covariates, attribute = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    features = rng.normal(size=(60, 3)) + covariates[:, :1] + 0.4 * attribute[:, :1]
    one = np.ones((60, 1))
    found = partial_r2(features, attribute, orthonormal(np.hstack([one, covariates])))
    for feature, share in zip(features.T, found, strict=True):
        small = OLS(feature, np.hstack([one, covariates])).fit()
        large = OLS(feature, np.hstack([one, covariates, attribute])).fit()
        assert share == pytest.approx(1 - large.ssr / small.ssr)
    constant = np.ones((60, 1)) * 3
    assert np.isnan(partial_r2(constant, attribute, orthonormal(one))).all()


def test_permutation_agrees_with_the_exact_test(rng: np.random.Generator) -> None:
    """Six rows have 720 permutations: the p-value is estimated around the exact one."""
    feature, attribute = rng.normal(size=6), np.array([0.0, 0, 0, 1, 1, 1])
    exact = stats.permutation_test(
        (feature[:3], feature[3:]),
        lambda a, b: abs(np.mean(a) - np.mean(b)),
        vectorized=False,
        alternative="greater",
    ).pvalue
    basis = orthonormal(np.ones((6, 1)))
    p = permutation_p(feature[:, None], attribute[:, None], basis, np.zeros(6, int), 4000, rng)
    assert p[0] == pytest.approx(exact, abs=0.03)


def test_permutation_agrees_with_the_f_test_after_covariates(rng: np.random.Generator) -> None:
    age, one = rng.normal(size=(60, 1)), np.ones((60, 1))
    score = age + rng.normal(size=(60, 1))
    noise = rng.normal(size=(60, 1))
    features = np.hstack([age + noise, 0.35 * score + noise])
    basis = orthonormal(np.hstack([one, age]))
    p = permutation_p(features, score, basis, ONE, 2000, rng)
    for feature, value in zip(features.T, p, strict=True):
        expected = OLS(feature, np.hstack([score, one, age])).fit().pvalues[0]
        assert value == pytest.approx(expected, abs=0.03)
    without = permutation_p(features, score, orthonormal(one), ONE, 2000, rng)
    assert without[0] < 0.01 < p[0], "age explains it, and it is not taken out"


def test_permutation_within_sites_ignores_what_only_sites_explain(
    rng: np.random.Generator,
) -> None:
    """Sites differ in both, which a free permutation takes for an association."""
    site = np.repeat(np.arange(6), 10)
    feature = (site + rng.normal(size=60))[:, None]
    attribute = (site + rng.normal(size=60))[:, None]
    basis = orthonormal(np.ones((60, 1)))
    free = permutation_p(feature, attribute, basis, ONE, 500, rng)
    within = permutation_p(
        feature,
        attribute,
        orthonormal(np.column_stack([np.ones(60), indicators(site)])),
        site,
        500,
        rng,
    )
    assert free[0] < 0.01
    assert within[0] > 0.05


def test_trace_of_two_categories_is_chi_square(rng: np.random.Generator) -> None:
    groups, kinds = rng.integers(3, size=60), rng.integers(4, size=60)
    table = np.histogram2d(groups, kinds, (3, 4))[0]
    chi = stats.chi2_contingency(table, correction=False)
    basis = orthonormal(np.ones((60, 1)))
    trace = group_trace(indicators(groups), indicators(kinds), basis)
    assert trace * 60 == pytest.approx(chi.statistic)
    effect = cramers_v(trace, 2, 3, 60)
    assert effect.p == pytest.approx(chi.pvalue)
    assert effect.value == pytest.approx(stats.contingency.association(table.astype(int)))
    assert 0 <= effect.low <= effect.value <= effect.high <= 1
    p = group_trace_p(indicators(groups), indicators(kinds), basis, ONE, 1500, rng)
    assert p == pytest.approx(chi.pvalue, abs=0.05)


def test_eta_squared_is_that_of_the_f_test(rng: np.random.Generator) -> None:
    groups, values = rng.integers(3, size=60), rng.normal(size=60)
    values += groups
    basis = orthonormal(np.ones((60, 1)))
    share = group_trace(indicators(groups), values[:, None], basis)
    expected = stats.f_oneway(*(values[groups == g] for g in range(3)))
    effect = eta_squared(share, 2, 57)
    assert effect.p == pytest.approx(expected.pvalue)
    for end, level in ((effect.low, 0.975), (effect.high, 0.025)):
        spread = 60 * end / (1 - end)
        assert stats.ncf.cdf(expected.statistic, 2, 57, spread) == pytest.approx(level, abs=1e-6)


def test_linear_effect_is_the_correlation_without_covariates(rng: np.random.Generator) -> None:
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    effect = linear_effect(y, x, np.empty((60, 0)))
    assert effect.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert effect.p == pytest.approx(stats.pearsonr(x, y).pvalue)


def test_odds_ratio_of_two_by_two_is_the_closed_form() -> None:
    """A feature of two values: the odds ratio per unit is ad / bc, and its interval is Woolf's."""
    feature = np.repeat([0.0, 0, 1, 1], [12, 8, 5, 20])
    classes = np.repeat([0, 1, 0, 1], [12, 8, 5, 20])
    effect = odds_ratio(feature, classes, np.empty((45, 0)))
    unit = 1 / feature.std(ddof=1)
    error = np.sqrt(1 / 12 + 1 / 8 + 1 / 5 + 1 / 20)
    log = np.log(12 * 20 / (8 * 5))
    assert np.log(effect.value) * unit == pytest.approx(log, rel=1e-5)
    assert np.log(effect.low) * unit == pytest.approx(log - 1.959964 * error, rel=1e-4)
    separate = odds_ratio(np.repeat([0.0, 1.0], 20), np.repeat([0, 1], 20), np.empty((40, 0)))
    assert separate.kind == "slope"
    assert "separate" in separate.note
