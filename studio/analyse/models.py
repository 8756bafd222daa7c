"""Linear and logistic models of one feature and one attribute, with effect sizes and intervals.

statsmodels fits them. A model that cannot be trusted gives no number but a reason.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats
from statsmodels.api import OLS, Logit

__all__ = ["Effect", "cramers_v", "eta_squared", "linear_effect", "odds_ratio"]

CONFIDENCE = 0.95
LARGEST = 1e4  # an odds ratio beyond it, or below its inverse, means that the classes separate


class Effect(NamedTuple):
    """The size of an association.

    Attributes:
        kind: `slope` (standard deviations per standard deviation, after covariates),
            `odds_ratio` (per standard deviation), `eta_squared` or `cramers_v`.
        value: the effect.
        low: lower end of the 95 % confidence interval.
        high: upper end.
        p: of the model, two-sided.
        note: the reason for a fallback or a missing number, or "".
    """

    kind: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    note: str = ""


def linear_effect(feature: np.ndarray, attribute: np.ndarray, covariates: np.ndarray) -> Effect:
    """Returns the slope of a standardised feature on a standardised attribute.

    Args:
        feature: (n,).
        attribute: numbers (n,).
        covariates: (n, c), without the constant.
    """
    x, y = _standardise(attribute), _standardise(feature)
    fitted: Any = OLS(y, np.column_stack([x, np.ones(len(x)), covariates])).fit()
    low, high = fitted.conf_int(1 - CONFIDENCE)[0]
    return Effect(
        "slope", float(fitted.params[0]), float(low), float(high), float(fitted.pvalues[0])
    )


def odds_ratio(feature: np.ndarray, classes: np.ndarray, covariates: np.ndarray) -> Effect:
    """Returns the odds ratio of the second of two classes per standard deviation of a feature.

    Where the classes separate, a logistic model has no finite answer. The slope of the linear
    model is returned then, and a note says so.

    Args:
        feature: (n,).
        classes: two class numbers (n,).
        covariates: (n, c), without the constant.
    """
    second = (classes == classes.max()).astype(float)
    design = np.column_stack([_standardise(feature), np.ones(len(feature)), covariates])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted: Any = Logit(second, design).fit(disp=0, maxiter=100)
            converged = bool(fitted.mle_retvals["converged"])
            ends = np.exp(fitted.conf_int(1 - CONFIDENCE)[0])
            value = float(np.exp(fitted.params[0]))
        except Exception as error:  # PerfectSeparationError, singular matrices
            if not isinstance(error, np.linalg.LinAlgError | ValueError | RuntimeError) and (
                "Separation" not in type(error).__name__
            ):
                raise
            converged, value, ends = False, 0.0, np.zeros(2)
    if converged and 1 / LARGEST < value < LARGEST and np.isfinite(ends).all():
        low, high, p = float(ends[0]), float(ends[1]), float(fitted.pvalues[0])
        return Effect("odds_ratio", value, low, high, p)
    note = "the classes separate, so a linear model replaces the logistic one"
    return linear_effect(feature, second, covariates)._replace(note=note)


def eta_squared(share: float, levels: int, free: int) -> Effect:
    """Returns the partial share of variance that classes explain, with an interval and the F test.

    The interval inverts the non-central F distribution (Steiger 2004, Beyond the F test,
    Psychological Methods 9(2), Eq. 10 and 11).

    Args:
        share: partial R2.
        levels: degrees of freedom of the classes.
        free: residual degrees of freedom.
    """
    f = share / levels / max((1 - share) / free, 1e-300)
    n = levels + free + 1
    low, high = (
        spread / (spread + n)
        for spread in _ends(
            lambda spread: float(stats.ncf.cdf(f, levels, free, spread)), f * levels
        )
    )
    return Effect("eta_squared", float(share), low, high, float(stats.f.sf(f, levels, free)))


def cramers_v(trace: float, rows: int, columns: int, n: int) -> Effect:
    """Returns Cramer's V of two categories with an interval and the chi-square test.

    The interval inverts the non-central chi-square distribution (Smithson 2003, Confidence
    intervals, chapter 4).

    Args:
        trace: chi-square / n, which is the sum of the squared canonical correlations of the
            indicators.
        rows: classes of one category, less one.
        columns: classes of the other, less one.
        n: subjects.
    """
    chi, free, most = trace * n, rows * columns, min(rows, columns)
    low, high = (
        float(np.sqrt(min(1.0, spread / (n * most))))
        for spread in _ends(lambda spread: float(stats.ncx2.cdf(chi, free, spread)), chi)
    )
    value = float(np.sqrt(trace / most))
    return Effect("cramers_v", value, low, high, float(stats.chi2.sf(chi, free)))


def _ends(cdf: Callable[[float], float], size: float) -> tuple[float, float]:
    """Returns the non-centralities at which the observed value has 97.5 % and 2.5 % below it."""
    found = []
    for level in (0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2):
        if cdf(1e-9) <= level:
            found.append(0.0)
            continue
        top = 2 * size + 10
        while cdf(top) > level and top < 1e9:
            top *= 2
        root: Any = optimize.brentq(lambda x, at=level: cdf(x) - at, 1e-9, top)
        found.append(float(root))
    return found[0], found[1]


def _standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std(ddof=1)
