"""What reads an attribute from codes: models, metrics, standard errors. Arrays in, a Reading out."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from studio.data import Attribute

__all__ = [
    "FOLDS",
    "Reader",
    "Reading",
    "balanced",
    "folded",
    "held_out",
    "least_squares",
    "read_by_logits",
    "two_layers",
]

FOLDS = 5
RESAMPLES = 200
WIDTH = 32  # of the two layers, at least
Score = float | None  # None where it is not defined, e.g. the AUC of one class


@dataclass
class Reading:
    """How well one attribute is read from one space.

    Attributes:
        scores: metric -> value.
        error: standard error of the headline.
        converged: whether every fit did; None where nothing was fitted.
    """

    scores: dict[str, Score]
    error: float
    converged: bool | None


class Reader(Protocol):
    """Fits on training codes a (n, d) with values x (n,), scores on test codes b (m, d) with values y (m,)."""

    def __call__(
        self,
        attribute: Attribute,
        a: np.ndarray,
        x: np.ndarray,
        b: np.ndarray,
        y: np.ndarray,
        headline: str,
        seed: int,
    ) -> Reading:
        """Reads an attribute; `error` is the standard error of the metric `headline`."""
        ...


def held_out(
    attribute: Attribute,
    a: np.ndarray,
    x: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    headline: str,
    seed: int,
) -> Reading:
    """A linear model of standardised codes (a ridge for numbers); the standard error is a bootstrap's over the test images."""
    return _linear(
        _linear_model(attribute, standardise=True), attribute, a, x, b, y, headline, seed
    )


def least_squares(
    attribute: Attribute,
    a: np.ndarray,
    x: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    headline: str,
    seed: int,
) -> Reading:
    """As `held_out`, with plain linear regression for numbers: Louiset et al. (2024), App. D."""
    model = None if attribute.classes else make_pipeline(StandardScaler(), LinearRegression())
    return _linear(
        model or _linear_model(attribute, standardise=True), attribute, a, x, b, y, headline, seed
    )


def _linear(
    model: Pipeline,
    attribute: Attribute,
    a: np.ndarray,
    x: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    headline: str,
    seed: int,
) -> Reading:
    model, converged = _fit(model, a, x)
    scores: dict[str, Score] = {
        name: metric(b, y) for name, metric in _metrics(attribute, model).items()
    }
    rng, read = np.random.default_rng(seed), model.predict(b)
    point = {
        "r2": r2_score,
        "balanced_accuracy": balanced,
        "accuracy": lambda y, read: np.mean(y == read),
    }[headline]
    resamples = (rng.integers(len(y), size=len(y)) for _ in range(RESAMPLES))
    return Reading(
        scores, float(np.std([point(y[rows], read[rows]) for rows in resamples])), converged
    )


def folded(
    attribute: Attribute,
    a: np.ndarray,
    x: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    headline: str,
    seed: int,
) -> Reading:
    """A linear model of raw codes, cross-validated inside (b, y); the standard error is that of the folds' mean."""
    folds = StratifiedKFold(FOLDS) if attribute.classes else KFold(FOLDS)
    scores, converged = [], True
    for fit, held in folds.split(b, y):
        model, done = _fit(_linear_model(attribute, standardise=False), b[fit], y[fit])
        converged &= done
        scores.append(
            {name: metric(b[held], y[held]) for name, metric in _metrics(attribute, model).items()}
        )
    means: dict[str, Score] = {
        name: float(np.mean([s[name] for s in scores]))
        for name in scores[0]
        if None not in [s[name] for s in scores]
    }
    return Reading(
        means, float(np.std([s[headline] for s in scores], ddof=1) / np.sqrt(FOLDS)), converged
    )


