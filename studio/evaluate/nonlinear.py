"""The non-linear reader: can an attribute be predicted from a code by any small model?

A linear model cannot see background codes around 0 inside a cloud of target codes. On real chest
X-rays it reads the domain from the salient code with a balanced accuracy near 0.6, where a small
network reads 0.9. A leak is what any reader finds, so every row of a probe has this reader as well.
"""

from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from studio.data import Attribute
from studio.evaluate.probe_models import (
    FOLDS,
    Examples,
    Reading,
    fit_and_bootstrap,
    fit_model,
    make_folds,
    score_model,
)

__all__ = ["FEWEST", "cross_validate_nonlinear", "fit_nonlinear"]

FEWEST = 50  # training images, below which neither model can be trusted
HIDDEN = 64  # units of the network
NEIGHBOURS = 15
HELD_BACK = 5  # one in this many training images chooses between the two models
MOST = 10_000  # training images of the network and the neighbours, drawn at random beyond that


def fit_nonlinear(
    attribute: Attribute, train: Examples, test: Examples, headline: str, seed: int
) -> Reading:
    """Fits a small network and a vote of neighbours, and scores the better of both.

    The network has one hidden layer of 64 units with ReLU, a weight decay of 0.01 and stops early.
    The other model takes a vote (or the mean, for a number) of the 15 nearest neighbours. Codes are
    standardised, and classes are resampled to equal sizes. A fifth of the training images decides
    which of the two models is scored, so that the choice does not see the test images.

    Args:
        attribute: the attribute.
        train: codes (n, d) and values (n,) to fit on, at least `FEWEST`.
        test: codes and values to score on.
        headline: the metric that decides and that has a standard error.
        seed: of all random draws.

    Returns:
        the reading of the chosen model. `Reading.model` names it.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train.values))[: MOST * HELD_BACK // (HELD_BACK - 1)]
    held = len(order) // HELD_BACK
    choose = Examples(train.codes[order[:held]], train.values[order[:held]])
    fit = _balance(attribute, train, order[held:], rng)
    best: tuple[float, str, Any] | None = None
    for name, model in _models(attribute, len(fit.values), seed).items():
        fitted, _ = fit_model(model, *fit)
        score = score_model(attribute, fitted, *choose)[headline]
        if score is not None and (best is None or score > best[0]):
            best = (score, name, fitted)
    assert best is not None  # a fifth of the images has both classes, or the caller's check failed
    reading = fit_and_bootstrap(best[2], attribute, None, test, headline, seed)
    reading.model = best[1]
    return reading


def cross_validate_nonlinear(
    attribute: Attribute, train: Examples, test: Examples, headline: str, seed: int
) -> Reading:
    """Cross-validates `fit_nonlinear` within the test examples, as `cross_validate_linear` does."""
    codes, values = test
    readings = [
        fit_nonlinear(
            attribute,
            Examples(codes[fit], values[fit]),
            Examples(codes[held], values[held]),
            headline,
            seed,
        )
        for fit, held in make_folds(attribute).split(codes, values)
    ]
    scores = [reading.scores[headline] for reading in readings]
    mean = None if None in scores else float(np.mean(np.array(scores, float)))
    error = 0.0 if mean is None else float(np.std(np.array(scores, float), ddof=1) / FOLDS**0.5)
    names = {str(reading.model) for reading in readings}
    return Reading({headline: mean}, error, None, " or ".join(sorted(names)))


def _models(attribute: Attribute, n: int, seed: int) -> dict[str, Any]:
    # At least fifty steps per epoch. scikit-learn types the batch size as text.
    network: dict[str, Any] = {
        "hidden_layer_sizes": (HIDDEN,),
        "alpha": 1e-2,
        "batch_size": int(np.clip(n // 50, 8, 200)),
        "learning_rate_init": 3e-3,
        "max_iter": 60,
        "early_stopping": True,
        "n_iter_no_change": 10,
        "random_state": seed,
    }
    # A search tree would be slower than comparing all codes, which have many coordinates.
    neighbours, search = min(NEIGHBOURS, n), "brute"
    if attribute.classes:
        models = MLPClassifier(**network), KNeighborsClassifier(neighbours, algorithm=search)
    else:
        scaled = TransformedTargetRegressor(MLPRegressor(**network), transformer=StandardScaler())
        models = scaled, KNeighborsRegressor(neighbours, algorithm=search)
    names = f"a network of {HIDDEN} hidden units", f"the {neighbours} nearest neighbours"
    return {
        name: make_pipeline(StandardScaler(), model)
        for name, model in zip(names, models, strict=True)
    }


def _balance(
    attribute: Attribute, train: Examples, rows: np.ndarray, rng: np.random.Generator
) -> Examples:
    """Returns training rows in which every class has as many rows as the largest one."""
    if attribute.classes:
        values = train.values[rows]
        size = int(np.bincount(values).max())
        rows = np.concatenate(
            [
                np.concatenate([own, rng.choice(own, size - len(own))])
                for own in (rows[values == kind] for kind in np.unique(values))
            ]
        )
        rows = rng.permutation(rows)[:MOST]
    return Examples(train.codes[rows], train.values[rows])
