"""Swap accuracy: whether an image with exchanged codes shows the content of each code.

Classifiers of the attributes and of the domain, which learn from real training images only, read
the images that a method makes of real test images:

- `background_to_target`: z of a background image, s of a target. Expected are the target's salient
  attributes, the background image's common ones, and the domain target.
- `target_to_target`: z of a target, s of another one. Expected are the salient attributes of the
  other one, the common ones of the first, and the domain target.
- `healed`: z of a target, the blank salient code. Expected are its common attributes and the domain
  background.
- `background_healed`: the same for background images.

An attribute is measured if its classifier is reliable: on real test images its balanced accuracy
must cover at least `FLOOR` of the way from chance to 1.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from studio.data import Dataset
from studio.data.dataset import is_known
from studio.evaluate.attribute_classifier import (
    IMAGES,
    TARGET_HEAD,
    TESTED,
    AttributeClassifier,
    heads_of,
    rate_classifier,
    sample_images,
    train_classifier,
)
from studio.method import Code, Method
from studio.pixels import quantise
from studio.sampling import blank, decode, encode
from studio.seeds import seed_of

__all__ = ["FLOOR", "measure_swaps"]

FLOOR = 0.5  # of the way from chance to 1 that a classifier must reach on real images
LIMIT = 1_000  # images per direction
VOXELS = 1 << 26  # in the volumes of a direction at most: 256 of 64 voxels a side


class _Side(NamedTuple):
    """Test images of a domain, in the order of their use.

    Attributes:
        rows: numbers of the images.
        code: their codes.
        values: attribute -> values.
    """

    rows: np.ndarray
    code: Code
    values: dict[str, np.ndarray]


def measure_swaps(
    method: Method, dataset: Dataset, seed: int = 0, limit: int = LIMIT
) -> dict[str, Any] | None:
    """Measures swap accuracy. It trains the classifiers first, which takes some seconds.

    Args:
        method: in eval mode.
        dataset: with images (C, H, W) or volumes (C, D, H, W).
        seed: decides which images are paired.
        limit: most images of each direction, fewer of large volumes.

    Returns:
        `n`: images of each direction. `classifiers`: attribute -> `belongs`, `accuracy` on real
        test images, `chance`, and whether it is `reliable`. `directions`: direction -> attribute ->
        balanced accuracy of its expected value, or its share for `target`, and `all`: the share of
        images on which everything is read as expected, among those whose attributes are all known.
        Attributes without a reliable classifier are None and do not count. `all` is None if none
        counts. The whole result is None for vectors.
    """
    if len(dataset.shape) not in (3, 4):
        return None
    if len(dataset.shape) == 4:
        limit = max(1, min(limit, VOXELS // math.prod(dataset.shape)))
    training = sample_images(dataset, "train", IMAGES)
    test = sample_images(dataset, "test", TESTED)
    device = method.device
    classifier = train_classifier(training.images, training.values, heads_of(dataset), device)
    known = {
        row["attribute"]: row for row in rate_classifier(classifier, dataset, test, training.values)
    }
    judged = {
        name: {
            "belongs": _belongs(dataset, name),
            "accuracy": row["value"],
            "chance": row["chance"],
            "reliable": row["value"] - row["chance"] >= FLOOR * (1 - row["chance"]),
        }
        for name, row in known.items()
        if row["metric"] == "balanced_accuracy"
    }
    background, target = (
        _encode(method, dataset, domain, limit, seed) for domain in ("background", "target")
    )
    n = min(len(background.rows), len(target.rows))
    other = np.roll(np.arange(len(target.rows)), 1)
    empty = blank(method, len(target.rows)), blank(method, len(background.rows))
    made = {
        "background_to_target": (_pick(background, n), _pick(target, n), target.code.s[:n], 1),
        "target_to_target": (target, _order(target, other), target.code.s[other], 1),
        "healed": (target, None, empty[0], 0),
        "background_healed": (background, None, empty[1], 0),
    }
    directions = {
        name: _read(
            classifier, judged, decode(method, Code(receiver.code.z, s)), receiver, donor, d
        )
        for name, (receiver, donor, s, d) in made.items()
    }
    counts = {name: len(receiver.rows) for name, (receiver, *_) in made.items()}
    return {"n": counts, "classifiers": judged, "directions": directions}


def _belongs(dataset: Dataset, name: str) -> str:
    return "salient" if name == TARGET_HEAD else dataset.attributes[name].belongs


def _encode(method: Method, dataset: Dataset, domain: str, limit: int, seed: int) -> _Side:
    """Encodes a random sample of the test images of a domain."""
    size = dataset.size("test", domain)
    order = np.random.default_rng(seed_of("swaps", seed, domain)).permutation(size)[:limit]
    values = {
        name: labels[order]
        for name, labels in dataset.labels("test", domain).items()
        if dataset.attributes[name].classes
    }
    return _Side(order, encode(method, dataset.images("test", domain, order)), values)


def _pick(side: _Side, n: int) -> _Side:
    return _order(side, np.arange(n))


def _order(side: _Side, rows: np.ndarray) -> _Side:
    values = {name: labels[rows] for name, labels in side.values.items()}
    return _Side(side.rows[rows], Code(side.code.z[rows], side.code.s[rows]), values)


def _read(
    classifier: AttributeClassifier,
    judged: dict[str, dict[str, Any]],
    images: Tensor,
    receiver: _Side,
    donor: _Side | None,
    domain: int,
) -> dict[str, float | None]:
    """Compares the attributes that are read from images with the expected ones."""
    outputs = classifier.read(quantise(images))[1]
    right, known, counted = np.ones(len(images), bool), np.ones(len(images), bool), False
    found: dict[str, float | None] = {}
    for name, row in judged.items():
        if name == TARGET_HEAD:
            expected = np.full(len(images), domain)
        else:
            source = receiver if row["belongs"] == "common" else donor
            if source is None or name not in source.values:
                continue
            expected = source.values[name]
        if not row["reliable"]:
            found[name] = None
            continue
        read = outputs[name].argmax(1).numpy()
        has = is_known(expected)
        if not has.any():
            continue
        right, known, counted = right & (read == expected), known & has, True
        balanced = name != TARGET_HEAD
        score = balanced_accuracy_score(expected[has], read[has]) if balanced else None
        found[name] = float(np.mean(read == expected) if score is None else score)
    return {**found, "all": float(right[known].mean()) if counted and known.any() else None}
