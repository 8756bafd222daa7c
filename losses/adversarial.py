"""The non-saturating adversarial loss on logits."""

from torch import Tensor

from losses.classification import bce

__all__ = ["discriminator_logistic", "generator_nonsaturating"]


def discriminator_logistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Penalises a discriminator for each real image that it calls fake and each fake that it calls real.

    $-\log D(I) - \log(1 - D(G(z)))$: each bracket of Eq. 4 and 15, Carton et al. (2024).

    Args:
        real_logits: of D on real images, shape (B,).
        fake_logits: of D on generated images, shape (B,).

    Returns:
        (B,), finite for any finite logits.
    """
    return bce(real_logits, 1) + bce(fake_logits, 0)


def generator_nonsaturating(fake_logits: Tensor) -> Tensor:
    r"""Penalises the generator for each image that the discriminator calls fake.

    $-\log D(G(z))$: the non-saturating form, Goodfellow et al. (2014), of Eq. 4 and 15, Carton et al. (2024).

    Args:
        fake_logits: of D on generated images, shape (B,).

    Returns:
        (B,), finite for any finite logit.
    """
    return bce(fake_logits, 1)
