"""The contrastive VAE of Choudhuri et al. (2020), "Towards Principled Objectives".

It adds two terms to the contrastive VAE:

* The bound of the likelihood requires that the salient posterior of a background image is a point
  at 0 (Eq. 6 and 7). This is relaxed to the squared 2-Wasserstein distance to that point,
  ||mu||^2 + ||sigma||^2 (Lemma 2).
* The squared 2-Wasserstein distance between the common codes of both sets, which is exact for each
  batch (Eq. 8 and 9). Its gradient holds the transport plan constant (Danskin). `weights.w2: 0`
  gives Eq. 7 alone.

The paper does not say whether the common codes in Eq. 8 are samples or means. We use samples,
following its words "the empirical marginal distribution of the common factors". The weight of the
KL divergences is the paper's beta = 2 (App. A.3). The paper does not state the variance of its
likelihood. `recon: 1` is a variance of 1/2 on images in [0, 1].
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from losses import w2_between, w2_to_point
from studio.distributed.collectives import gather_rows
from studio.method import unstack_domains
from studio.methods.vae import VAE, VAEConfig, VAEDraw

__all__ = ["Principled", "PrincipledConfig"]


class PrincipledConfig(VAEConfig):
    """The section of the method.

    `w2` is the paper's lambda_z, best at 1 (Sec. 4.2). `salient_zero` has no weight in Eq. 7.
    """

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "kl_z": 2.0,
        "kl_s": 2.0,
        "salient_zero": 1.0,
        "w2": 1.0,
    }

    name: Literal["principled"] = "principled"
    """Name of the method."""


class Principled(VAE):
    """Creates `E_z`, `E_s` and `G`. The arguments are those of VAE."""

    paper = (
        "Anwesa Choudhuri, Ashok Vardhan Makkuva, Ranvir Rana, Sewoong Oh, Girish Chowdhary, "
        "Alexander Schwing. Towards Principled Objectives for Contrastive Disentanglement. "
        "Submitted to ICLR 2020."
    )
    Config = PrincipledConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {"w2": "a transport plan"}

    def vae_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """The terms of Eq. 3, and those that Eq. 7 and Eq. 8 add."""
        z = unstack_domains(draw.code.z)
        terms = super().vae_terms(draw)
        if self.weights["salient_zero"]:
            salient = unstack_domains(draw.s).background
            terms["salient_zero.background"] = w2_to_point(salient.mu, salient.logvar)
        if self.weights["w2"]:
            terms["w2"] = w2_between(gather_rows(z.background), gather_rows(z.target))
        return terms
