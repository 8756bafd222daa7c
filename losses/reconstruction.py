"""The image reconstruction loss."""

from torch import Tensor

__all__ = ["image_error"]


def image_error(made: Tensor, real: Tensor) -> Tensor:
    r"""L1 distance between images, averaged over the elements of each.

    $|G(\hat z, \hat s) - y_R|$: each term of Eq. 8 and 17, Carton et al. (2024); a Laplace likelihood with b = 1. Table
    6's weight holds for element means on images in [-1, 1].

    Args:
        made: reconstructions, shape (B, C, H, W).
        real: the images, same shape.

    Returns:
        (B,).
    """
    return (made.float() - real.float()).abs().flatten(1).mean(1)
