"""Loss functions: tensors in, one tensor out, no weights and no state.

A loss that belongs to an image returns one value per image, shape (B,). The training loop averages
it over the batch and multiplies it by its weight. A statistic of the whole batch, such as the
maximum mean discrepancy, returns a single value, shape ().

Classifiers and critics pass logits, never probabilities, and encoders pass log-variances, never
variances. All losses compute in float32 or float64, whatever the precision of their inputs. They
therefore stay finite in mixed precision and for extreme inputs.

| module | losses |
| --- | --- |
| `adversarial` | the logistic GAN loss of the discriminator and of the generator |
| `classification` | binary cross-entropy on logits |
| `contrast` | the contrastive regulariser |
| `gaussian` | KL divergences between diagonal Gaussians, and sampling from them |
| `information` | regression of a code from the image that was generated from it |
| `mmd` | maximum mean discrepancy between two batches of codes |
| `ratio` | mutual information and KL divergence, estimated by a critic |
| `reconstruction` | L1 and squared distances between images |
| `transport` | 2-Wasserstein distances between codes |
| `distances`, `precision` | pairwise distances and the float32 conversion that losses share |

Each docstring names the paper and the equation that the function implements.
"""

from losses.adversarial import discriminator_logistic, generator_nonsaturating
from losses.classification import bce, domain_confusion
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
    "domain_confusion",
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
