"""Reconstruction losses: distances between images."""

from torch import Tensor

from losses.precision import at_least_float32

__all__ = ["l1_per_pixel", "sse_unit_scale"]


def l1_per_pixel(reconstructed: Tensor, real: Tensor) -> Tensor:
    r"""Computes the mean absolute difference between images.

    $|G(\hat z, \hat s) - y_R|$: each term of Eq. 8 and 17, Carton et al. (2024), the likelihood of
    a Laplace distribution with scale 1. The weight in the paper's Table 6 holds for this mean, on
    images in [-1, 1].

    Args:
        reconstructed: images, shape (B, C, H, W).
        real: the originals, same shape.

    Returns:
        (B,), averaged over channels and pixels.
    """
    difference = at_least_float32(reconstructed) - at_least_float32(real)
    return difference.abs().flatten(1).mean(1)


def sse_unit_scale(reconstructed: Tensor, real: Tensor) -> Tensor:
    r"""Computes the sum of squared errors between images, in units of images in [0, 1].

    $\|x - d_\theta([c, s])\|_2^2$: Eq. 2a, Louiset et al. (2024), and the likelihood terms of Eq. 3
    and 4, Abid and Zou (2019). The weights of both papers hold for this sum, without a factor 1/2,
    on images in [0, 1]. Images in [-1, 1] have four times that squared error, so the sum is divided
    by 4.

    Args:
        reconstructed: images, shape (B, ...), in [-1, 1].
        real: the originals, same shape.

    Returns:
        (B,), summed over channels and pixels.
    """
    difference = at_least_float32(reconstructed) - at_least_float32(real)
    return difference.square().flatten(1).sum(1) / 4
