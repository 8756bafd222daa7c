"""Binary cross-entropy on logits."""

from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from losses.precision import at_least_float32

__all__ = ["bce", "domain_confusion"]


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


def domain_confusion(logits: Tensor) -> Tensor:
    r"""Computes the cross-entropy of logits against a probability of one half for either class.

    $-\frac12 \log \sigma(l) - \frac12 \log(1 - \sigma(l))$: Eq. 6, Tzeng et al. (2015), for two
    domains. It is smallest, log 2, where a classifier of the domain cannot decide.

    Args:
        logits: of the classifier, shape (B,).

    Returns:
        (B,), at least log 2, finite for any finite logit.
    """
    return (bce(logits, 0) + bce(logits, 1)) / 2
