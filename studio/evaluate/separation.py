"""Separation of the codes without a probe: clusters, distances and variances on test images."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import ot
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix
from threadpoolctl import threadpool_limits

from studio.data import Attribute
from studio.evaluate.codes import Codes
from studio.projection import perplexity_of, tsne_plane

__all__ = [
    "cluster",
    "clustering_chance",
    "matched_accuracy",
    "salient_distance_auc",
    "salient_variance_ratio",
    "separation",
    "silhouette",
    "w2_common",
    "wasserstein2",
]

# Target images that are clustered. Time and memory of silhouette and t-SNE grow with the square.
POINTS = 2_000
W2_POINTS = 1_000  # images per sample of the exact transport
PERMUTATIONS = 20


def separation(
    test: Codes,
    attributes: Mapping[str, Attribute],
    blank: np.ndarray,
    seed: int = 0,
    tsne: bool = False,
) -> dict[str, Any]:
    """Measures how the classes lie in each space, and how background and target codes differ.

    Args:
        test: codes of test images of both domains.
        attributes: of the data set. The categorical ones are measured, on target images.
        blank: the blank salient code, (m,).
        seed: of the choice of images if there are more than needed, of k-means, of t-SNE and of the
            permutations.
        tsne: also measure in a t-SNE plane, as Choudhuri et al. (2019) do. This takes some seconds
            per space.

    Returns:
        `w2_common`, `w2_floor`, `w2_n`, `salient_distance_auc`, `salient_variance_ratio` and
        `attributes`: name -> `n` and, for the salient and the common space, `silhouette`,
        `clustering_accuracy` and `clustering_chance`, and `tsne`, a dict of the same, if requested.
        A value that cannot be measured is None, and a `note` says why.
    """
    salient = {domain: test.of(domain).spaces["salient"] for domain in ("background", "target")}
    ratio = salient_variance_ratio(salient["background"], salient["target"])
    distances = w2_common(
        test.of("background").spaces["common"], test.of("target").spaces["common"], seed
    )
    notes = (
        []
        if ratio is not None
        else ["salient_variance_ratio: the salient codes of the background do not vary"]
    )
    if distances["w2_common"] is None:
        notes.append("w2_common: needs at least two background images and one target image")
    target = test.of("target")
    permuted = target.take(np.random.default_rng(seed).permutation(len(target.spaces["common"])))
    plane = _planes(permuted.spaces, seed) if tsne else None
    return {
        **distances,
        "salient_distance_auc": salient_distance_auc(
            salient["background"], salient["target"], blank
        ),
        "salient_variance_ratio": ratio,
        **({"note": "; ".join(notes)} if notes else {}),
        "attributes": {
            name: _measure_attribute(permuted, name, seed, plane)
            for name, attribute in attributes.items()
            if attribute.classes
        },
    }


TsnePlane = Callable[[str, bytes], np.ndarray]


def _planes(spaces: Mapping[str, np.ndarray], seed: int) -> TsnePlane:
    """Returns (space, rows) -> t-SNE plane. Attributes known on the same images share a plane."""

    @cache
    def plane(space: str, rows: bytes) -> np.ndarray:
        return tsne_plane(spaces[space][np.frombuffer(rows, np.intp)], seed)

    return plane


def _measure_attribute(
    target: Codes, name: str, seed: int, plane: TsnePlane | None
) -> dict[str, Any]:
    """Measures one categorical attribute on the first POINTS images where it is known."""
    rows = np.flatnonzero(target.has(name))[:POINTS]
    labels = target.values[name][rows] if len(rows) else np.empty(0, int)
    classes = len(np.unique(labels))
    spaces = {space: target.spaces[space][rows] for space in ("salient", "common")}
    if not 2 <= classes < len(rows):
        nothing = {
            f"{m}_{s}": None
            for m in ("silhouette", "clustering_accuracy", "clustering_chance")
            for s in spaces
        }
        nothing["silhouette_whole"] = None
        return {"n": len(rows), **nothing, "note": _reason(len(rows), classes)}
    whole = np.concatenate([spaces["common"], spaces["salient"]], 1)
    measured: dict[str, Any] = {
        "n": len(rows),
        **_in_spaces(spaces, labels, seed),
        "silhouette_whole": silhouette(whole, labels),
    }
    if plane is not None:
        planes = {space: plane(space, rows.tobytes()) for space in spaces}
        clusters = {space: cluster(points, classes, seed) for space, points in planes.items()}
        own = {
            f"silhouette_clusters_{s}": silhouette(points, clusters[s])
            for s, points in planes.items()
        }
        measured["tsne"] = {
            "perplexity": perplexity_of(len(rows)),
            **_in_spaces(planes, labels, seed),
            **own,
        }
    return measured


def _reason(n: int, classes: int) -> str:
    found = (
        "unknown on every"
        if not n
        else f"always the same on the {n}"
        if classes == 1
        else f"never the same on the {n}"
    )
    return f"not measured: {found} target test image{'s' * (n > 0)}"


def _in_spaces(
    spaces: Mapping[str, np.ndarray], labels: np.ndarray, seed: int
) -> dict[str, float | None]:
    """Returns `silhouette`, `clustering_accuracy` and `clustering_chance` in each space."""
    clusters = {
        space: cluster(points, len(np.unique(labels)), seed) for space, points in spaces.items()
    }
    return {
        **{f"silhouette_{space}": silhouette(points, labels) for space, points in spaces.items()},
        **{
            f"clustering_accuracy_{space}": matched_accuracy(c, labels)
            for space, c in clusters.items()
        },
        **{
            f"clustering_chance_{space}": clustering_chance(c, labels, seed)
            for space, c in clusters.items()
        },
    }


def silhouette(points: np.ndarray, labels: np.ndarray) -> float | None:
    """Returns how much nearer points are to their own class than to the nearest other class.

    Abid and Zou (2019), Sec. 4, after Rousseeuw (1987): the mean over all points of (b - a) /
    max(a, b), where a is the mean distance to the other points of the class and b that to the
    nearest other class. The values lie in [-1, 1] and are 0 if the classes overlap completely. It
    favours few, compact classes: a class that forms several clusters scores low even if it is easy
    to predict.

    Args:
        points: codes (n, d).
        labels: class numbers (n,).

    Returns:
        the mean silhouette, or None unless there are 2 to n - 1 classes.
    """
    if not 2 <= len(np.unique(labels)) < len(labels):
        return None
    with threadpool_limits(1):
        return float(silhouette_score(points.astype(np.float64), labels))


def cluster(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Finds k clusters by k-means, the best of ten starts.

    Choudhuri et al. (2019), Sec. 4, "the standard k-means". There are fewer clusters if there are
    fewer distinct points.

    Args:
        points: codes (n, d).
        k: number of clusters, at most n.
        seed: of the starts.

    Returns:
        cluster numbers (n,).
    """
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        starts: Any = 10  # scikit-learn types it as text, because "auto" is its default
        return KMeans(k, n_init=starts, random_state=seed).fit_predict(points.astype(np.float64))


