"""Squared distances between two batches of codes."""

from torch import Tensor

from losses.precision import at_least_float32

__all__ = ["squared_distances"]


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    r"""All pairs' squared Euclidean distances, $C_{ij} = \|a_i - b_j\|_2^2$: Eq. 9, Choudhuri et al. (2020).

    Summed directly. By a product of matrices ($a^2 + b^2 - 2ab$, as `torch.cdist` has it) a point is not at distance 0
    from itself, and kernels as narrow as those of `mmd` see it; through a square root the gradient at distance 0 is lost.
    Memory: a few copies of (B, B', n); 16 MB each at B = B' = 256, n = 64.

    Args:
        a: codes, shape (B, n).
        b: codes, shape (B', n).

    Returns:
        (B, B'), never negative, exactly 0 between equal codes.

    Raises:
        ValueError: the shapes are not (B, n) and (B', n), which broadcasting would accept without a word.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"expected two batches of codes, (B, n) and (B', n), found {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return (at_least_float32(a)[:, None] - at_least_float32(b)[None]).square().sum(2)
