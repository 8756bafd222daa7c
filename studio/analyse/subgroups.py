"""Subgroups among the targets, and whether there are any.

Gaussian mixtures are compared by BIC (Fraley and Raftery 2002, Model-based clustering, JASA
97(458)), k-means is tried beside them. A number of groups K > 1 counts only if all of this holds:

1. the BIC of the mixture is better than that of one group by more than 10 (Raftery 1995, Bayesian
   model selection in social research, Table 6: very strong evidence),
2. the clustering is stable: two bootstrap samples put all subjects into the same groups, with a
   mean adjusted Rand index of at least 0.75,
3. it is more stable than in codes without groups, twice. Codes with the same covariance from a
   Gaussian (as Liu et al. 2008, SigClust, JASA 103(483)), and the codes themselves after their
   coordinates were shuffled. They are shuffled in a random rotation of the whitened codes, because
   groups along a single coordinate would survive a shuffle of that coordinate.

Among the numbers that pass, the one with the best BIC is taken. If none passes, the answer is one
group. Groups that differ in a few subjects only, and codes with a long tail, are beyond this test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from studio.errors import StudioError

__all__ = ["FEWEST", "Subgroups", "find_subgroups", "project", "stability"]

FEWEST = 20  # subjects, below which no groups are sought
PER_COMPONENT = 10  # subjects per principal component
MOST_COMPONENTS = 10
VARIANCE = 0.95  # of the codes that the components keep
SHAPES = ("full", "tied", "diag")  # of the covariances of a mixture
MARGIN = 10.0  # of BIC
STABLE = 0.75  # mean adjusted Rand index
SMALLEST = 5  # subjects of a group
BOOTSTRAPS = 20  # pairs of bootstrap samples of the codes
REFERENCES = 10  # data sets without groups, of each of the two kinds
REFERENCE_BOOTSTRAPS = 5  # pairs of bootstrap samples of each of them
Fit = Callable[[np.ndarray, int], Any]


@dataclass
class Subgroups:
    """Groups of targets.

    Attributes:
        labels: group of each target, (n,), 0 to number - 1. The largest group is 0.
        number: how many groups there are.
        method: `mixture` or `k-means`, or "" for one group.
        candidates: one record per number of groups and method, see `find_subgroups`.
        components: principal components of the codes that were clustered.
        notes: reasons and fallbacks.
    """

    labels: np.ndarray
    number: int = 1
    method: str = ""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    components: int = 0
    notes: list[str] = field(default_factory=list)


def project(codes: np.ndarray) -> np.ndarray:
    """Returns the principal components that hold 95 % of the variance, one unit for all of them.

    At most ten are kept, and at most one for ten subjects.

    Args:
        codes: (n, m).
    """
    centred = codes - codes.mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    variance = singular**2
    if not variance.sum() > 0:
        return np.zeros((len(codes), 1))
    enough = int(np.searchsorted(np.cumsum(variance) / variance.sum(), VARIANCE)) + 1
    kept = max(1, min(enough, MOST_COMPONENTS, len(codes) // PER_COMPONENT))
    return (left * singular)[:, :kept] / np.sqrt(variance[0] / len(codes))


def find_subgroups(
    codes: np.ndarray, most: int, seed: int, say: Callable[[str], object] = lambda line: None
) -> Subgroups:
    """Looks for subgroups, and answers with one group unless there is evidence for more.

    Args:
        codes: salient codes of the targets, one row per subject, (n, m).
        most: largest number of groups.
        seed: of all random draws.
        say: called with a line about the work that goes on.

    Returns:
        the groups. Each candidate has `groups`, `method`, `bic` (of the mixture, None for k-means),
        `shape` of the covariances, `stability`, `reference` (the 95th percentile of the stability
        without groups), `smallest` (subjects in the smallest group) and `passes`. Candidates are
        tested in the order of their BIC until one passes. What is not needed then is None.

    Raises:
        StudioError: a code is not finite.
    """
    if not np.isfinite(codes).all():
        raise StudioError("subgroups: a code is NaN or infinite")
    n = len(codes)
    one = Subgroups(np.zeros(n, np.int64))
    if n < FEWEST:
        one.notes.append(f"{n} subjects, expected at least {FEWEST} to look for subgroups")
        return one
    if len(np.unique(codes, axis=0)) < FEWEST:
        one.notes.append("the salient codes are equal for most subjects, so there are no groups")
        return one
    points = project(codes)
    one.components = points.shape[1]
    if codes.shape[1] > n // PER_COMPONENT:
        one.notes.append(
            f"{n} subjects are few for {codes.shape[1]} coordinates: {points.shape[1]} principal "
            "components were clustered"
        )
    with threadpool_limits(1):
        return _choose(points, min(most, n // (2 * SMALLEST)), seed, say, one)


def _choose(
    points: np.ndarray, most: int, seed: int, say: Callable[[str], object], found: Subgroups
) -> Subgroups:
    rng = np.random.default_rng(seed)
    scores = {}
    for k in range(1, most + 1):
        say(f"subgroups: mixtures of {k} of {most} groups")
        scores[k] = _best_shape(points, k, seed)
    found.candidates = [_record(1, "mixture", *scores[1])]
    found.candidates[0]["smallest"] = len(points)
    for k in range(2, most + 1):
        found.candidates += [_record(k, "mixture", *scores[k]), _record(k, "k-means", None, None)]
    # The first number that passes has the best BIC of those that do, so no other one is tested.
    for k in sorted(range(2, most + 1), key=lambda k: scores[k][0]):
        if not scores[k][0] < scores[1][0] - MARGIN:
            break
        own = [record for record in found.candidates if record["groups"] == k]
        fits = _mixture_fit(scores[k][1], seed), _means_fit(seed)
        tested = []
        for record, fit in zip(own, fits, strict=True):
            say(f"subgroups: stability of {k} groups, {record['method']}")
            labels = _test(points, record, fit, rng)
            if record["passes"]:
                tested.append((record["stability"], record["method"], labels))
        if tested:
            _, found.method, labels = max(tested, key=lambda one: one[0])
            found.number, found.labels = k, _by_size(labels)
            break
    found.candidates[0]["passes"] = found.number == 1
    return found


def _record(k: int, method: str, bic: float | None, shape: str | None) -> dict[str, Any]:
    return {
        "groups": k,
        "method": method,
        "bic": bic,
        "shape": shape,
        "stability": None,
        "reference": None,
        "smallest": None,
        "passes": False,
    }


def _test(
    points: np.ndarray, record: dict[str, Any], fit: Fit, rng: np.random.Generator
) -> np.ndarray:
    """Completes the record of a number of groups, and returns the groups."""
    k = record["groups"]
    labels = fit(points, k).predict(points)
    record["smallest"] = int(np.bincount(labels, minlength=k).min())
    record["stability"] = stability(points, k, fit, BOOTSTRAPS, rng)
    if record["stability"] >= STABLE and record["smallest"] >= SMALLEST:
        record["reference"] = _reference(points, k, fit, rng)
        record["passes"] = bool(record["stability"] > record["reference"])
    return labels


def _best_shape(points: np.ndarray, k: int, seed: int) -> tuple[float, str]:
    """Returns the lowest BIC of mixtures of k groups, and the shape of their covariances."""
    return min((_fit_mixture(points, k, shape, seed, 3).bic(points), shape) for shape in SHAPES)


def _fit_mixture(points: np.ndarray, k: int, shape: Any, seed: int, starts: int) -> Any:  # noqa: ANN401
    # Convergence matters little here, and a mixture that has not converged has a worse BIC.
    import warnings

    model = GaussianMixture(
        k, covariance_type=shape, n_init=starts, random_state=seed, reg_covar=1e-3, max_iter=100
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(points)


def _mixture_fit(shape: str, seed: int) -> Fit:
    return lambda points, k: _fit_mixture(points, k, shape, seed, 2)


def _means_fit(seed: int) -> Fit:
    starts: Any = 4  # scikit-learn types the number of starts as text
    return lambda points, k: KMeans(k, n_init=starts, random_state=seed).fit(points)


def stability(points: np.ndarray, k: int, fit: Fit, pairs: int, rng: np.random.Generator) -> float:
    """Returns the mean adjusted Rand index of the groups that two bootstrap samples give.

    Both samples are clustered, and both models sort all points (Fang and Wang 2012, Selection of
    the number of clusters via the bootstrap method, CSDA 56(3), Sec. 2).

    Args:
        points: (n, d).
        k: number of groups.
        fit: returns a model with `predict` for points and k.
        pairs: number of pairs of samples.
        rng: of the samples.
    """
    n, scores = len(points), []
    for _ in range(pairs):
        models = [fit(points[rng.integers(n, size=n)], k) for _ in range(2)]
        scores.append(adjusted_rand_score(*(model.predict(points) for model in models)))
    return float(np.mean(scores))


def _reference(points: np.ndarray, k: int, fit: Fit, rng: np.random.Generator) -> float:
    """Returns the 95th percentile of the stability in codes without groups, the larger of both
    kinds."""
    kinds = []
    for draw in (_draw_gaussian, _draw_shuffled):
        scores = [
            stability(draw(points, rng), k, fit, REFERENCE_BOOTSTRAPS, rng)
            for _ in range(REFERENCES)
        ]
        kinds.append(np.quantile(scores, 0.95))
    return float(max(kinds))


def _whiten(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whitened points (n, r), and the matrix (r, d) that maps them back."""
    centred = points - points.mean(0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    kept = singular > 1e-9 * singular[0]
    scale = np.sqrt(len(points))
    return left[:, kept] * scale, (singular[:, None] * right)[kept] / scale


def _draw_gaussian(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    white, back = _whiten(points)
    return rng.standard_normal(white.shape) @ back


def _draw_shuffled(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    white, back = _whiten(points)
    rotation = np.linalg.qr(rng.standard_normal((white.shape[1],) * 2))[0]
    return rng.permuted(white @ rotation, axis=0) @ rotation.T @ back


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Returns the same groups, numbered by decreasing size."""
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order, kind="stable")[labels]
