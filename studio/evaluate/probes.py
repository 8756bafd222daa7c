"""Probes: which attribute can be read from which code?

A data set declares for every attribute where it belongs; a clean split reads it there and not elsewhere. Everything is
measured in eval mode (no noise, running statistics) unless the published regime is asked for.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from studio.data import Attribute, Dataset
from studio.errors import StudioError
from studio.evaluate.codes import LIMIT, SPACES, Codes, codes
from studio.evaluate.probe_models import (
    FOLDS,
    Reader,
    folded,
    held_out,
    least_squares,
    read_by_logits,
    two_layers,
)
from studio.method import Method

__all__ = ["PROTOCOLS", "Codes", "codes", "encode_splits", "probe", "probe_codes"]

Protocol = Literal["held-out", "carton", "louiset"]
PROTOCOLS: tuple[Protocol, ...] = ("held-out", "carton", "louiset")
DOMAIN = "target"  # the row of the domain itself
FEWEST = (
    20  # training images of the two-layer reader, which keeps a tenth of them back to stop early
)
Classifier = Callable[[np.ndarray], np.ndarray]


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
            test split; attributes on target images only (their code reads objects on both sets); accuracy.
        louiset: Louiset et al. (2024), Sec. 4 and App. D: as held-out, on target images only, with accuracy as the
            headline of categories and plain linear regression for numbers. The row `target` is read by two linear layers
            trained on both sets, and its headline is the AUC; a method with a trained `classify_salient` reads its own
            salient codes, as the paper's SepVAE does. The features are standardised by the training codes that a
            probe is fitted on (the authors' code takes background codes along for that).

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        protocol: see above.
        limit: images per split and domain.
        seed: of the bootstrap behind the standard errors, of the two-layer reader and of the authors' noise.
        regime: `clean` (eval mode), or `authors` (noise on and batch statistics, as in the published evaluation).

    Returns:
        `protocol`, `eval`, `n_train`, `n_test` and `rows`, one per attribute as in the README.

    Raises:
        StudioError: the method is in training mode, or its codes or its classifier's logits are unusable.
    """
    train, test = encode_splits(method, dataset, protocol, limit, regime, seed)
    return probe_codes(method, dataset, train, test, protocol, seed, regime)


def encode_splits(
    method: Method, dataset: Dataset, protocol: Protocol, limit: int, regime: str, seed: int
) -> tuple[Codes, Codes]:
    """Encodes both domains of the training and test split, each image once; `carton` has only the test split.

    Returns:
        training codes (the test codes for `carton`), test codes.
    """
    test = codes(method, dataset, "test", limit=limit, regime=regime, seed=seed)
    train = (
        test
        if protocol == "carton"
        else codes(method, dataset, "train", limit=limit, regime=regime, seed=seed)
    )
    return train, test


def probe_codes(
    method: Method,
    dataset: Dataset,
    train: Codes,
    test: Codes,
    protocol: Protocol,
    seed: int,
    regime: str,
) -> dict[str, Any]:
    """Probes codes that are there already: `probe` after `encode_splits`, with its arguments and result."""
    rows = []
    for name, attribute in {
        **dataset.attributes,
        DOMAIN: Attribute("salient", ("background", "target")),
    }.items():
        targets = name != DOMAIN and (attribute.target_only or protocol != "held-out")
        fit, scored = (
            (part.of("target") if targets else part).known(name) for part in (train, test)
        )
        own = _own_classifier(method) if protocol == "louiset" and name == DOMAIN else None
        row = _row(name, attribute, fit, scored, protocol, seed, own)
        rows.append({"attribute": name, "belongs": attribute.belongs} | row)
    return {
        "protocol": protocol,
        "eval": regime,
        "n_train": 0 if protocol == "carton" else len(train.spaces["common"]),
        "n_test": len(test.spaces["common"]),
        "rows": rows,
    }


