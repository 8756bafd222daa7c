"""Does each factor have a coordinate of its own? MIG, DCI and SAP, as functions of codes and factors."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import balanced_accuracy_score, mutual_info_score, r2_score
from sklearn.tree import DecisionTreeClassifier

__all__ = ["completeness", "disentanglement", "importances", "mig", "sap"]

BINS = 20  # as in Locatello et al. (2019)
TREES, LEAF = 20, 5
LEARNT = 4_000  # codes that a forest learns from; twice as many change disentanglement by .004 and cost twice the time


def mig(codes: np.ndarray, factors: np.ndarray) -> float:
    """Mutual information gap (Chen et al. 2018, Eq. 6): how much more one coordinate tells of a factor than any other.

    Mutual information is estimated as in Locatello et al. (2019), with each coordinate cut into 20 bins of equal width; or
    into as many as the factor has classes, where it has more, since 20 bins cannot tell 40 classes apart.

    Args:
        codes: (n, m).
        factors: class numbers (n, f).

    Returns:
        the gap over the factor's entropy, from 0 to 1, averaged over the factors; 0 for codes that tell nothing.
    """
    gaps = []
    for column in factors.T:
        bins = max(BINS, len(np.unique(column)))
        told = [mutual_info_score(column, _cut(coordinate, bins)) for coordinate in codes.T]
        gaps.append(_gap(told, 0.0) / mutual_info_score(column, column))
    return float(np.mean(gaps))


def sap(codes: np.ndarray, targets: Sequence[np.ndarray]) -> float:
    """Separate attribute predictability (Kumar et al. 2018, Sec. 3): the gap between the two best single predictors.

    A coordinate's score is the squared correlation with a number, with a circle the share of its variance that the angle's
    sine and cosine explain, and for a category the balanced accuracy of the thresholds on it that a decision tree of as
    many leaves as there are classes finds.

    Args:
        codes: (n, m).
        targets: one per factor: int (n,) for a category, float (n,) for a number, float (n, 2) for a circle.

    Returns:
        the gap averaged over the factors: 0 for codes that tell nothing, at most 1, or 1 - 1/K for a category of K classes.
    """
    gaps = []
    for target in targets:
        category = np.issubdtype(target.dtype, np.integer)
        nothing = 1 / len(np.unique(target)) if category else 0.0
        gaps.append(
            _gap(_thresholds(codes, target) if category else _explained(codes, target), nothing)
        )
    return float(np.mean(gaps))


def importances(
    train: np.ndarray,
    train_targets: Sequence[np.ndarray],
    test: np.ndarray,
    test_targets: Sequence[np.ndarray],
    seed: int,
) -> tuple[np.ndarray, float]:
    """Predicts each factor from the code (Eastwood & Williams 2018, Sec. 2) with a random forest, one of their two choices.

    Args:
        train: codes (n, m) to learn from, of which the first 4,000 are taken.
        train_targets: their factors, as in `sap`.
        test: codes to score on.
        test_targets: their factors.
        seed: of the forests.

    Returns:
        the importance of each coordinate for each factor, (m, f), each column summing to 1 unless nothing was important;
        and the informativeness: R2 of a number or a circle, for a category the balanced accuracy rescaled so that chance is
        0, averaged over the factors. 1 is perfect; codes that tell nothing are at 0 or a little below.
    """
    columns, scores = [], []
    for target, held_out in zip(train_targets, test_targets, strict=True):
        # max_features: were coordinates held back from a split, one that tells nothing would be used where none better is left.
        options = {
            "n_estimators": TREES,
            "min_samples_leaf": LEAF,
            "max_features": None,
            "random_state": seed % 2**32,
        }
        category = np.issubdtype(target.dtype, np.integer)
        model = (RandomForestClassifier if category else RandomForestRegressor)(**options).fit(
            train[:LEARNT], target[:LEARNT]
        )
        columns.append(model.feature_importances_)
        read = model.predict(test)
        scores.append(
            balanced_accuracy_score(held_out, read, adjusted=True)
            if category
            else r2_score(held_out, read)
        )
    return np.stack(columns, 1), float(np.mean(scores))


def disentanglement(importance: np.ndarray) -> float:
    """Disentanglement of importances (m, f): 1 where each coordinate matters to one factor, 0 where to all alike.

    Eastwood & Williams (2018), Sec. 2: one minus the entropy of a coordinate's importances to base f, averaged with
    the coordinates' shares of all importance as weights.
    """
    used = importance[importance.sum(1) > 0]
    if not len(used):
        return 0.0
    return float(
        np.average(1 - entropy(used, base=importance.shape[1], axis=1), weights=used.sum(1))
    )


def completeness(importance: np.ndarray) -> float:
    """Completeness of importances (m, f): 1 where each factor needs one coordinate, 0 where it needs all alike.

    Eastwood & Williams (2018), Sec. 2: one minus the entropy of a factor's importances to base m, averaged over the
    factors; a factor to which nothing is important counts 0, and a code of one coordinate is complete.
    """
    needed = importance[:, importance.sum(0) > 0]
    if not needed.size:
        return 0.0
    spread = entropy(needed, axis=0) / max(np.log(len(importance)), np.finfo(float).tiny)
    return float(np.sum(1 - spread) / importance.shape[1])


def _gap(scores: Sequence[float] | np.ndarray, nothing: float) -> float:
    """Returns the best score less the second best; a code of one coordinate competes with one that tells nothing."""
    second, best = np.sort([nothing, *scores] if len(scores) == 1 else scores)[-2:]
    return float(best - second)


def _cut(coordinate: np.ndarray, bins: int) -> np.ndarray:
    """Returns which of `bins` bins of equal width each value is in."""
    low, high = coordinate.min(), coordinate.max()
    if high == low:
        return np.zeros(len(coordinate), np.int64)
    return np.minimum((coordinate - low) / (high - low) * bins, bins - 1).astype(np.int64)


def _thresholds(codes: np.ndarray, target: np.ndarray) -> list[float]:
    tree = DecisionTreeClassifier(
        max_leaf_nodes=len(np.unique(target)), class_weight="balanced", random_state=0
    )
    columns = [coordinate[:, None] for coordinate in codes.T]
    return [
        float(balanced_accuracy_score(target, tree.fit(column, target).predict(column)))
        for column in columns
    ]


def _explained(codes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the share of each coordinate's variance that a linear function of the target explains, (m,)."""
    columns = target.reshape(len(target), -1)
    columns, centred = columns - columns.mean(0), codes - codes.mean(0)
    fitted = columns @ np.linalg.lstsq(columns, centred, rcond=None)[0]
    total = np.square(centred).sum(0)
    return np.divide(np.square(fitted).sum(0), total, out=np.zeros(len(total)), where=total > 0)
