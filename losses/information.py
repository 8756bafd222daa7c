"""The information loss: can the code be read back from the image?"""

from torch import Tensor

from losses.precision import at_least_float32

__all__ = ["latent_regression"]


def latent_regression(read: Tensor, true: Tensor, norm: str = "l1") -> Tensor:
    r"""Negative log-likelihood of a code under Q, up to constants, averaged over the code's elements.

    `l1`: $|Q(I) - c|$, Q a Laplace distribution with b = 1, each of the five terms of Eq. 6 and 16, Carton et al. (2024).
    `l2`: $(Q(I) - c)^2 / 2$, Q a Gaussian of identity covariance, which the paper also tried (Sec. 4, "Info Loss").
    Table 6's weights hold for element means.

    Args:
        read: what Q reads from the images, shape (B, n).
        true: the code that made them, shape (B, n); zeros where the salient code must be blank.
        norm: `l1` or `l2`.

    Returns:
        (B,).
    """
    difference = at_least_float32(read) - at_least_float32(true)
    return (difference.abs() if norm == "l1" else difference.square() / 2).mean(1)