def _own_classifier(method: Method) -> Classifier | None:
    """Returns what maps salient codes (n, m) to the logits (n,) of "target", if the method has trained such a thing."""
    if method.classify_salient(torch.zeros(1, method.config.s, device=method.device)) is None:
        return None

    @torch.no_grad()
    def logits(salient: np.ndarray) -> np.ndarray:
        read: Any = method.classify_salient(
            torch.from_numpy(salient).to(method.device, torch.float32)
        )
        if read.shape != (len(salient),) or not torch.isfinite(read).all():
            expected = f"expected {len(salient)} finite logits of shape ({len(salient)},)"
            raise StudioError(
                f"classify_salient of {method.config.name}: {expected}, found shape {tuple(read.shape)}"
            )
        return read.double().cpu().numpy()

    return logits


def _row(
    name: str,
    attribute: Attribute,
    train: Codes,
    test: Codes,
    protocol: Protocol,
    seed: int,
    own: Classifier | None,
) -> dict[str, Any]:
    reader, headline = _plan(name, attribute, protocol)
    x, y = train.values.get(name, np.empty(0, int)), test.values.get(name, np.empty(0, int))
    impossible = _impossible(attribute, x, y, reader)
    if impossible:
        nothing = dict.fromkeys((*SPACES, "chance", "error"))
        return {"metric": headline, **nothing, "n": len(y), "also": {"note": impossible}}
    values: dict[str, Any] = {}
    also: dict[str, Any] = {"n_train": 0 if reader is folded else len(x)}
    for space in SPACES:
        if own is not None and space == "salient":
            reading = read_by_logits(own(test.spaces[space]), y)
            also["salient_read_by"] = "the method's own classifier"
        else:
            reading = reader(
                attribute, train.spaces[space], x, test.spaces[space], y, headline, seed
            )
        values[space] = reading.scores.pop(headline)
        also |= {f"{metric}_{space}": score for metric, score in reading.scores.items()}
        also[f"error_{space}"] = reading.error
        if reading.converged is not None:
            also[f"converged_{space}"] = reading.converged
    error = max(also[f"error_{space}"] for space in SPACES)
    return {
        "metric": headline,
        **values,
        "chance": _chance(y, headline),
        "error": error,
        "n": len(y),
        "also": also,
    }


def _plan(name: str, attribute: Attribute, protocol: Protocol) -> tuple[Reader, str]:
    """Returns what reads an attribute under a protocol, and the metric that stands first."""
    if protocol == "louiset" and name == DOMAIN:
        return two_layers, "auc"
    reader: dict[Protocol, Reader] = {
        "held-out": held_out,
        "carton": folded,
        "louiset": least_squares,
    }
    headline = (
        "r2"
        if not attribute.classes
        else "balanced_accuracy"
        if protocol == "held-out"
        else "accuracy"
    )
    return reader[protocol], headline


def _chance(y: np.ndarray, headline: str) -> float:
    """Returns what the best reader that sees no code reaches: the mean, or the largest class."""
    if headline in ("r2", "auc"):
        return {"r2": 0.0, "auc": 0.5}[headline]
    counts = np.bincount(y)
    return float(
        1 / np.count_nonzero(counts)
        if headline == "balanced_accuracy"
        else counts.max() / counts.sum()
    )


def _impossible(attribute: Attribute, x: np.ndarray, y: np.ndarray, reader: Reader) -> str:
    """Says why an attribute cannot be probed, or nothing."""
    for split, values in ({"test": y} if reader is folded else {"training": x, "test": y}).items():
        if len(np.unique(values)) < 2:
            found = (
                f"always the same on the {len(values)} {split} images"
                if len(values)
                else f"unknown on every {split} image"
            )
            return f"not probed: {found}"
    if reader is folded and attribute.classes and np.unique(y, return_counts=True)[1].min() < FOLDS:
        return f"not probed: {FOLDS} folds need at least {FOLDS} test images of each class"
    if reader is folded and len(y) < 2 * FOLDS:
        return f"not probed: {FOLDS} folds need at least {2 * FOLDS} test images, found {len(y)}"
    if reader is two_layers and (len(x) < FEWEST or np.bincount(x).min() < 2):
        return f"not probed: two layers need at least {FEWEST} training images, 2 of each set; found {np.bincount(x).tolist()}"
    return ""
