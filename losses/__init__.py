"""Losses: pure functions, tensors in, tensor out.

Terms that belong to an image return one number per image, shape (B,); the engine takes the mean and multiplies by the
weight. Statistics of a whole batch return one number, shape (). Everything takes logits, never probabilities, and
log-variances, never variances, so that it stays finite in bfloat16 and for any input.
"""

from losses.adversarial import discriminator_logistic, generator_nonsaturating
from losses.classification import bce
from losses.contrast import contrastive_regulariser
from losses.gaussian import kl_gaussians, kl_standard_normal, reparameterise, soft_clip_logvar
from losses.information import latent_regression
from losses.mmd import mmd, mmd_to_point
from losses.ratio import (
    critic_bce,
    kl_estimate,
    mutual_information,
    permute_codes,
    tc_as_published,
)
from losses.reconstruction import l1_per_pixel, sse_unit_scale
from losses.transport import w2_between, w2_to_point

__all__ = [
    "bce",
    "contrastive_regulariser",
    "critic_bce",
    "discriminator_logistic",
    "generator_nonsaturating",
    "kl_estimate",
    "kl_gaussians",
    "kl_standard_normal",
    "l1_per_pixel",
    "latent_regression",
    "mmd",
    "mmd_to_point",
    "mutual_information",
    "permute_codes",
    "reparameterise",
    "soft_clip_logvar",
    "sse_unit_scale",
    "tc_as_published",
    "w2_between",
    "w2_to_point",
]
