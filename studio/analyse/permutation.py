"""Permutation within sites, and q-values.

The test of a feature against an attribute after covariates is that of Freedman and Lane (1983), A
nonstochastic interpretation of reported significance levels, J. Business & Economic Statistics
1(4): the residuals of the feature given the covariates are permuted, and the covariates are taken
out again. Winkler et al. (2014), Permutation inference for the general linear model, NeuroImage
92, compare it with others (Table 2) and permute within blocks (Sec. 2.4).
"""

from collections.abc import Callable

import numpy as np

__all__ = [
    "adjust",
    "orthonormal",
    "partial_r2",
    "permutation_p",
    "residual",
    "shuffle_within",
]

RELATIVE = 1e-8  # directions of less than this share of the largest one are none
ROUNDING = 1e-12  # variance beside the mean square, below which a number is constant


def adjust(p: np.ndarray) -> np.ndarray:
    """Returns the q-values of Benjamini and Hochberg (1995), NaN where p is NaN.

    Args:
        p: p-values of one family, (n,).
    """
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    if len(known):
        order = known[np.argsort(p[known])]
        scaled = p[order] * len(known) / np.arange(1, len(known) + 1)
        q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q


def shuffle_within(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a random permutation of rows that keeps every row in its block, (n,) indices.

    Args:
        blocks: block of each row, (n,) integers.
        rng: source of randomness.
    """
    home = np.argsort(blocks, kind="stable")
    mixed = np.lexsort((rng.random(len(blocks)), blocks))
    order = np.empty(len(blocks), np.int64)
    order[home] = mixed
    return order


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """Returns an orthonormal basis of the space of some columns, (n, rank)."""
    if not columns.shape[1]:
        return columns
    scale = np.linalg.norm(columns, axis=0)
    left, singular, _ = np.linalg.svd(columns / np.where(scale, scale, 1), full_matrices=False)
    return left[:, singular > RELATIVE * max(singular[0], 1e-300)]


def residual(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Returns values (n, d) without their part in the space of an orthonormal basis (n, r)."""
    return values - basis @ (basis.T @ values)


def partial_r2(features: np.ndarray, attribute: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Returns the share of each feature that an attribute explains beyond the nuisance, (d,).

    Args:
        features: (n, d).
        attribute: columns of the attribute, (n, a), such as indicators of its classes.
        nuisance: orthonormal basis of the covariates with the constant, (n, r).
    """
    rest = residual(features, nuisance)
    basis = orthonormal(residual(attribute, nuisance))
    whole = np.sum(rest**2, 0)
    spread = np.sum((features - features.mean(0)) ** 2, 0)
    floor = np.maximum(RELATIVE * spread, ROUNDING * np.sum(features**2, 0))
    explained = np.sum((basis.T @ rest) ** 2, 0)
    return np.where(whole > floor, explained / np.where(whole > 0, whole, 1), np.nan)


def permutation_p(
    features: np.ndarray,
    attribute: np.ndarray,
    nuisance: np.ndarray,
    blocks: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
    advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Returns a p-value for each feature, (d,): that the attribute explains nothing of it.

    The statistic is the partial R2, which grows with the F of the linear model. p is the share of
    permutations, the unpermuted data among them, that reach it. NaN where a feature is constant
    after the covariates.

    Args:
        features: see `partial_r2`.
        attribute: see `partial_r2`.
        nuisance: see `partial_r2`.
        blocks: block of each row, within which rows may change places, (n,).
        permutations: number of random permutations.
        rng: source of randomness.
        advance: called after each permutation.
    """
    rest = residual(features, nuisance)
    basis = orthonormal(residual(attribute, nuisance))
    observed = partial_r2(features, attribute, nuisance)
    reached = np.ones(features.shape[1])
    norms = np.sum(rest**2, 0)
    for _ in range(permutations):
        moved = rest[shuffle_within(blocks, rng)]
        # `basis` is orthogonal to the nuisance, so only the norm has to lose it again.
        whole = norms - np.sum((nuisance.T @ moved) ** 2, 0)
        explained = np.sum((basis.T @ moved) ** 2, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Rounding must not decide between equal values.
            reached += explained / whole >= observed * (1 - 1e-9)
        advance()
    return np.where(np.isfinite(observed), reached / (permutations + 1), np.nan)
