"""Models that predict an attribute from codes, with their metrics and standard errors.

Every probe model takes arrays and returns a Reading.
"""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

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
    "Examples",
    "ProbeModel",
    "Reading",
    "auc_error",
    "balanced_accuracy",
    "cross_validate_linear",
    "fit_and_bootstrap",
    "fit_least_squares",
    "fit_linear",
    "fit_model",
    "fit_two_layers",
    "make_folds",
    "score_logits",
    "score_model",
]

FOLDS = 5
RESAMPLES = 200  # of the bootstrap
WIDTH = 32  # hidden units of the two layers, at least
Score = float | None  # None where a metric is undefined, e.g. the AUC of a single class


class Examples(NamedTuple):
    """Codes (n, d) of images and the values (n,) of one attribute on them."""

    codes: np.ndarray
    values: np.ndarray


@dataclass
class Reading:
    """How well a model predicts one attribute from one space.

    Attributes:
        scores: metric -> value.
        error: standard error of the headline metric.
        converged: whether every fit converged. None where nothing was fitted.
        model: name of the model, where there is a choice.
        recalls: class -> share of its test images that are recognised. None for numbers, and where
            there is no single model.
    """

    scores: dict[str, Score]
    error: float
    converged: bool | None
    model: str | None = None
    recalls: dict[str, float] | None = None


class ProbeModel(Protocol):
    """Fits on training examples and scores on test examples."""

    def __call__(
        self, attribute: Attribute, train: Examples, test: Examples, headline: str, seed: int
    ) -> Reading:
        """Predicts an attribute. `Reading.error` is the standard error of the metric `headline`."""
        ...


def fit_linear(
    attribute: Attribute, train: Examples, test: Examples, headline: str, seed: int
) -> Reading:
    """Fits a linear model on standardised codes: logistic regression, or ridge for numbers.

    The standard error comes from a bootstrap over the test images.
    """
    model = _linear_model(attribute, standardise=True)
    return fit_and_bootstrap(model, attribute, train, test, headline, seed)


def fit_least_squares(
    attribute: Attribute, train: Examples, test: Examples, headline: str, seed: int
) -> Reading:
    """As `fit_linear`, with ordinary least squares for numbers: Louiset et al. (2024), App. D."""
    if attribute.classes:
        model = _linear_model(attribute, standardise=True)
    else:
        model = make_pipeline(StandardScaler(), LinearRegression())
    return fit_and_bootstrap(model, attribute, train, test, headline, seed)


def cross_validate_linear(
    attribute: Attribute, train: Examples, test: Examples, headline: str, seed: int
) -> Reading:
    """Cross-validates a linear model of raw codes within the test examples.

    The standard error is that of the mean over the folds. Training examples are not used.
    """
    codes, values = test
    scores, converged = [], True
    for fit, held in make_folds(attribute).split(codes, values):
        model = _linear_model(attribute, standardise=False)
        model, done = fit_model(model, codes[fit], values[fit])
        converged &= done
        scores.append(score_model(attribute, model, codes[held], values[held]))
    means: dict[str, Score] = {
        name: float(np.mean([s[name] for s in scores]))
        for name in scores[0]
        if None not in [s[name] for s in scores]
    }
    error = float(np.std([s[headline] for s in scores], ddof=1) / np.sqrt(FOLDS))
    return Reading(means, error, converged)


def make_folds(attribute: Attribute) -> StratifiedKFold | KFold:
    """Returns the folds of the cross-validation, stratified for categories."""
    return StratifiedKFold(FOLDS) if attribute.classes else KFold(FOLDS)


