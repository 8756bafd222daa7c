"""Projections of codes on a plane."""

import numpy as np

from studio.evaluate.separation import (
    cluster,
    matched_accuracy,
)
from studio.projection import tsne_plane


def blobs(n: int, classes: int, distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns points (n, classes) around far corners, and their classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return rng.normal(size=(n, classes)) + distance * np.eye(classes)[labels], labels


def test_tsne_plane_keeps_classes_together() -> None:
    points, labels = blobs(90, 3, 25.0)
    plane = tsne_plane(points.astype(np.float32), seed=0)
    assert plane.shape == (90, 2)
    assert matched_accuracy(cluster(plane, 3, seed=0), labels) == 1
    assert np.array_equal(plane, tsne_plane(points.astype(np.float32), seed=0))
    for odd in (
        points[:, :1],
        np.zeros((12, 4)),
        points[:5],
    ):  # one coordinate, no variance, very few
        assert np.isfinite(tsne_plane(odd.astype(np.float32), seed=0)).all()
