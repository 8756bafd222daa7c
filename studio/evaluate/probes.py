"""Linear probes: which attribute can be read from which code?

A data set declares for every attribute where it belongs; a clean split reads it there and not elsewhere. Everything is
measured in eval mode (no noise, running statistics) unless the published regime is asked for.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from studio.data import Attribute, Dataset
from studio.data.dataset import Split
from studio.evaluate.regime import encode_as_authors
from studio.method import DOMAINS, Code, Domain, Method
from studio.sampling import encode

__all__ = ["PROTOCOLS", "Codes", "codes", "probe"]

Protocol = Literal["held-out", "carton"]
PROTOCOLS: tuple[Protocol, ...] = ("held-out", "carton")
SPACES = ("salient", "common", "whole")
LIMIT = 5_000  # images per split and domain; a linear probe on some 100 numbers needs no more
FOLDS = 5
RESAMPLES = 200


@dataclass
class Codes:
    """Codes of some images and what is known of them.

    Attributes:
        spaces: "salient" (n, m), "common" (n, k), "whole" (n, k + m).
        values: attribute -> (n,) class numbers or floats; -1 or NaN where unknown.
    """

    spaces: dict[str, np.ndarray]
    values: dict[str, np.ndarray]

    def known(self, name: str) -> "Codes":
        """Returns the rows that have a value of an attribute."""
        value = self.values[name]
        rows = np.isfinite(value) & ~((value == -1) & np.issubdtype(value.dtype, np.integer))
        return Codes({k: v[rows] for k, v in self.spaces.items()}, {name: value[rows]})


def codes(
    method: Method,
    dataset: Dataset,
    split: Split,
    domains: Sequence[Domain] = DOMAINS,
    limit: int = LIMIT,
    regime: str = "clean",
    seed: int = 0,
) -> Codes:
    """Encodes the first `limit` images of each domain of a split; `values["target"]` tells the domains apart."""
    indices = {domain: np.arange(min(limit, dataset.size(split, domain))) for domain in DOMAINS}
    if regime == "authors":  # mixes the domains in its batches, so both are needed
        read = encode_as_authors(method, dataset, split, indices, seed)
    else:
        read = {domain: _clean(method, dataset, split, domain, indices[domain]) for domain in domains}
    values = []
    for domain in domains:
        labels = {name: value[indices[domain]] for name, value in dataset.labels(split, domain).items()}
        values.append({**labels, "target": np.full(len(indices[domain]), int(domain == "target"))})
    common = np.concatenate([read[domain].z.numpy() for domain in domains])
    salient = np.concatenate([read[domain].s.numpy() for domain in domains])
    shared = [name for name in values[0] if all(name in v for v in values)]
    spaces = {"salient": salient, "common": common, "whole": np.concatenate([common, salient], 1)}
    return Codes(spaces, {name: np.concatenate([v[name] for v in values]) for name in shared})


def _clean(method: Method, dataset: Dataset, split: Split, domain: Domain, indices: np.ndarray) -> Code:
    chunks = np.array_split(indices, max(1, len(indices) // 1000))
    read = [encode(method, dataset.images(split, domain, chunk)) for chunk in chunks]
    return Code(torch.cat([code.z for code in read]), torch.cat([code.s for code in read]))


def probe(
    method: Method,
    dataset: Dataset,
    protocol: Protocol = "held-out",
    limit: int = LIMIT,
    seed: int = 0,
    regime: str = "clean",
) -> dict[str, Any]:
    """Reads every attribute, and the domain itself, from the salient code, the common code and both together.

    Protocols:
        held-out: standardised features, probe fitted on training codes and scored on test codes. Attributes are read
            on target images, or on both sets where both have them.
        carton: Carton et al. (2024), Sec. 5: logistic regression on raw codes with 5-fold cross-validation inside the
            test split; attributes on target images only; accuracy.

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        protocol: see above.
        limit: images per split and domain.
        seed: of the bootstrap behind the standard errors, and of the authors' noise.
        regime: `clean` (eval mode), or `authors` (noise on and batch statistics, as in the published evaluation).

    Returns:
        `protocol`, `eval`, `n_train`, `n_test` and `rows`, one per attribute as in the README.
    """
    groups: dict[str, Sequence[Domain]] = {"both": DOMAINS, "target": ("target",)}
    test = {name: codes(method, dataset, "test", domains, limit, regime, seed) for name, domains in groups.items()}
    train = test
    if protocol == "held-out":
        train = {name: codes(method, dataset, "train", domains, limit, regime, seed) for name, domains in groups.items()}
    attributes = {**dataset.attributes, "target": Attribute("salient", ("background", "target"))}
    rows = []
    for name, attribute in attributes.items():
        group = "target" if attribute.target_only or (protocol == "carton" and name != "target") else "both"
        rows.append(
            {"attribute": name, "belongs": attribute.belongs}
            | _row(attribute, train[group].known(name), test[group].known(name), protocol, seed, name)
        )
    sizes = [len(group["both"].spaces["common"]) for group in (train, test)]
    return {
        "protocol": protocol,
        "eval": regime,
        "n_train": sizes[0] if protocol == "held-out" else 0,
        "n_test": sizes[1],
        "rows": rows,
    }


def _row(attribute: Attribute, train: Codes, test: Codes, protocol: Protocol, seed: int, name: str) -> dict[str, Any]:
    measure = _held_out if protocol == "held-out" else _folded
    headline = "r2" if not attribute.classes else "balanced_accuracy" if protocol == "held-out" else "accuracy"
    x, y = train.values[name], test.values[name]
    impossible = _impossible(attribute, x, y, protocol)
    if impossible:
        nothing = dict.fromkeys((*SPACES, "chance", "error"))
        return {"metric": headline, **nothing, "n": len(y), "also": {"note": impossible}}
    values: dict[str, Any] = {}
    also: dict[str, Any] = {"n_train": len(x) if protocol == "held-out" else 0}
    for space in SPACES:
        scores, errors, converged = measure(attribute, train.spaces[space], x, test.spaces[space], y, headline, seed)
        values[space] = scores.pop(headline)
        also |= {f"{metric}_{space}": score for metric, score in scores.items()}
        also |= {f"error_{space}": errors, f"converged_{space}": converged}
    chance = 0.0
    if attribute.classes:
        counts = np.bincount(y)
        chance = 1 / np.count_nonzero(counts) if headline == "balanced_accuracy" else counts.max() / counts.sum()
    error = max(also[f"error_{space}"] for space in SPACES)
    return {"metric": headline, **values, "chance": float(chance), "error": error, "n": len(y), "also": also}


def _impossible(attribute: Attribute, x: np.ndarray, y: np.ndarray, protocol: Protocol) -> str:
    """Says why an attribute cannot be probed, or nothing."""
    for split, values in {"training": x, "test": y}.items() if protocol == "held-out" else {"test": y}.items():
        if len(np.unique(values)) < 2:
            found = f"always the same on the {len(values)} {split} images" if len(values) else f"unknown on every {split} image"
            return f"not probed: {found}"
    if protocol == "carton" and (np.bincount(y)[np.unique(y)].min() if attribute.classes else len(y)) < FOLDS:
        return f"not probed: {FOLDS} folds need at least {FOLDS} test images of each class"
    return ""


def _held_out(
    attribute: Attribute, a: np.ndarray, x: np.ndarray, b: np.ndarray, y: np.ndarray, headline: str, seed: int
) -> tuple[dict[str, float | None], float, bool]:
    """Fits on (a, x), scores on (b, y); the standard error is that of a bootstrap over the test images."""
    model, converged = _fit(_model(attribute, standardise=True), a, x)
    metrics = _metrics(attribute, model)
    scores: dict[str, float | None] = {name: metric(b, y) for name, metric in metrics.items()}
    rng, read = np.random.default_rng(seed), model.predict(b)
    point = r2_score if headline == "r2" else _balanced
    resamples = (rng.integers(len(y), size=len(y)) for _ in range(RESAMPLES))
    return scores, float(np.std([point(y[rows], read[rows]) for rows in resamples])), converged


def _folded(
    attribute: Attribute, a: np.ndarray, x: np.ndarray, b: np.ndarray, y: np.ndarray, headline: str, seed: int
) -> tuple[dict[str, float | None], float, bool]:
    """Cross-validates inside (b, y); the standard error is that of the folds' mean."""
    folds = StratifiedKFold(FOLDS) if attribute.classes else KFold(FOLDS)
    scores, converged = [], True
    for fit, held in folds.split(b, y):
        model, done = _fit(_model(attribute, standardise=False), b[fit], y[fit])
        converged &= done
        scores.append({name: metric(b[held], y[held]) for name, metric in _metrics(attribute, model).items()})
    means: dict[str, float | None] = {
        name: float(np.mean([s[name] for s in scores])) for name in scores[0] if None not in [s[name] for s in scores]
    }
    return means, float(np.std([s[headline] for s in scores], ddof=1) / np.sqrt(FOLDS)), converged


