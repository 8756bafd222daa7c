"""Probes: which attribute can be predicted from which code?

A data set declares for every attribute the code it belongs to. If the codes separate well, the
attribute can be predicted from this code and not from the other one. Everything is measured in eval
mode (no noise, running statistics) unless the authors' published evaluation is requested.
"""

from typing import Any

import numpy as np
import torch

from studio.data import Attribute, Dataset
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.evaluate.codes import SPACES, Codes, encode_split
from studio.evaluate.nonlinear import FEWEST as FEWEST_NONLINEAR
from studio.evaluate.nonlinear import cross_validate_nonlinear, fit_nonlinear
from studio.evaluate.probe_models import (
    FOLDS,
    Examples,
    ProbeModel,
    cross_validate_linear,
    fit_least_squares,
    fit_linear,
    fit_two_layers,
    score_logits,
)
from studio.evaluate.probe_options import PROTOCOLS, ProbeOptions, ProbeProtocol
from studio.method import Method
from studio.progress import mark_step

__all__ = [
    "DEFAULTS",
    "OWN_CLASSIFIER",
    "PROTOCOLS",
    "TWO_LAYERS",
    "ProbeOptions",
    "ProbeProtocol",
    "encode_train_and_test",
    "probe",
    "probe_codes",
]

TARGET_ROW = "target"  # name of the row whose attribute is the domain itself
# Readers of the salient code in this row under `louiset`.
OWN_CLASSIFIER = "the method's own classifier"
TWO_LAYERS = "two linear layers, because the method has trained no classifier of its own"
# Training images that two layers need, because a tenth of them is held back for early stopping.
FEWEST = 20


DEFAULTS = ProbeOptions()


def probe(method: Method, dataset: Dataset, options: ProbeOptions = DEFAULTS) -> dict[str, Any]:
    """Predicts every attribute, and the domain, from the salient code, the common code and both.

    Protocols:
        held-out: probe models are fitted on standardised training codes and scored on test codes.
            Attributes are probed on target images, or on both domains if both have them.
        carton: Carton et al. (2024), Sec. 5. Logistic regression on raw codes with 5-fold
            cross-validation within the test split. The headline is the accuracy. Attributes are
            probed on target images only (the authors' code predicts objects on both domains).
        louiset: Louiset et al. (2024), Sec. 4 and App. D. As held-out, with three differences.
            Attributes are probed on target images only. The headline of categories is the
            accuracy, and numbers are predicted by ordinary least squares. The row `target` is
            predicted by two linear layers trained on both domains, and its headline is the AUC. A
            method with a trained `classify_salient` classifies its own salient codes, as the
            paper's SepVAE does (`also.salient_read_by` says which). Codes are standardised by the
            training codes that the probe model is fitted on (the authors' code includes background
            codes).

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        options: protocol, number of images, seed and eval mode.

    Returns:
        `protocol`, `eval`, `n_train`, `n_test` and `rows`. Each row has `attribute`, `belongs`,
        `metric` (the headline), its value from each space (`salient`, `common`, `whole` for both
        codes together), `chance`, `error` (the largest standard error of the three), `n` and
        `also`: other metrics by space, or a `note` that says why the attribute was not probed. It
        has the non-linear reader of `studio.evaluate.nonlinear` as well, for either code:
        `salient_nonlinear`, `salient_nonlinear_error` (its standard error) and
        `salient_nonlinear_model` (its name), and the same for `common`.

    Raises:
        StudioError: the method is in training mode, or its codes or the logits of its own
            classifier are not finite.
    """
    train, test = encode_train_and_test(method, dataset, options)
    return probe_codes(method, dataset, train, test, options)


def encode_train_and_test(
    method: Method, dataset: Dataset, options: ProbeOptions = DEFAULTS
) -> tuple[Codes, Codes]:
    """Encodes each training and test image of both domains once. `carton` uses only test images.

    Returns:
        training codes (the test codes for `carton`), test codes.
    """
    limit, mode, seed = options.limit, options.eval_mode, options.seed
    test = encode_split(method, dataset, "test", limit=limit, eval_mode=mode, seed=seed)
    if options.protocol == "carton":
        return test, test
    train = encode_split(method, dataset, "train", limit=limit, eval_mode=mode, seed=seed)
    return train, test


def probe_codes(
    method: Method, dataset: Dataset, train: Codes, test: Codes, options: ProbeOptions = DEFAULTS
) -> dict[str, Any]:
    """Probes codes from `encode_train_and_test`. Arguments and result are those of `probe`."""
    protocol, rows = options.protocol, []
    attributes = {**dataset.attributes, TARGET_ROW: Attribute("salient", DOMAINS)}
    for name, attribute in attributes.items():
        mark_step(f"{name} from the codes")
        only_targets = name != TARGET_ROW and (attribute.target_only or protocol != "held-out")
        fit, scored = (
            (part.of("target") if only_targets else part).known(name) for part in (train, test)
        )
        own = method if protocol == "louiset" and name == TARGET_ROW else None
        row = _row(name, attribute, fit, scored, options, own)
        rows.append({"attribute": name, "belongs": attribute.belongs} | row)
    return {
        "protocol": protocol,
        "eval": options.eval_mode,
        "n_train": 0 if protocol == "carton" else len(train.spaces["common"]),
        "n_test": len(test.spaces["common"]),
        "rows": rows,
    }