def fit_two_layers(
    attribute: Attribute, train: Examples, test: Examples, headline: str, seed: int
) -> Reading:
    """Fits two linear layers with a ReLU between them on standardised codes of two classes.

    Louiset et al. (2024), App. D: "a 2 layers MLPs is independently trained". In their code it is
    as wide as the code. Here it is at least 32 wide and takes at least fifty steps per epoch if
    there are enough images. It stops once its score on a tenth of the training codes, held back
    for this purpose, has not improved for twenty epochs. With scikit-learn's default batch size,
    learning rate and patience, a net with few inputs or few images stops before it has learnt
    anything, and a leak would go unnoticed.

    The standard error is that of the AUC.
    """
    # scikit-learn types the batch size as text, because "auto" is its default.
    batch: Any = int(np.clip(len(train.values) // 50, 8, 200))
    net = MLPClassifier(
        (max(WIDTH, train.codes.shape[1]),),
        batch_size=batch,
        learning_rate_init=3e-3,
        early_stopping=True,
        n_iter_no_change=20,
        random_state=seed,
    )
    model, converged = fit_model(make_pipeline(StandardScaler(), net), *train)
    scores = score_model(attribute, model, *test)
    error = auc_error(test.values, model.predict_proba(test.codes)[:, 1])
    return Reading(scores, error, converged)


def score_logits(logits: np.ndarray, values: np.ndarray) -> Reading:
    """Scores a classifier of two classes that the method has trained. Nothing is fitted.

    Args:
        logits: of class 1, (n,).
        values: classes (n,), 0 or 1.
    """
    predicted = (logits > 0).astype(values.dtype)
    scores: dict[str, Score] = {
        "auc": float(roc_auc_score(values, logits)),
        "accuracy": float(accuracy_score(values, predicted)),
        "balanced_accuracy": balanced_accuracy(values, predicted),
    }
    return Reading(scores, auc_error(values, logits), None)


def _linear_model(attribute: Attribute, standardise: bool) -> Pipeline:
    if attribute.classes:
        last = LogisticRegression(max_iter=1000)
    else:
        last = RidgeCV(alphas=np.logspace(-3, 3, 7))
    return make_pipeline(*([StandardScaler()] if standardise else []), last)


def fit_and_bootstrap(
    model: Pipeline,
    attribute: Attribute,
    train: Examples | None,
    test: Examples,
    headline: str,
    seed: int,
) -> Reading:
    """Fits a model, scores it, and estimates the standard error by a bootstrap over test images.

    Args:
        model: a scikit-learn model.
        attribute: the attribute that it predicts.
        train: the examples to fit on. None if the model is fitted already.
        test: the examples to score on.
        headline: the metric with a standard error.
        seed: of the bootstrap.
    """
    converged = None
    if train is not None:
        model, converged = fit_model(model, *train)
    prediction = _predict(attribute, model, test.codes)
    scores, predicted = _score(prediction, test.values), prediction.values
    recalls = _recalls(attribute, test.values, predicted)
    rng = np.random.default_rng(seed)
    if headline == "auc":
        assert prediction.probabilities is not None  # only classes have an AUC
        error = auc_error(test.values, prediction.probabilities[:, 1])
        return Reading(scores, error, converged, recalls=recalls)
    metric = {
        "r2": r2_score,
        "balanced_accuracy": balanced_accuracy,
        "accuracy": lambda values, predicted: np.mean(values == predicted),
    }[headline]
    n = len(test.values)
    resamples = (rng.integers(n, size=n) for _ in range(RESAMPLES))
    resampled = [metric(test.values[rows], predicted[rows]) for rows in resamples]
    return Reading(scores, float(np.std(resampled)), converged, recalls=recalls)


def fit_model(model: Pipeline, codes: np.ndarray, values: np.ndarray) -> tuple[Pipeline, bool]:
    """Fits a model on codes (n, d) and values (n,). Returns it, and whether the fit converged."""
    # One thread, because these matrices are small and BLAS threads spend more time waiting for
    # each other than computing.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(codes.astype(np.float64), values)
    return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def score_model(
    attribute: Attribute, model: Pipeline, codes: np.ndarray, values: np.ndarray
) -> dict[str, Score]:
    """Returns metric -> score of a fitted model on codes (n, d) with values (n,)."""
    return _score(_predict(attribute, model, codes), values)


class _Prediction(NamedTuple):
    """Predicted values (n,), and for classes their probabilities (n, k) in the order `classes`."""

    values: np.ndarray
    probabilities: np.ndarray | None = None
    classes: np.ndarray | None = None


def _predict(attribute: Attribute, model: Pipeline, codes: np.ndarray) -> _Prediction:
    # Once for all metrics, because the nearest neighbours take seconds.
    if not attribute.classes:
        return _Prediction(model.predict(codes))
    probabilities = model.predict_proba(codes)
    return _Prediction(model.classes_[probabilities.argmax(1)], probabilities, model.classes_)


def _score(prediction: _Prediction, values: np.ndarray) -> dict[str, Score]:
    predicted, probabilities, classes = prediction
    if probabilities is None or classes is None:
        return {
            "r2": r2_score(values, predicted),
            "mae": mean_absolute_error(values, predicted),
        }
    return {
        "balanced_accuracy": balanced_accuracy(values, predicted),
        "accuracy": accuracy_score(values, predicted),
        "auc": _auc(values, probabilities, classes),
    }


def _recalls(
    attribute: Attribute, values: np.ndarray, predicted: np.ndarray
) -> dict[str, float] | None:
    """Returns the recall of each class that occurs, by name: Choudhuri et al. (2019), Table 2."""
    if not attribute.classes:
        return None
    return {
        attribute.classes[value]: float(np.mean(predicted[values == value] == value))
        for value in np.unique(values)
    }


def balanced_accuracy(values: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the mean recall of the classes that occur in `values`.

    The result is that of scikit-learn, computed fast enough for a bootstrap.
    """
    members = np.bincount(values)
    hits = np.bincount(values[values == predicted], minlength=len(members))
    return float(np.mean(hits[members > 0] / members[members > 0]))


def _auc(values: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Score:
    """Returns the AUC of one class against the rest, averaged over the classes that occur.

    None if only one class occurs.
    """
    present = [i for i, c in enumerate(classes) if 0 < np.sum(values == c) < len(values)]
    if len(classes) == 2:
        present = present[-1:]
    if not present:
        return None
    areas = [roc_auc_score(values == classes[i], probabilities[:, i]) for i in present]
    return float(np.mean(areas))


def auc_error(values: np.ndarray, score: np.ndarray) -> float:
    """Returns the standard error of the AUC of scores (n,) for classes (n,) of 0 and 1.

    DeLong, DeLong and Clarke-Pearson (1988). The placement of an item is the share of the other
    class that it outscores. Ties count one half. The placements are computed from ranks, and
    their variances over the items of each class add up. A class of one item adds no variance.
    """
    ranks = rankdata(score)
    variance = 0.0
    for kind in (0, 1):
        own, others = values == kind, np.sum(values != kind)
        placements = (ranks[own] - rankdata(score[own])) / others
        variance += np.var(placements, ddof=1) / own.sum() if own.sum() > 1 else 0.0
    return float(np.sqrt(variance))