def _model(attribute: Attribute, standardise: bool) -> Pipeline:
    last = LogisticRegression(max_iter=1000) if attribute.classes else RidgeCV(alphas=np.logspace(-3, 3, 7))
    return make_pipeline(*([StandardScaler()] if standardise else []), last)


def _fit(model: Pipeline, features: np.ndarray, values: np.ndarray) -> tuple[Pipeline, bool]:
    # One thread: these matrices are small, and BLAS threads that wait for each other cost more than they bring.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features.astype(np.float64), values)
    return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _metrics(attribute: Attribute, model: Pipeline) -> dict[str, Callable[[np.ndarray, np.ndarray], float | None]]:
    if not attribute.classes:
        return {
            "r2": lambda b, y: r2_score(y, model.predict(b)),
            "mae": lambda b, y: mean_absolute_error(y, model.predict(b)),
        }
    return {
        "balanced_accuracy": lambda b, y: _balanced(y, model.predict(b)),
        "accuracy": lambda b, y: accuracy_score(y, model.predict(b)),
        "auc": lambda b, y: _auc(y, model.predict_proba(b), model.classes_),
    }


def _balanced(y: np.ndarray, read: np.ndarray) -> float:
    """Balanced accuracy, the mean recall of the classes that occur in y; scikit-learn's, but fast enough to resample."""
    members = np.bincount(y)
    hits = np.bincount(y[y == read], minlength=len(members))
    return float(np.mean(hits[members > 0] / members[members > 0]))


def _auc(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> float | None:
    """One class against the rest, averaged over the classes that occur; None where there is but one."""
    present = [i for i, c in enumerate(classes) if 0 < np.sum(y == c) < len(y)]
    if len(classes) == 2:
        present = present[-1:]
    return float(np.mean([roc_auc_score(y == classes[i], probabilities[:, i]) for i in present])) if present else None
