"""Binary cross-entropy on logits: does an image belong to the background (0) or to the target (1)?"""

from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from losses.precision import at_least_float32

__all__ = ["bce"]


def bce(logits: Tensor, label: Literal[0, 1]) -> Tensor:
    r"""Binary cross-entropy of logits that all have the same label.

    $-\log \sigma(l)$ for label 1 and $-\log(1 - \sigma(l))$ for label 0: $\mathcal{B}(C(y), 1)$ and
    $\mathcal{B}(C(x), 0)$ of Eq. 5, Carton et al. (2024).

    Args:
        logits: of the classifier, shape (B,).
        label: 1 for target (or real, or joint), 0 for background (or fake, or permuted).

    Returns:
        (B,), finite for any finite logit.
    """
    logits = at_least_float32(logits)
    return softplus(-logits if label else logits)
