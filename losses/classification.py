"""The class loss: does an image belong to the background (0) or to the target (1)?"""

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["is_background", "is_target"]


def is_background(logits: Tensor) -> Tensor:
    r"""Binary cross-entropy of the classifier with label 0, $\mathcal{B}(C(x), 0)$. Eq. 5, Carton et al. (2024).

    Args:
        logits: of C, shape (B,).

    Returns:
        (B,), finite for any finite logit.
    """
    return softplus(logits.float())


def is_target(logits: Tensor) -> Tensor:
    r"""Binary cross-entropy of the classifier with label 1, $\mathcal{B}(C(y), 1)$. Eq. 5, Carton et al. (2024).

    Args:
        logits: of C, shape (B,).

    Returns:
        (B,), finite for any finite logit.
    """
    return softplus(-logits.float())
