"""The maximum mean discrepancy between two batches of codes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from losses.distances import squared_distances

__all__ = ["GAMMAS", "mmd", "mmd_to_point"]

GAMMAS = tuple(10.0**power for power in range(-6, 7))


def mmd(a: Tensor, b: Tensor, gammas: Sequence[float] = GAMMAS) -> Tensor:
    r"""Squared maximum mean discrepancy under a sum of Gaussian kernels $k(u, v) = \sum_\gamma e^{-\gamma \|u - v\|^2}$.

    $\frac1{B^2}\sum_{ij} k(a_i, a_j) + \frac1{B'^2}\sum_{ij} k(b_i, b_j) - \frac2{BB'}\sum_{ij} k(a_i, b_j)$, the biased
    V-statistic with the diagonals in: Eq. 5, Gretton et al. (2012), squared. Never negative but for rounding, so nothing is
    cut off at 0 and the gradient is never lost. MM-cVAE, Weinberger et al. (2022), between the common codes of both
    domains; the 13 kernels and their sum (not their mean) are those of the authors' code, the paper was not at hand.

    Args:
        a: codes, shape (B, n).
        b: codes, shape (B', n).
        gammas: of the kernels, in inverse squared units of the codes.

    Returns:
        (), between 0 and 2 len(gammas); 0 where both batches hold the same codes.

    Raises:
        ValueError: the shapes are not (B, n) and (B', n).
    """
    between = _kernel(a, b, gammas).mean()  # first: it refuses shapes that do not fit
    return _kernel(a, a, gammas).mean() + _kernel(b, b, gammas).mean() - 2 * between


def mmd_to_point(a: Tensor, point: Tensor, gammas: Sequence[float] = GAMMAS) -> Tensor:
    r"""Squared maximum mean discrepancy to a point mass: `mmd(a, point.expand_as(a))` at half the cost.

    Eq. 5, Gretton et al. (2012), squared; MM-cVAE, Weinberger et al. (2022), between the background's salient codes and
    the blank one.

    Args:
        a: codes, shape (B, n).
        point: shape (n,).
        gammas: as in `mmd`.

    Returns:
        ().

    Raises:
        ValueError: the shapes are not (B, n) and (n,).
    """
    if point.dim() != 1:
        raise ValueError(f"expected one point, shape (n,), found {tuple(point.shape)}")
    # A point's kernel with itself is 1 for every gamma.
    return _kernel(a, a, gammas).mean() + len(gammas) - 2 * _kernel(a, point[None], gammas).mean()


def _kernel(a: Tensor, b: Tensor, gammas: Sequence[float]) -> Tensor:
    """Returns the sum of Gaussian kernels for all pairs, (B, B')."""
    distances = squared_distances(a, b)
    return torch.stack([torch.exp(-gamma * distances) for gamma in gammas]).sum(0)
