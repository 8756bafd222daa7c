"""Squared 2-Wasserstein distances: to a point, and between two batches of codes."""

import numpy as np
import torch
from torch import Tensor

from losses.distances import squared_distances
from losses.precision import at_least_float32

__all__ = ["w2_between", "w2_to_point"]


def w2_to_point(mu: Tensor, logvar: Tensor, point: Tensor | float = 0.0) -> Tensor:
    r"""Squared 2-Wasserstein distance of a diagonal Gaussian to a point mass, $\|\mu - p\|^2 + \sum_k \sigma_k^2$.

    Lemma 2, Choudhuri et al. (2020): their differentiable stand-in (Sec. 3.1) for the indicator of Eq. 7, which keeps the
    background's salient code at zero.

    Args:
        mu: means, shape (B, n).
        logvar: log-variances, shape (B, n).
        point: where the mass is, broadcastable to (B, n).

    Returns:
        (B,), finite for any `soft_clip_logvar` log-variance.
    """
    return ((at_least_float32(mu) - point).square() + torch.exp(at_least_float32(logvar))).sum(1)


def w2_between(a: Tensor, b: Tensor) -> Tensor:
    r"""Exact squared 2-Wasserstein distance between two batches of codes, each of uniform weights.

    $\min_T \sum_{ij} T_{ij} \|a_i - b_j\|_2^2$ over the plans whose marginals are uniform: Eq. 8 and 9, Choudhuri et al.
    (2020). The plan is found exactly and held constant; by Danskin's theorem (their Sec. 3.2) the gradient is that of the
    cost under it. It is found on the CPU, where the device must wait for it.

    Args:
        a: codes, shape (B, n).
        b: codes, shape (B', n).

    Returns:
        (); not finite if a cost is not, so that the engine names the term.

    Raises:
        ValueError: the shapes are not (B, n) and (B', n).
    """
    cost = squared_distances(a, b)
    numbers = cost.detach().double().cpu().numpy()
    if not np.isfinite(numbers).all():
        return cost.mean()
    return (torch.from_numpy(_plan(numbers)).to(cost) * cost).sum()


def _plan(cost: np.ndarray) -> np.ndarray:
    """Returns the optimal plan between uniform weights for a finite cost, both (B, B'), float64."""
    import ot  # POT takes seconds to import (it brings scikit-learn), and only one method needs it.

    # Scaled to 1: the solver's tolerance is absolute. Its default of 1e5 iterations is short for batches beyond a thousand.
    return ot.emd([], [], cost / (cost.max() or 1.0), numItermax=1_000_000)
