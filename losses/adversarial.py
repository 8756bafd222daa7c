"""The logistic adversarial loss, in its non-saturating form for the generator."""

from torch import Tensor

from losses.classification import bce

__all__ = ["discriminator_logistic", "generator_nonsaturating"]


def discriminator_logistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Penalises the discriminator for calling real images fake and generated images real.

    $-\log D(I) - \log(1 - D(G(z)))$ with $D = \sigma(\text{logit})$: one bracket of Eq. 4 and 15,
    Carton et al. (2024).

    Args:
        real_logits: the discriminator's logits for real images, shape (B,).
        fake_logits: its logits for generated images, shape (B,).

    Returns:
        (B,), finite for any finite logits.
    """
    return bce(real_logits, 1) + bce(fake_logits, 0)


def generator_nonsaturating(fake_logits: Tensor) -> Tensor:
    r"""Penalises the generator for images that the discriminator calls fake.

    $-\log D(G(z))$, which Goodfellow et al. (2014) minimise instead of $\log(1 - D(G(z)))$ because
    its gradient does not vanish while the discriminator rejects every image. It replaces the
    generator's part of Eq. 4 and 15, Carton et al. (2024).

    Args:
        fake_logits: the discriminator's logits for generated images, shape (B,).

    Returns:
        (B,), finite for any finite logit.
    """
    return bce(fake_logits, 1)
