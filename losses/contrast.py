"""The contrastive regulariser: which salient coordinate do two images share?"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from losses.precision import at_least_float32

__all__ = ["contrastive_regulariser"]


def contrastive_regulariser(logits: Tensor, k: Tensor) -> Tensor:
    r"""Computes the cross-entropy of identifying the shared coordinate of two salient codes.

    $CE(H(G(z, s^1), G(z, s^2)), k)$ with $s^1_k = s^2_k$: Eq. 18 and Fig. 10, Carton et al. (2024),
    after InfoGAN-CR.

    Args:
        logits: of H, one per salient coordinate, shape (B, m).
        k: index of the shared coordinate, shape (B,), int64.

    Returns:
        (B,).
    """
    return cross_entropy(at_least_float32(logits), k, reduction="none")
