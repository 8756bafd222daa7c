"""Towards Principled Objectives for Contrastive Disentanglement. Anwesa Choudhuri et al. Under review, ICLR 2020.

A contrastive VAE with the term that its bound really has: the salient posterior of a background image must be a point at 0
(Eq. 6 and 7), relaxed to the squared 2-Wasserstein distance to that point, ||mu||^2 + ||sigma||^2 (Lemma 2). Beside it the
squared 2-Wasserstein distance between the common codes of both sets, exact for each batch (Eq. 8 and 9); its gradient
holds the transport plan constant (Danskin). `weights.w2: 0` gives Eq. 7 alone.

The paper does not say whether the common codes in Eq. 8 are samples or means; "the empirical marginal distribution of the
common factors" are samples here. The KL weight is the paper's beta = 2 (App. A.3).
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from losses import w2_between, w2_to_point
from studio.distributed.collectives import gathered
from studio.methods.vae import VAE, Draw, VAEConfig

__all__ = ["Principled", "PrincipledConfig"]


class PrincipledConfig(VAEConfig):
    """The method's section; `w2` is lambda_z, best at 1 (Sec. 4.2), `salient_zero` stands without a weight in Eq. 7."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "kl_z": 2.0,
        "kl_s": 2.0,
        "salient_zero": 1.0,
        "w2": 1.0,
    }

    name: Literal["principled"] = "principled"


class Principled(VAE):
    """Creates `E_z`, `E_s` and `G`; arguments as of VAE."""

    paper = "Choudhuri et al. Towards Principled Objectives for Contrastive Disentanglement. 2020."
    Config = PrincipledConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {"w2": "a transport plan"}

    def vae_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Eq. 3 with the term of Eq. 7, and Eq. 8."""
        half = len(draw.pair.x)
        z_x, z_y = draw.code.z.chunk(2)
        terms = super().vae_terms(draw)
        if self.weights["salient_zero"]:
            terms["salient_zero.background"] = w2_to_point(draw.s.mu[:half], draw.s.logvar[:half])
        if self.weights["w2"]:
            terms["w2"] = w2_between(gathered(z_x), gathered(z_y))
        return terms
