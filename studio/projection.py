"""Codes in two dimensions: principal components, t-SNE and UMAP.

In the plane of the first two principal components distances are those of the code. t-SNE and UMAP
show which points are neighbours. Distances between groups and the sizes of groups mean nothing in
their planes.
"""

from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from studio.errors import StudioError, nearest

__all__ = ["FEWEST_NEIGHBOURS", "PLANES", "Plane", "perplexity_of", "project", "tsne_plane"]

PLANES = {"pca": "the first two principal components", "tsne": "t-SNE", "umap": "UMAP"}
PERPLEXITY = 30.0  # scikit-learn's default, because the papers state none
FEWEST_NEIGHBOURS = 6  # points. With fewer, t-SNE and UMAP have no neighbourhoods to show
FEWEST_SPECTRAL = 50  # points. With fewer, UMAP starts at random: its eigenvectors need more
UMAP_NEIGHBOURS = 15
SEEDS = 2**32  # that scikit-learn and UMAP know


class Plane(NamedTuple):
    """Codes in two dimensions.

    Attributes:
        points: (N, 2).
        axes: the name of each axis.
    """

    points: np.ndarray
    axes: tuple[str, str]


def project(code: np.ndarray, kind: str = "pca", seed: int = 0) -> Plane:
    """Projects codes on a plane.

    Args:
        code: the codes (N, m).
        kind: a key of `PLANES`.
        seed: of t-SNE and UMAP.

    Raises:
        StudioError: the kind is unknown, the codes are not finite or too few, or UMAP is not
            installed.
    """
    if kind not in PLANES:
        raise StudioError(f"--plane {kind}: no such plane{nearest(kind, PLANES)}")
    if not np.isfinite(code).all():
        raise StudioError("some codes are not finite: has training diverged?")
    if kind == "pca":
        return _pca_plane(code)
    if len(code) < FEWEST_NEIGHBOURS:
        raise StudioError(
            f"--plane {kind}: needs at least {FEWEST_NEIGHBOURS} images, found {len(code)}; "
            "--plane pca needs 2"
        )
    points = _umap_plane(code, seed) if kind == "umap" else tsne_plane(code, seed)
    return Plane(points, (f"{PLANES[kind]} 1", f"{PLANES[kind]} 2"))


def tsne_plane(points: np.ndarray, seed: int) -> np.ndarray:
    """Embeds codes in a plane by t-SNE.

    Choudhuri et al. (2019), Sec. 4: "first we perform t-SNE [...] to embed them in a two
    dimensional latent space and cluster them using the standard k-means". Their silhouette "gauges
    the similarity between the clustering labels and the ground-truth class labels", although a
    silhouette needs only one kind of label. Here it is computed for the class labels in the plane,
    as in Abid and Zou (2019), because it can be negative as in their Table 1.
    `studio.evaluate.separation` also returns the silhouette of the clusters.

    Args:
        points: codes (n, d), n > 1.
        seed: of the embedding. Another seed gives another plane.

    Returns:
        (n, 2).
    """
    varying = np.count_nonzero(np.ptp(points, axis=0))
    with threadpool_limits(1):
        return TSNE(
            perplexity=perplexity_of(len(points)),
            # With one varying coordinate no second principal component exists to start from.
            init="pca" if varying >= 2 else "random",
            random_state=seed % SEEDS,
            n_jobs=1,
        ).fit_transform(points)


def perplexity_of(n: int) -> float:
    """Returns the perplexity of t-SNE on n points: 30, or a third of n - 1 where that is less."""
    return min(PERPLEXITY, (n - 1) / 3)


def _pca_plane(code: np.ndarray) -> Plane:
    """Projects codes on two principal components. The second axis of a one-dimensional code is
    random."""
    axes = PCA(min(2, *code.shape), svd_solver="full")
    with np.errstate(invalid="ignore"):  # a constant code has 0/0 of its variance on each axis
        points = axes.fit_transform(code)
    if points.shape[1] == 1:
        points = np.column_stack([points, np.random.default_rng(0).uniform(-1, 1, len(points))])
    shares = np.nan_to_num(axes.explained_variance_ratio_)
    names = [f"component {i} ({share:.0%} of variance)" for i, share in enumerate(shares, 1)]
    first, second = [*names, "no second dimension: spread at random"][:2]
    return Plane(points, (first, second))


def _umap_plane(code: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise StudioError(
            "--plane umap: needs a package that is not installed; pip install umap-learn"
        ) from None
    reducer = UMAP(
        n_neighbors=min(UMAP_NEIGHBOURS, len(code) - 1),
        init="random" if len(code) < FEWEST_SPECTRAL else "spectral",
        random_state=seed % SEEDS,
        n_jobs=1,
    )
    return np.asarray(reducer.fit_transform(code))
