"""How different: the distance of each subject's salient code from blank, beside the controls."""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from studio.analyse.cohort import Cohort, Covariates
from studio.analyse.permutation import orthonormal, permutation_p, residual

__all__ = [
    "Roc",
    "adjusted_difference",
    "calibrate",
    "mann_whitney_p",
    "rank_among",
    "roc",
    "thin_curve",
]

THRESHOLDS = (0.01, 0.05, 0.1, 0.2)  # shares of controls that may lie beyond a threshold
BOOTSTRAPS = 2_000
HALVES = 200  # random halves of the controls
CHUNK = 200  # bootstrap samples at a time
POINTS = 101  # of a ROC curve in a file


def rank_among(distance: np.ndarray, controls: np.ndarray, own: bool = False) -> np.ndarray:
    """Returns the share of controls that lie at least as far, (n,), small if a subject is unusual.

    The subject counts as one of the controls, so that under the null hypothesis the share is a
    p-value (Vovk et al. 2005, Algorithmic Learning in a Random World, conformal prediction).

    Args:
        distance: of the subjects, (n,).
        controls: distances of the held-out controls, (c,).
        own: whether the subjects are the controls themselves, which are counted once.
    """
    ordered = np.sort(controls)
    reached = len(ordered) - np.searchsorted(ordered, distance, "left")
    return reached / len(ordered) if own else (1 + reached) / (1 + len(ordered))


