"""MM-cVAE (Weinberger, Beebe-Wang and Lee 2022): a contrastive VAE that matches moments.

It has two encoders and decodes background images with a salient code of 0. Two discrepancies
constrain the codes. Both are the maximum mean discrepancy (MMD) with a sum of thirteen Gaussian
kernels. The first pulls the common codes of both sets to one distribution, the second pulls the
salient codes of background images to 0.

We had the published code, but not the paper, which Louiset et al. (2024) and Carton et al. (2024)
cite. Differences from that code:

* Its loss is a sum over a batch of 128 mixed images, about 64 pairs, while each MMD is a mean. Its
  weights 1e4 and 1e3 are therefore 1e4 / 64 and 1e3 / 64 in our convention, for any batch size.
* Its distances are computed by `cdist`, where the distance of a point to itself is not 0 on
  accelerators.
* It returns a constant where an estimate is negative.
* Its log-variances are unbounded, and the MMD of the background's salient codes drives them to
  minus infinity. About one of its trainings in ten ends in NaN.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from losses import mmd, mmd_to_point
from studio.distributed.collectives import gather_rows
from studio.method import unstack_domains
from studio.methods.vae import VAE, VAEConfig, VAEDraw

__all__ = ["MMCVAE", "MMCVAEConfig"]


class MMCVAEConfig(VAEConfig):
    """The section of MM-cVAE. The weights are those of the published code in our convention."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "mmd_z": 1e4 / 64,
        "mmd_s": 1e3 / 64,
    }

    name: Literal["mm_cvae"] = "mm_cvae"
    """Name of the method."""


class MMCVAE(VAE):
    """Creates `E_z`, `E_s` and `G`. The arguments are those of VAE."""

    paper = (
        "Ethan Weinberger, Nicasia Beebe-Wang, Su-In Lee. "
        "Moment Matching Deep Contrastive Latent Variable Models. AISTATS 2022."
    )
    Config = MMCVAEConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {
        "mmd_z": "a discrepancy between sets",
        "mmd_s": "a discrepancy between sets",
    }

    def vae_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """The terms of the contrastive VAE and both discrepancies, on samples of the posteriors."""
        background, target = unstack_domains(draw.code)
        terms = super().vae_terms(draw)
        if self.weights["mmd_z"]:
            terms["mmd_z"] = mmd(gather_rows(background.z), gather_rows(target.z))
        if self.weights["mmd_s"]:
            blank = self.blank(1)[0].to(background.s)
            terms["mmd_s"] = mmd_to_point(gather_rows(background.s), blank)
        return terms
