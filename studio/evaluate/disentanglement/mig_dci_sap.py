"""The MIG, DCI and SAP disentanglement scores, as functions of codes and factors.

They measure whether each factor is encoded in a separate coordinate.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import balanced_accuracy_score, mutual_info_score, r2_score
from sklearn.tree import DecisionTreeClassifier

__all__ = ["completeness", "disentanglement", "importances", "mig", "sap"]

BINS = 20  # as in Locatello et al. (2019)
TREES, LEAF = 20, 5
# Training codes of a forest. Twice as many change disentanglement by 0.004 and take twice the time.
TRAINING_CODES = 4_000


def mig(codes: np.ndarray, factors: np.ndarray) -> float:
    """Returns the mutual information gap (Chen et al. 2018, Eq. 6).

    It is the difference between the two coordinates with the highest mutual information with a
    factor. Mutual information is estimated as in Locatello et al. (2019), with each coordinate
    divided into 20 bins of equal width. If a factor has more classes than that, there are as many
    bins as classes, because 20 bins cannot represent 40 classes.

    Args:
        codes: (n, m).
        factors: class numbers (n, f).

    Returns:
        the gap divided by the factor's entropy, from 0 to 1, averaged over the factors. It is 0 for
        codes without information.
    """
    gaps = []
    for column in factors.T:
        bins = max(BINS, len(np.unique(column)))
        information = [
            mutual_info_score(column, _bin_numbers(coordinate, bins)) for coordinate in codes.T
        ]
        gaps.append(_gap(information, 0.0) / mutual_info_score(column, column))
    return float(np.mean(gaps))


def sap(codes: np.ndarray, targets: Sequence[np.ndarray]) -> float:
    """Returns the separate attribute predictability (Kumar et al. 2018, Sec. 3).

    It is the difference between the scores of the two coordinates that predict a factor best. For a
    number, the score of a coordinate is the squared correlation. For a circle, it is the share of
    the coordinate's variance that the sine and cosine of the angle explain. For a category, it is
    the balanced accuracy of a decision tree on the coordinate with as many leaves as there are
    classes.

    Args:
        codes: (n, m).
        targets: one per factor: int (n,) for a category, float (n,) for a number, float (n, 2) for
            a circle.

    Returns:
        the gap averaged over the factors. It is 0 for codes without information, and at most 1, or
        1 - 1/K for a category of K classes.
    """
    gaps = []
    for target in targets:
        category = np.issubdtype(target.dtype, np.integer)
        chance = 1 / len(np.unique(target)) if category else 0.0
        gaps.append(
            _gap(
                _threshold_accuracies(codes, target)
                if category
                else _explained_variance(codes, target),
                chance,
            )
        )
    return float(np.mean(gaps))


def importances(
    train: np.ndarray,
    train_targets: Sequence[np.ndarray],
    test: np.ndarray,
    test_targets: Sequence[np.ndarray],
    seed: int,
) -> tuple[np.ndarray, float]:
    """Predicts each factor from the code by a random forest (Eastwood & Williams 2018, Sec. 2).

    The random forest is one of their two choices.

    Args:
        train: training codes (n, m). The first 4,000 are used.
        train_targets: their factors, as in `sap`.
        test: test codes.
        test_targets: their factors.
        seed: of the forests.

    Returns:
        the importance of each coordinate for each factor, (m, f), and the informativeness, averaged
        over the factors. Each column of the importances sums to 1 unless no coordinate was
        important. The informativeness of a number or a circle is R2. That of a category is the
        balanced accuracy, rescaled so that chance is 0. 1 is perfect. Codes without information are
        at 0 or slightly below.
    """
    columns, scores = [], []
    for target, held_out in zip(train_targets, test_targets, strict=True):
        # max_features: with feature subsampling, a tree would split on an uninformative
        # coordinate whenever no informative one was drawn.
        options = {
            "n_estimators": TREES,
            "min_samples_leaf": LEAF,
            "max_features": None,
            "random_state": seed % 2**32,
        }
        category = np.issubdtype(target.dtype, np.integer)
        model = (RandomForestClassifier if category else RandomForestRegressor)(**options).fit(
            train[:TRAINING_CODES], target[:TRAINING_CODES]
        )
        columns.append(model.feature_importances_)
        predicted = model.predict(test)
        scores.append(
            balanced_accuracy_score(held_out, predicted, adjusted=True)
            if category
            else r2_score(held_out, predicted)
        )
    return np.stack(columns, 1), float(np.mean(scores))


def disentanglement(importance: np.ndarray) -> float:
    """Returns the disentanglement of importances (m, f).

    It is 1 if each coordinate is important for one factor, and 0 if each is equally important for
    all. Eastwood & Williams (2018), Sec. 2: one minus the entropy of a coordinate's importances to
    base f, averaged over the coordinates. The weights are the coordinates' shares of the total
    importance.
    """
    used = importance[importance.sum(1) > 0]
    if not len(used):
        return 0.0
    return float(
        np.average(1 - entropy(used, base=importance.shape[1], axis=1), weights=used.sum(1))
    )


def completeness(importance: np.ndarray) -> float:
    """Returns the completeness of importances (m, f).

    It is 1 if each factor depends on one coordinate, and 0 if each depends equally on all. Eastwood
    & Williams (2018), Sec. 2: one minus the entropy of a factor's importances to base m, averaged
    over the factors. A factor without any important coordinate counts as 0. A code of one
    coordinate is complete.
    """
    needed = importance[:, importance.sum(0) > 0]
    if not needed.size:
        return 0.0
    spread = entropy(needed, axis=0) / max(np.log(len(importance)), np.finfo(float).tiny)
    return float(np.sum(1 - spread) / importance.shape[1])


def _gap(scores: Sequence[float] | np.ndarray, chance: float) -> float:
    """Returns the best score minus the second best. The rival of a single coordinate is chance."""
    second, best = np.sort([chance, *scores] if len(scores) == 1 else scores)[-2:]
    return float(best - second)


def _bin_numbers(coordinate: np.ndarray, bins: int) -> np.ndarray:
    """Returns the number of the bin of each value (n,), for `bins` bins of equal width."""
    low, high = coordinate.min(), coordinate.max()
    if high == low:
        return np.zeros(len(coordinate), np.int64)
    return np.minimum((coordinate - low) / (high - low) * bins, bins - 1).astype(np.int64)


def _threshold_accuracies(codes: np.ndarray, target: np.ndarray) -> list[float]:
    tree = DecisionTreeClassifier(
        max_leaf_nodes=len(np.unique(target)), class_weight="balanced", random_state=0
    )
    columns = [coordinate[:, None] for coordinate in codes.T]
    return [
        float(balanced_accuracy_score(target, tree.fit(column, target).predict(column)))
        for column in columns
    ]


def _explained_variance(codes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the share of each coordinate's variance that is linear in the target, (m,)."""
    columns = target.reshape(len(target), -1)
    columns, centred = columns - columns.mean(0), codes - codes.mean(0)
    fitted = columns @ np.linalg.lstsq(columns, centred, rcond=None)[0]
    total = np.square(centred).sum(0)
    return np.divide(np.square(fitted).sum(0), total, out=np.zeros(len(total)), where=total > 0)
