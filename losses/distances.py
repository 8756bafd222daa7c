"""Squared distances between two batches of codes."""

from torch import Tensor

from losses.precision import at_least_float32

__all__ = ["squared_distances"]


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    r"""Computes all pairwise squared Euclidean distances.

    $C_{ij} = \|a_i - b_j\|_2^2$: Eq. 9, Choudhuri et al. (2020).

    The differences are squared and summed directly. The expansion $a^2 + b^2 - 2ab$, which
    `torch.cdist` uses for large batches, gives a point a small non-zero distance from itself, and
    the narrow kernels of `mmd` react to it. A distance with a square root has no gradient at 0.
    The direct sum needs a few copies of (B, B', n) in memory, 16 MB each at B = B' = 256, n = 64.

    Args:
        a: codes, shape (B, n).
        b: codes, shape (B', n).

    Returns:
        (B, B'), never negative, exactly 0 between equal codes.

    Raises:
        ValueError: the shapes are not (B, n) and (B', n). Broadcasting would accept some of them.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"expected two batches of codes, (B, n) and (B', n), "
            f"found {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return (at_least_float32(a)[:, None] - at_least_float32(b)[None]).square().sum(2)