def matched_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Returns the accuracy of the best one-to-one assignment of classes to clusters.

    Choudhuri et al. (2019), Sec. 4, "clustering accuracy": "the proportion of the samples whose
    class labels align with the ground-truth labels". They do not say how they assign classes to
    clusters. Here the assignment is optimal (Kuhn's algorithm).

    Args:
        clusters: cluster numbers (n,).
        labels: class numbers (n,).

    Returns:
        a share from 1/n to 1.
    """
    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def clustering_chance(clusters: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Returns the `matched_accuracy` of labels that are independent of the clusters.

    It is more than 1/k, because the assignment is the best one.

    Args:
        clusters: cluster numbers (n,). Only their sizes matter.
        labels: class numbers (n,).
        seed: of the permutations.

    Returns:
        the mean over 20 permutations of the labels.
    """
    rng = np.random.default_rng(seed)
    return float(
        np.mean([matched_accuracy(clusters, rng.permutation(labels)) for _ in range(PERMUTATIONS)])
    )


def w2_common(background: np.ndarray, target: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Returns the distance between background and target common codes, and its floor.

    Choudhuri et al. (2019), Eq. 9 and Table 1. The distance between two samples is never 0, and
    grows with the scale and the length of the code. The floor is the distance between two samples
    of the background of the same size.

    Args:
        background: common codes (n, k).
        target: common codes (m, k).
        seed: of the choice of images.

    Returns:
        `w2_common`, `w2_floor` and `w2_n`, the images per sample: at most 1,000, m and n / 2.
    """
    n = min(W2_POINTS, len(background) // 2, len(target))
    if not n:
        return {"w2_common": None, "w2_floor": None, "w2_n": 0}
    rng = np.random.default_rng(seed)
    first, second = background[rng.permutation(len(background))[: 2 * n]].reshape(2, n, -1)
    others = target[rng.permutation(len(target))[:n]]
    return {
        "w2_common": wasserstein2(first, others),
        "w2_floor": wasserstein2(first, second),
        "w2_n": n,
    }


def wasserstein2(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the exact squared 2-Wasserstein distance between two sets of points of equal weight.

    Choudhuri et al. (2019), Eq. 9: the least mean squared Euclidean distance over all transport
    plans.

    Args:
        a: points (n, d).
        b: points (m, d).

    Returns:
        W2 squared, in squared units of the points.
    """
    cost = ot.dist(a.astype(np.float64), b.astype(np.float64), metric="sqeuclidean")
    least: Any = ot.emd2([], [], cost, numItermax=10_000_000)
    return float(least)


def salient_distance_auc(
    background: np.ndarray, target: np.ndarray, blank: np.ndarray
) -> float | None:
    """Returns how well the distance from the blank code separates target from background.

    It is the probability that the salient code of a target image lies farther from the blank code
    than that of a background image. Chance is 0.5. Background codes should lie at the blank code
    (Eq. 6 of Carton et al. 2024, the narrow prior of Louiset et al. 2024), and target codes around
    it in all directions. A linear probe cannot separate a centre from its surroundings. The row
    `target` of the probe can therefore be near chance although the two domains are separated
    completely.

    Args:
        background: salient codes (n, m).
        target: salient codes (n', m).
        blank: the blank salient code, (m,).

    Returns:
        the area under the ROC curve of the distances, or None if a domain is empty.
    """
    if not len(background) or not len(target):
        return None
    distances = np.linalg.norm(
        np.concatenate([background, target]).astype(np.float64) - blank, axis=1
    )
    return float(roc_auc_score(np.repeat([0, 1], [len(background), len(target)]), distances))


def salient_variance_ratio(background: np.ndarray, target: np.ndarray) -> float | None:
    """Returns the variance of target salient codes divided by that of background salient codes.

    Both variances are summed over coordinates. Louiset et al. (2024), Sec. 4 (CelebA): 1.79 for
    MM-cVAE and 20.31 for SepVAE. Their text prints the inverse ratio, sigma^2(s|y=0) /
    sigma^2(s|y=1), which contradicts the sentence that it supports: SepVAE "maximizes the target
    variance in the salient space while reducing the background variance".

    Args:
        background: salient codes (n, m).
        target: salient codes (n', m).

    Returns:
        the ratio, or None if the background codes do not vary.
    """
    # The first code is subtracted, so that the variance of equal codes is exactly 0.
    below, above = (
        float(np.var(s.astype(np.float64) - s[:1], axis=0).sum()) if len(s) else 0.0
        for s in (background, target)
    )
    return above / below if below > 0 and above / below < np.inf else None
