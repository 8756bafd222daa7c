"""Squared 2-Wasserstein distances: from a Gaussian to a point, and between two batches of codes."""

import numpy as np
import torch
from torch import Tensor

from losses.distances import squared_distances
from losses.precision import at_least_float32

__all__ = ["w2_between", "w2_to_point"]


def w2_to_point(mu: Tensor, logvar: Tensor, point: Tensor | float = 0.0) -> Tensor:
    r"""Computes the squared 2-Wasserstein distance of diagonal Gaussians to a point mass.

    $\|\mu - p\|^2 + \sum_k \sigma_k^2$: Lemma 2, Choudhuri et al. (2020). Their Sec. 3.1 uses this
    differentiable distance instead of the indicator function of Eq. 7, which requires the
    background's salient code to be zero.

    Args:
        mu: means, shape (B, n).
        logvar: log-variances, shape (B, n).
        point: position of the point mass, broadcastable to (B, n).

    Returns:
        (B,), finite for log-variances within the limits of `soft_clip_logvar`.
    """
    return ((at_least_float32(mu) - point).square() + torch.exp(at_least_float32(logvar))).sum(1)


def w2_between(a: Tensor, b: Tensor) -> Tensor:
    r"""Computes the exact squared 2-Wasserstein distance between two batches of codes.

    $\min_T \sum_{ij} T_{ij} \|a_i - b_j\|_2^2$ over all plans T with uniform marginals: Eq. 8 and
    9, Choudhuri et al. (2020). By Danskin's theorem (their Sec. 3.2) the gradient is that of the
    cost with the optimal plan held constant. The plan is computed on the CPU, which stalls the
    accelerator.

    Args:
        a: codes, shape (B, n).
        b: codes, shape (B', n).

    Returns:
        (). Not finite if any distance is not finite, so that the training loop can report the term.

    Raises:
        ValueError: the shapes are not (B, n) and (B', n).
    """
    cost = squared_distances(a, b)
    values = cost.detach().double().cpu().numpy()
    if not np.isfinite(values).all():
        return cost.mean()
    return (torch.from_numpy(_optimal_plan(values)).to(cost) * cost).sum()


def _optimal_plan(cost: np.ndarray) -> np.ndarray:
    """Returns the optimal plan between uniform weights for a finite cost, both (B, B'), float64."""
    # Imported here, because POT also imports scikit-learn, which takes seconds, and only one method
    # needs it.
    import ot

    # The cost is scaled to 1, because the solver's tolerance is absolute. The solver's default
    # limit of 1e5 iterations is too low for batches of more than a thousand codes.
    return ot.emd([], [], cost / (cost.max() or 1.0), numItermax=1_000_000)
