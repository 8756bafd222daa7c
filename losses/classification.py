"""Binary cross-entropy on logits."""

from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from losses.precision import at_least_float32

__all__ = ["bce"]


def bce(logits: Tensor, label: Literal[0, 1]) -> Tensor:
    r"""Computes the binary cross-entropy of logits that share one label.

    $-\log \sigma(\text{logit})$ for label 1 and $-\log(1 - \sigma(\text{logit}))$ for label 0. With
    label 0 for background and 1 for target images, these are the class losses
    $\mathcal{B}(C(x), 0)$ and $\mathcal{B}(C(y), 1)$ of Eq. 5, Carton et al. (2024).

    Args:
        logits: of the classifier, shape (B,).
        label: the class of all B inputs.

    Returns:
        (B,), finite for any finite logit.
    """
    logits = at_least_float32(logits)
    return softplus(-logits if label else logits)
