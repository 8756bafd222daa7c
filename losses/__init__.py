"""Losses: pure functions, tensors in, tensor out.

Terms that belong to an image return one number per image, shape (B,); the engine takes the mean and multiplies by the
weight. Statistics of a whole batch return one number, shape (). Everything takes logits, never probabilities, and
log-variances, never variances, so that it stays finite in bfloat16 and for any input.
"""

from losses.adversarial import looks_fake, looks_real
from losses.classification import is_background, is_target
from losses.contrast import shared_coordinate
from losses.gaussian import bounded, kl_standard, kl_to, reparameterise
from losses.information import code_error
from losses.mmd import mmd, mmd_to_point
from losses.ratio import (
    critic_loss,
    information,
    kl_from_samples,
    shuffled,
    symmetric_kl,
    tc_as_published,
)
from losses.reconstruction import image_error, squared_error
from losses.transport import w2_between, w2_to_point

__all__ = [
    "bounded",
    "code_error",
    "critic_loss",
    "image_error",
    "information",
    "is_background",
    "is_target",
    "kl_from_samples",
    "kl_standard",
    "kl_to",
    "looks_fake",
    "looks_real",
    "mmd",
    "mmd_to_point",
    "reparameterise",
    "shared_coordinate",
    "shuffled",
    "squared_error",
    "symmetric_kl",
    "tc_as_published",
    "w2_between",
    "w2_to_point",
]
