"""Moment Matching Deep Contrastive Latent Variable Models. Ethan Weinberger, Nicasia Beebe-Wang, Su-In Lee. AISTATS 2022.

A contrastive VAE (two encoders, background decoded with a salient code of 0) whose codes are held in place by the maximum
mean discrepancy (MMD) with a sum of thirteen Gaussian kernels: the common codes of both sets should have one distribution,
and the salient codes of background images should all be 0. Cited as Weinberger et al. (2022) by Louiset et al. (2024) and
Carton et al. (2024); the paper itself was not at hand, its published code was read.

Where we differ from that code: its loss sums over a batch of 128 mixed images, about 64 pairs, while each MMD is a mean,
so that the weights 1e4 and 1e3 are 1e4 / 64 and 1e3 / 64 in our convention, at any batch size; its distances come from
`cdist`, whose self-distances are not 0 on accelerators; it returns a constant where an estimate is negative; and its
log-variances are unbounded, which the MMD of the background's salient codes drives to minus infinity. About one of its
trainings in ten ends in NaN.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from losses import mmd, mmd_to_point
from studio.distributed.collectives import gathered
from studio.methods.vae import VAE, Draw, VAEConfig

__all__ = ["MMCVAE", "MMCVAEConfig"]


class MMCVAEConfig(VAEConfig):
    """The method's section; the weights are those of the published code in our convention."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "mmd_z": 1e4 / 64,
        "mmd_s": 1e3 / 64,
    }

    name: Literal["mm_cvae"] = "mm_cvae"


class MMCVAE(VAE):
    """Creates `E_z`, `E_s` and `G`; arguments as of VAE."""

    paper = "Weinberger, Beebe-Wang, Lee. Moment Matching Deep Contrastive Latent Variable Models. AISTATS 2022."
    Config = MMCVAEConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {
        "mmd_z": "a discrepancy between sets",
        "mmd_s": "a discrepancy between sets",
    }

    def vae_terms(self, draw: Draw) -> dict[str, Tensor]:
        """The contrastive VAE's terms and both discrepancies, on samples of the posteriors."""
        (z_x, z_y), (s_x, _) = (part.chunk(2) for part in draw.code)
        terms = super().vae_terms(draw)
        if self.weights["mmd_z"]:
            terms["mmd_z"] = mmd(gathered(z_x), gathered(z_y))
        if self.weights["mmd_s"]:
            terms["mmd_s"] = mmd_to_point(gathered(s_x), self.blank(1)[0].to(s_x))
        return terms