def two_layers(
    attribute: Attribute,
    a: np.ndarray,
    x: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    headline: str,
    seed: int,
) -> Reading:
    """Two linear layers with a ReLU between, on standardised codes of two classes; the standard error is that of the AUC.

    Louiset et al. (2024), App. D: "a 2 layers MLPs is independently trained"; in their code as wide as the code. Here at
    least 32 wide, in at least fifty steps an epoch where there are images for it, until a tenth of the training codes, held
    back, is read no better for twenty epochs: with scikit-learn's own batch, rate and patience a net of few inputs or few
    images stops before it has learnt anything, and would call a leak unreadable.
    """
    batch: Any = int(
        np.clip(len(x) // 50, 8, 200)
    )  # typed as text in scikit-learn, where "auto" is the default
    net = MLPClassifier(
        (max(WIDTH, a.shape[1]),),
        batch_size=batch,
        learning_rate_init=3e-3,
        early_stopping=True,
        n_iter_no_change=20,
        random_state=seed,
    )
    model, converged = _fit(make_pipeline(StandardScaler(), net), a, x)
    scores: dict[str, Score] = {
        name: metric(b, y) for name, metric in _metrics(attribute, model).items()
    }
    return Reading(scores, _auc_error(y, model.predict_proba(b)[:, 1]), converged)


def read_by_logits(logits: np.ndarray, y: np.ndarray) -> Reading:
    """Scores a classifier of two classes that was trained elsewhere: logits (m,), classes y (m,); nothing is fitted."""
    read = (logits > 0).astype(y.dtype)
    scores: dict[str, Score] = {
        "auc": float(roc_auc_score(y, logits)),
        "accuracy": float(accuracy_score(y, read)),
        "balanced_accuracy": balanced(y, read),
    }
    return Reading(scores, _auc_error(y, logits), None)


def _linear_model(attribute: Attribute, standardise: bool) -> Pipeline:
    last = (
        LogisticRegression(max_iter=1000)
        if attribute.classes
        else RidgeCV(alphas=np.logspace(-3, 3, 7))
    )
    return make_pipeline(*([StandardScaler()] if standardise else []), last)


def _fit(model: Pipeline, features: np.ndarray, values: np.ndarray) -> tuple[Pipeline, bool]:
    # One thread: these matrices are small, and BLAS threads that wait for each other cost more than they bring.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features.astype(np.float64), values)
    return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _metrics(
    attribute: Attribute, model: Pipeline
) -> dict[str, Callable[[np.ndarray, np.ndarray], Score]]:
    if not attribute.classes:
        return {
            "r2": lambda b, y: r2_score(y, model.predict(b)),
            "mae": lambda b, y: mean_absolute_error(y, model.predict(b)),
        }
    return {
        "balanced_accuracy": lambda b, y: balanced(y, model.predict(b)),
        "accuracy": lambda b, y: accuracy_score(y, model.predict(b)),
        "auc": lambda b, y: _auc(y, model.predict_proba(b), model.classes_),
    }


def balanced(y: np.ndarray, read: np.ndarray) -> float:
    """Balanced accuracy, the mean recall of the classes that occur in y; scikit-learn's, but fast enough to resample."""
    members = np.bincount(y)
    hits = np.bincount(y[y == read], minlength=len(members))
    return float(np.mean(hits[members > 0] / members[members > 0]))


def _auc(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Score:
    """One class against the rest, averaged over the classes that occur; None where there is but one."""
    present = [i for i, c in enumerate(classes) if 0 < np.sum(y == c) < len(y)]
    if len(classes) == 2:
        present = present[-1:]
    return (
        float(np.mean([roc_auc_score(y == classes[i], probabilities[:, i]) for i in present]))
        if present
        else None
    )


def _auc_error(y: np.ndarray, score: np.ndarray) -> float:
    """Standard error of the AUC of scores (n,) for classes y (n,) of 0 and 1; ties count one half.

    DeLong, DeLong and Clarke-Pearson (1988), with their placements taken from ranks: which share of the other class an item
    beats, and how much that varies over the items. An item alone in its class adds no variance.
    """
    ranks = rankdata(score)
    variance = 0.0
    for kind in (0, 1):
        own, others = y == kind, np.sum(y != kind)
        placements = (ranks[own] - rankdata(score[own])) / others
        variance += np.var(placements, ddof=1) / own.sum() if own.sum() > 1 else 0.0
    return float(np.sqrt(variance))