def _row(
    name: str,
    attribute: Attribute,
    train: Codes,
    test: Codes,
    options: ProbeOptions,
    own: Method | None,
) -> dict[str, Any]:
    """Probes one attribute. `own` is a method that may classify its salient codes by itself."""
    model, headline = _plan(name, attribute, options.protocol)
    x, y = train.values.get(name, np.empty(0, int)), test.values.get(name, np.empty(0, int))
    obstacle = _obstacle(attribute, x, y, model)
    if obstacle:
        nothing = dict.fromkeys((*SPACES, "chance", "error"))
        return {"metric": headline, **nothing, "n": len(y), "also": {"note": obstacle}}
    values: dict[str, Any] = {}
    also: dict[str, Any] = {"n_train": 0 if model is cross_validate_linear else len(x)}
    own_logits = None if own is None else _classify_salient(own, test.spaces["salient"])
    if own is not None:
        also["salient_read_by"] = TWO_LAYERS if own_logits is None else OWN_CLASSIFIER
    for space in SPACES:
        if own_logits is not None and space == "salient":
            reading = score_logits(own_logits, y)
        else:
            examples = Examples(train.spaces[space], x), Examples(test.spaces[space], y)
            reading = model(attribute, *examples, headline, options.seed)
        values[space] = reading.scores.pop(headline)
        also |= {f"{metric}_{space}": score for metric, score in reading.scores.items()}
        also[f"error_{space}"] = reading.error
        if reading.recalls is not None:
            also[f"recall_{space}"] = reading.recalls
        if reading.converged is not None:
            also[f"converged_{space}"] = reading.converged
    also |= _read_nonlinear(attribute, train, test, (x, y), headline, options)
    error = max(also[f"error_{space}"] for space in SPACES)
    return {
        "metric": headline,
        **values,
        "chance": _chance(y, headline),
        "error": error,
        "n": len(y),
        "also": also,
    }


def _read_nonlinear(
    attribute: Attribute,
    train: Codes,
    test: Codes,
    values: tuple[np.ndarray, np.ndarray],
    headline: str,
    options: ProbeOptions,
) -> dict[str, Any]:
    """Returns the entries of `also` by the non-linear reader, for the salient and common code."""
    x, y = values
    crossed = options.protocol == "carton"
    fitted = len(y) * (FOLDS - 1) // FOLDS if crossed else len(x)
    rare = attribute.classes and np.bincount(y if crossed else x).max() == fitted
    if fitted < FEWEST_NONLINEAR or rare:
        return {"nonlinear_note": f"needs at least {FEWEST_NONLINEAR} training images"}
    model = cross_validate_nonlinear if crossed else fit_nonlinear
    found: dict[str, Any] = {}
    for space in ("salient", "common"):
        examples = Examples(train.spaces[space], x), Examples(test.spaces[space], y)
        reading = model(attribute, *examples, headline, options.seed)
        found |= {
            f"{space}_nonlinear": reading.scores[headline],
            f"{space}_nonlinear_error": reading.error,
            f"{space}_nonlinear_model": reading.model,
        }
    return found


@torch.no_grad()
def _classify_salient(method: Method, salient: np.ndarray) -> np.ndarray | None:
    """Returns the method's own logits (n,) of "target" for salient codes (n, m).

    None if the method has not trained such a classifier.
    """
    logits = method.classify_salient(torch.from_numpy(salient).to(method.device, torch.float32))
    if logits is None:
        return None
    if logits.shape != (len(salient),) or not torch.isfinite(logits).all():
        raise StudioError(
            f"classify_salient of {method.config.name}: expected {len(salient)} finite logits of "
            f"shape ({len(salient)},), found shape {tuple(logits.shape)}"
        )
    return logits.double().cpu().numpy()


def _plan(name: str, attribute: Attribute, protocol: ProbeProtocol) -> tuple[ProbeModel, str]:
    """Returns the probe model and the headline metric of an attribute under a protocol."""
    if protocol == "louiset" and name == TARGET_ROW:
        return fit_two_layers, "auc"
    models: dict[ProbeProtocol, ProbeModel] = {
        "held-out": fit_linear,
        "carton": cross_validate_linear,
        "louiset": fit_least_squares,
    }
    categorical = "balanced_accuracy" if protocol == "held-out" else "accuracy"
    return models[protocol], categorical if attribute.classes else "r2"


def _chance(y: np.ndarray, headline: str) -> float:
    """Returns the score of the best prediction without a code: the mean, or the largest class."""
    if headline in ("r2", "auc"):
        return {"r2": 0.0, "auc": 0.5}[headline]
    counts = np.bincount(y)
    if headline == "balanced_accuracy":
        return float(1 / np.count_nonzero(counts))
    return float(counts.max() / counts.sum())


def _obstacle(attribute: Attribute, x: np.ndarray, y: np.ndarray, model: ProbeModel) -> str:
    """Returns why an attribute with training values x and test values y cannot be probed, or ""."""
    crossed = model is cross_validate_linear
    for split, values in ({"test": y} if crossed else {"training": x, "test": y}).items():
        if len(np.unique(values)) < 2:
            if not len(values):
                return f"not probed: unknown on every {split} image"
            return f"not probed: always the same on the {len(values)} {split} images"
    if crossed and attribute.classes and np.unique(y, return_counts=True)[1].min() < FOLDS:
        return f"not probed: {FOLDS} folds need at least {FOLDS} test images of each class"
    if crossed and len(y) < 2 * FOLDS:
        return f"not probed: {FOLDS} folds need at least {2 * FOLDS} test images, found {len(y)}"
    if model is fit_two_layers and (len(x) < FEWEST or np.bincount(x).min() < 2):
        return (
            f"not probed: two layers need at least {FEWEST} training images, 2 of each domain; "
            f"found {np.bincount(x).tolist()}"
        )
    return ""
