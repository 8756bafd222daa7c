"""Trust: agreement over seeds, leaks into the common code, and small numbers."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import pair_confusion_matrix

from studio.analyse.cohort import Cohort
from studio.data import Attribute
from studio.evaluate.nonlinear import FEWEST, cross_validate_nonlinear
from studio.evaluate.probe_models import Examples

__all__ = ["SMALL", "Seed", "agreement", "common_leak", "warnings_of"]

SMALL = 30  # subjects of a set, below which a warning says that they are few
ERRORS = 2  # standard errors that a leak must exceed
Seed = tuple[str, Cohort, np.ndarray]  # name of a run, its targets, and their subgroups


def agreement(runs: Sequence[Seed]) -> dict[str, Any]:
    """Compares the subgroups and distances of the same subjects over several trainings.

    Args:
        runs: name, targets and their subgroups of each training.

    Returns:
        `pairs`: for each two trainings `a`, `b`, `n` (shared subjects), `groups` (of both),
        `together` (of the pairs of subjects in one group in either, the share in one group in
        both), `adjusted_rand` (None if both have one group) and `distance_rho` (Spearman). And the
        means of the three over all pairs, `together`, `adjusted_rand` and `distance_rho`.
    """
    pairs = [_compare(a, b) for a, b in combinations(runs, 2)]
    means = {}
    for key in ("together", "adjusted_rand", "distance_rho"):
        known = [pair[key] for pair in pairs if pair[key] is not None]
        means[key] = float(np.mean(known)) if known else None
    return {"runs": [name for name, _, _ in runs], "pairs": pairs, **means}


def _compare(one: Seed, other: Seed) -> dict[str, Any]:
    _, a, b = np.intersect1d(one[1].names, other[1].names, return_indices=True)
    first, second = one[2][a], other[2][b]
    groups = [len(np.unique(labels)) for labels in (one[2], other[2])]
    result = {"a": one[0], "b": other[0], "n": len(a), "groups": groups}
    if len(a) < 3:
        return {**result, "together": None, "adjusted_rand": None, "distance_rho": None}
    (_, only_b), (only_a, both) = pair_confusion_matrix(first, second)
    either = only_a + only_b + both
    ranked: Any = stats.spearmanr(one[1].distance[a], other[1].distance[b])
    rho = float(ranked.statistic)
    return {
        **result,
        "together": float(both / either) if either else None,
        "adjusted_rand": float(adjusted_rand_score(first, second)) if max(groups) > 1 else None,
        "distance_rho": rho if np.isfinite(rho) else None,
    }


def common_leak(cohort: Cohort, seed: int) -> dict[str, Any]:
    """Measures how well a non-linear reader tells the sets apart from the common code.

    It is cross-validated over the held-out subjects, each of which is one row.

    Returns:
        `balanced_accuracy`, `error` (standard error), `leaks` and `n`. The first three are None
        where there are too few subjects, and `note` says so.
    """
    values = cohort.target.astype(np.int64)
    n, least = len(cohort), int(np.bincount(values, minlength=2).min())
    if n < FEWEST * 5 // 4 + 1 or least < 10:
        note = f"{n} subjects, {least} in the smaller set: too few to read the common code"
        return {"balanced_accuracy": None, "error": None, "leaks": None, "n": n, "note": note}
    examples = Examples(cohort.z.astype(np.float32), values)
    attribute = Attribute("common", ("background", "target"))
    reading = cross_validate_nonlinear(attribute, examples, examples, "balanced_accuracy", seed)
    score = reading.scores["balanced_accuracy"]
    leaks = None if score is None else bool(score - 0.5 > ERRORS * reading.error)
    return {"balanced_accuracy": score, "error": reading.error, "leaks": leaks, "n": n}


def warnings_of(cohort: Cohort, leak: dict[str, Any]) -> list[str]:
    """Returns sentences about the limits of an analysis."""
    found = []
    for word, size in (
        ("controls", np.sum(~cohort.target)),
        ("targets", np.sum(cohort.target)),
    ):
        if size < SMALL:
            found.append(f"only {size} held-out {word}: every number here is uncertain")
    both = len(np.intersect1d(cohort.names[cohort.target], cohort.names[~cohort.target]))
    if both:
        found.append(
            f"{both} subjects have images in both sets: they are a row in each, so the tests of "
            "the two sets against each other take related rows as independent"
        )
    if leak["leaks"]:
        found.append(
            "the common code still tells the sets apart (balanced accuracy "
            f"{leak['balanced_accuracy']:.2f}): the salient code, the distances and the maps miss "
            "a part of the difference"
        )
    return found
