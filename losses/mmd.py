"""The maximum mean discrepancy between two batches of codes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from losses.distances import squared_distances

__all__ = ["GAMMAS", "mmd", "mmd_to_point"]

GAMMAS = tuple(10.0**power for power in range(-6, 7))


def mmd(a: Tensor, b: Tensor, gammas: Sequence[float] = GAMMAS) -> Tensor:
    r"""Estimates the squared maximum mean discrepancy under a sum of Gaussian kernels.

    $\frac1{B^2}\sum_{ij} k(a_i, a_j) + \frac1{B'^2}\sum_{ij} k(b_i, b_j)
    - \frac2{BB'}\sum_{ij} k(a_i, b_j)$ with $k(u, v) = \sum_\gamma e^{-\gamma \|u - v\|^2}$: the
    square of Eq. 5, Gretton et al. (2012), a biased V-statistic that includes the diagonals. It is
    never negative except for rounding. It is therefore not clamped at 0, which would remove the
    gradient.

    MM-cVAE, Weinberger et al. (2022), applies it to the common codes of both domains. The 13
    kernels and their sum (not their mean) follow the authors' code. We did not have access to the
    paper.

    Args:
        a: codes, shape (B, n).
        b: codes, shape (B', n).
        gammas: parameters of the kernels, in inverse squared units of the codes.

    Returns:
        (), between 0 and 2 len(gammas), 0 if both batches hold the same codes.

    Raises:
        ValueError: the shapes are not (B, n) and (B', n).
    """
    between = _sum_of_kernels(a, b, gammas).mean()  # first, because it checks that the shapes match
    within_a, within_b = (_sum_of_kernels(codes, codes, gammas).mean() for codes in (a, b))
    return within_a + within_b - 2 * between


def mmd_to_point(a: Tensor, point: Tensor, gammas: Sequence[float] = GAMMAS) -> Tensor:
    r"""Estimates the squared maximum mean discrepancy between codes and a point mass.

    Equals `mmd(a, point.expand_as(a))` at half the cost: the square of Eq. 5, Gretton et al.
    (2012). MM-cVAE, Weinberger et al. (2022), applies it to the background's salient codes and the
    blank code.

    Args:
        a: codes, shape (B, n).
        point: the position of the point mass, shape (n,).
        gammas: parameters of the kernels, as in `mmd`.

    Returns:
        (), between 0 and 2 len(gammas).

    Raises:
        ValueError: the shapes are not (B, n) and (n,).
    """
    if point.dim() != 1:
        raise ValueError(f"expected one point, shape (n,), found {tuple(point.shape)}")
    within, between = (_sum_of_kernels(a, b, gammas).mean() for b in (a, point[None]))
    return within + len(gammas) - 2 * between  # k(point, point) = 1 for every gamma


def _sum_of_kernels(a: Tensor, b: Tensor, gammas: Sequence[float]) -> Tensor:
    """Returns the sum of the Gaussian kernels for all pairs, (B, B')."""
    distances = squared_distances(a, b)
    return torch.stack([torch.exp(-gamma * distances) for gamma in gammas]).sum(0)
