"""The information loss of InfoGAN: a code must be readable from the image generated from it."""

from torch import Tensor

from losses.precision import at_least_float32

__all__ = ["latent_regression"]


def latent_regression(read: Tensor, true: Tensor, norm: str = "l1") -> Tensor:
    r"""Computes the negative log-likelihood of a code under Q, up to constants.

    `l1`: $|Q(I) - c|$, where Q is a Laplace distribution with scale 1. Each of the five terms of
    Eq. 6 and 16, Carton et al. (2024), has this form. `l2`: $(Q(I) - c)^2 / 2$, where Q is a
    Gaussian with identity covariance, which the paper also tried (Sec. 4, "Info Loss").

    Args:
        read: the code that Q reads from an image, shape (B, n).
        true: the code from which the image was generated, shape (B, n). Zeros where the salient
            code must be blank.
        norm: `l1` or `l2`.

    Returns:
        (B,), averaged over the n coordinates, as the weights of the paper's Table 6 require.
    """
    difference = at_least_float32(read) - at_least_float32(true)
    return (difference.abs() if norm == "l1" else difference.square() / 2).mean(1)