def calibrate(distance: np.ndarray, target: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Returns the share of subjects beyond thresholds that few controls should exceed.

    A threshold is a quantile of the controls. The share of controls beyond it is that of one half
    of the controls beyond the threshold of the other half, averaged over random halves, because
    controls that set a threshold always meet it.

    Args:
        distance: (n,).
        target: (n,) bool.
        seed: of the halves.

    Returns:
        for each of `THRESHOLDS`: `share`, `threshold`, `controls_beyond` and `targets_beyond`.
    """
    controls, rng = distance[~target], np.random.default_rng(seed)
    beyond: dict[float, list[float]] = {share: [] for share in THRESHOLDS}
    for _ in range(HALVES):
        order = rng.permutation(controls)
        fit, held = order[: len(order) // 2], order[len(order) // 2 :]
        for share in THRESHOLDS:
            beyond[share].append(float(np.mean(rank_among(held, fit) <= share)))
    rows = []
    for share in THRESHOLDS:
        possible = 1 / (1 + len(controls) // 2) <= share
        rows.append(
            {
                "share": share,
                "threshold": float(np.quantile(controls, 1 - share)),
                "controls_beyond": float(np.mean(beyond[share])) if possible else None,
                "targets_beyond": float(np.mean(rank_among(distance[target], controls) <= share)),
            }
        )
    return rows


class Roc(NamedTuple):
    """A ROC curve.

    Attributes:
        auc: area under it.
        low: lower end of the 95 % confidence interval of the area.
        high: upper end.
        controls: share of controls beyond each threshold, from 0 to 1.
        targets: share of targets beyond it.
    """

    auc: float
    low: float
    high: float
    controls: np.ndarray
    targets: np.ndarray


def roc(distance: np.ndarray, target: np.ndarray, names: np.ndarray, seed: int) -> Roc:
    """Returns the ROC curve of the distance, with a bootstrap interval of its area.

    Each bootstrap sample draws subjects with replacement, with all of their rows, since a subject
    can have images in both sets. Controls alone, targets alone and subjects of both are drawn in
    their own numbers.

    Args:
        distance: (n,).
        target: (n,) bool, with both values.
        names: of the subjects, (n,).
        seed: of the bootstrap.
    """
    a, b = distance[target], distance[~target]
    ordered = np.sort(b)
    low, high = (np.searchsorted(ordered, a, side) for side in ("left", "right"))
    area = float(np.mean(low + high) / (2 * len(b)))
    sampled = _bootstrap(a, b, names[target], names[~target], np.random.default_rng(seed))
    ends = np.quantile(sampled, [0.025, 0.975])
    cuts = np.unique(distance)[::-1]
    x = np.concatenate([[0.0], 1 - np.searchsorted(ordered, cuts, "left") / len(b)])
    y = np.concatenate([[0.0], 1 - np.searchsorted(np.sort(a), cuts, "left") / len(a)])
    return Roc(area, float(ends[0]), float(ends[1]), x, y)


def thin_curve(curve: Roc) -> dict[str, list[float]]:
    """Returns at most `POINTS` points of a curve, for a file."""
    kept = np.unique(np.linspace(0, len(curve.controls) - 1, POINTS).astype(int))
    return {
        "controls_beyond": [round(float(v), 5) for v in curve.controls[kept]],
        "targets_beyond": [round(float(v), 5) for v in curve.targets[kept]],
    }


def _bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    a_names: np.ndarray,
    b_names: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns areas of bootstrap samples, (BOOTSTRAPS,)."""
    people = np.unique(np.concatenate([a_names, b_names]))
    kind = np.isin(people, a_names) + 2 * np.isin(people, b_names)
    a_place, b_place = (np.searchsorted(people, names) for names in (a_names, b_names))
    # The area is a sum over controls of the weight of the targets above each.
    both = np.concatenate([a, b])
    order = np.argsort(both, kind="stable")
    _, tied = np.unique(both[order], return_inverse=True)
    starts = np.flatnonzero(np.diff(tied, prepend=-1))
    areas = []
    for _ in range(BOOTSTRAPS // CHUNK):
        times = np.zeros((CHUNK, len(people)))
        for own in (np.flatnonzero(kind == k) for k in (1, 2, 3)):
            if len(own):
                times[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), CHUNK)
        weight_a = np.concatenate([times[:, a_place], np.zeros((CHUNK, len(b)))], 1)[:, order]
        weight_b = np.concatenate([np.zeros((CHUNK, len(a))), times[:, b_place]], 1)[:, order]
        level_a = np.add.reduceat(weight_a, starts, 1)
        level_b = np.add.reduceat(weight_b, starts, 1)
        below = np.cumsum(level_b, 1) - level_b / 2
        total = level_a.sum(1) * level_b.sum(1)
        areas.append(np.sum(level_a * below, 1) / np.where(total, total, np.nan))
    found = np.concatenate(areas)
    return found[np.isfinite(found)]


def adjusted_difference(
    cohort: Cohort, covariates: Covariates, permutations: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Compares the distance of targets and controls after covariates.

    Args:
        cohort: subjects of both sets.
        covariates: of them.
        permutations: see `permutation_p`.
        rng: see `permutation_p`.

    Returns:
        `n`, `covariates`, `difference` in standard deviations of the residual with its confidence
        interval `low`, `high`, `p` of the linear model and `p_permutation`. All are None where the
        set follows from the covariates, and `note` says so.
    """
    from statsmodels.api import OLS

    kept = cohort.take(covariates.rows)
    empty = dict.fromkeys(("difference", "low", "high", "p", "p_permutation"))
    result = {"n": len(kept), "covariates": covariates.names, **empty}
    if covariates.impossible:
        return {**result, "note": covariates.impossible}
    group = kept.target.astype(float)[:, None]
    if len(np.unique(kept.target)) < 2:
        return {**result, "note": "no subject of one of the sets has all covariates"}
    constant = np.ones((len(kept), 1))
    nuisance = orthonormal(np.hstack([constant, covariates.columns]))
    rest = residual(group, nuisance)
    if np.sum(rest**2) < 1e-6 * len(kept):
        note = "the set follows from the covariates, so its effect cannot be told from theirs"
        return {**result, "note": note}
    fitted: Any = OLS(kept.distance, np.hstack([group, constant, covariates.columns])).fit()
    spread = float(np.sqrt(fitted.scale))
    if not spread > 0:
        return {**result, "note": "all distances are equal"}
    ends = fitted.conf_int(0.05)[0] / spread
    p = permutation_p(kept.distance[:, None], group, nuisance, covariates.blocks, permutations, rng)
    # A site with one set alone has nothing to exchange.
    mixed = [
        len(np.unique(kept.target[covariates.blocks == b])) == 2
        for b in np.unique(covariates.blocks)
    ]
    done = {
        "difference": float(fitted.params[0] / spread),
        "low": float(ends[0]),
        "high": float(ends[1]),
        "p": float(fitted.pvalues[0]),
        "p_permutation": float(p[0]) if any(mixed) else None,
    }
    note = {} if any(mixed) else {"note": "no site has subjects of both sets to exchange"}
    return {**result, **done, **note}


def mann_whitney_p(distance: np.ndarray, target: np.ndarray) -> float:
    """Returns the two-sided p-value of Mann and Whitney's test of both sets."""
    return float(stats.mannwhitneyu(distance[target], distance[~target]).pvalue)
