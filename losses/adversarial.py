"""The non-saturating adversarial loss on logits."""

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["looks_fake", "looks_real"]


def looks_real(logits: Tensor) -> Tensor:
    r"""Penalises logits that call an image fake.

    $-\log D(I)$ with $D = \sigma(\text{logit})$: the first half of each bracket of Eq. 4 and 15 for real images, and what
    the generator minimises for its fakes (the non-saturating form of Goodfellow et al. 2014). Carton et al. (2024).

    Args:
        logits: of D, shape (B,).

    Returns:
        (B,), finite for any finite logit.
    """
    return softplus(-logits.float())


def looks_fake(logits: Tensor) -> Tensor:
    r"""Penalises logits that call an image real.

    $-\log(1 - D(I))$: the second half of each bracket of Eq. 4 and 15, Carton et al. (2024).

    Args:
        logits: of D, shape (B,).

    Returns:
        (B,), finite for any finite logit.
    """
    return softplus(logits.float())
