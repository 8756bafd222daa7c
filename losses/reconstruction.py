"""The image reconstruction losses."""

from torch import Tensor

from losses.precision import at_least_float32

__all__ = ["l1_per_pixel", "sse_unit_scale"]


def l1_per_pixel(made: Tensor, real: Tensor) -> Tensor:
    r"""L1 distance between images, averaged over the elements of each.

    $|G(\hat z, \hat s) - y_R|$: each term of Eq. 8 and 17, Carton et al. (2024); a Laplace likelihood with b = 1. Table
    6's weight holds for element means on images in [-1, 1].

    Args:
        made: reconstructions, shape (B, C, H, W).
        real: the images, same shape.

    Returns:
        (B,).
    """
    return (at_least_float32(made) - at_least_float32(real)).abs().flatten(1).mean(1)


def sse_unit_scale(made: Tensor, real: Tensor) -> Tensor:
    r"""Squared L2 distance between images, summed over the elements of each, in the units of images in [0, 1].

    $\|x - d_\theta([c, s])\|_2^2$: Eq. 2 a, Louiset et al. (2024), and the likelihood terms of Eq. 3 and 4, Abid and Zou
    (2019). The papers' weights hold for this sum, with no half, on images in [0, 1]. Ours are in [-1, 1], where a
    squared error is 4 times theirs: hence the quarter.

    Args:
        made: reconstructions, shape (B, ...), in [-1, 1].
        real: the images, same shape.

    Returns:
        (B,).
    """
    return (at_least_float32(made) - at_least_float32(real)).square().flatten(1).sum(1) / 4
