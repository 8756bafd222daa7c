"""SepVAE: a contrastive VAE to separate pathological patterns from healthy ones. Robin Louiset et al. MIDL 2024.

A contrastive VAE (two encoders, background decoded with the salient code s' = 0) with three terms more: the salient prior
of background images is a narrow Gaussian around s' (Eq. 2c, App. B); a two-layer classifier must tell the two sets apart
by the salient code (Eq. 2d); and the mutual information of both codes is held down, estimated by an independent critic
and rectified (Eq. 3, Alg. 1, App. F).

Where the papers leave a choice, or we differ from them or from the authors' code:

* `sigma_p` is a variance (the prior is N(s', sqrt(sigma_p))). The salient posterior of background images has a frozen
  variance, for which neither paper has a value; the code says 0.1. The code writes the divergence to the prior as
  ||mu||^2 / (2 sigma_p); here it is the whole divergence, whose other parts are constants while that variance is frozen.
* The classifier and the critic look at samples of both sets, background ones with the frozen variance; the decoder gets
  s' itself.
* The critic compares an image's own codes with those of two images of the mixed batch; the paper shuffles, its code rolls
  the batch by one. Ours is a random permutation, since our batch has its domains in order.
* gamma, the weight of the classification, is 1e-10 in the paper on a sum of squared errors, at which neither the encoder
  nor the classifier feels it. The classifier has a step of its own here (weight `classifier`), on codes without gradient, so
  that it is trained whatever gamma is, and the encoder feels gamma alone (weight `class`).
* The authors make both optimisers anew at each epoch ("oddly ... better results"): `train.reset_optimizers`.
* With `severity`, an attribute of the targets in [0, 1], the salient prior of an image has that standard deviation (App.
  B: "sigma_p(y) = y"), at least sqrt(sigma_p), as background images have; their posterior's variance is then learnt, as
  App. B asks for "a continuum between healthy and diseased populations". Where the severity is not known, it is 1.
"""

from collections.abc import Mapping, Sequence
from math import log
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from losses import bce, critic_bce, kl_gaussians, mutual_information, permute_codes
from nets import Critic
from studio.distributed.collectives import gathered_halves
from studio.errors import StudioError
from studio.method import Code, Pair, Step, domain_terms
from studio.methods.vae import VAE, Draw, Gaussian, VAEConfig
from studio.schema import NetsConfig

__all__ = ["SepVAE", "SepVAEConfig"]

UNFELT = 1e-4  # beside a reconstruction error of tens, the gradient of a cross-entropy is then lost in that of the rest


class SepVAEConfig(VAEConfig):
    """The method's section; defaults are App. E.1, CelebA: beta_c, beta_s, kappa (`mi`), gamma (`class`), sigma_p."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "kl_z": 0.5,
        "kl_s": 0.5,
        "prior_s": 0.5,
        "mi": 2.0,
        "class": 1e-10,
        "critic": 1.0,
        "classifier": 1.0,
    }

    name: Literal["sepvae"] = "sepvae"
    sigma_p: float = Field(default=0.025, gt=0, lt=1)  # variance of the background's salient prior
    sigma_q: float = Field(default=0.1, gt=0)  # variance of its posterior; the authors' code
    severity: str | None = None  # attribute of the targets that says how salient they are
    critic_width: int = Field(default=128, ge=1)
    critic_steps: int = Field(default=1, ge=1)  # per iteration


class SepVAE(VAE):
    """Creates `E_z`, `E_s`, `G`, the critic `R` and the salient classifier `C`; arguments as of VAE.

    Neither `R` nor `C` is made where its term has weight 0.
    """

    paper = (
        "Louiset, Duchesnay, Grigis, Dufumier, Gori. "
        "SepVAE: a contrastive VAE to separate pathological patterns from healthy ones. MIDL 2024."
    )
    Config = SepVAEConfig
    config: SepVAEConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {"mi": "its critic's shuffled codes"}

    def __init__(self, config: SepVAEConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        self.R = Critic(config.z + config.s, config.critic_width) if config.weights["mi"] else None
        self.C = Critic(config.s, max(config.s, 16), depth=1) if config.weights["class"] else None

    def steps(self) -> Sequence[Step]:
        judges = [net for net in (self.R, self.C) if net is not None]
        judging = (
            [Step("critic", judges, self.critic_terms, self.config.critic_steps)] if judges else []
        )
        return [*judging, Step("vae", self.autoencoder, self.vae_terms)]

    def notes(self) -> list[str]:
        weight = self.weights["class"]
        if not 0 < weight < UNFELT:
            return []
        return [
            f"sepvae: the encoder does not feel its salient classification at weights.class = {weight:g}"
        ]

    def draw(self, pair: Pair) -> Draw:
        draw = super().draw(pair)
        if self.config.severity is None:
            frozen = torch.full_like(draw.s.logvar[: len(pair.x)], log(self.config.sigma_q))
            draw.s = Gaussian(draw.s.mu, torch.cat([frozen, draw.s.logvar[len(pair.x) :]]))
            draw.code = Code(draw.code.z, draw.s.sample())
        return draw

    def critic_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Alg. 1's discriminator, and the classifier on codes that carry no gradient."""
        z, s = (part.detach() for part in draw.code)
        critic = {}
        if self.R is not None:
            all_z, all_s = gathered_halves(z), gathered_halves(s)
            critic = domain_terms(
                "critic",
                critic_bce(self._ratio(all_z, all_s), self._ratio(all_z, permute_codes(all_s))),
            )
        return {**critic, **self._classified("classifier", s)}

    def vae_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Eq. 2 with Eq. 3."""
        half, narrow = len(draw.pair.x), log(self.config.sigma_p)
        terms = super().vae_terms(draw)
        terms["prior_s.background"] = kl_gaussians(
            draw.s.mu[:half], draw.s.logvar[:half], 0.0, narrow
        )
        if draw.pair.severity is not None:
            wide = 2 * draw.pair.severity.nan_to_num(1.0).clamp(min=1e-6).log()
            prior = wide.clamp(min=narrow)[:, None].to(draw.s.mu)
            terms["kl_s.target"] = kl_gaussians(draw.s.mu[half:], draw.s.logvar[half:], 0.0, prior)
        if self.R is not None:
            terms |= domain_terms("mi", mutual_information(self._ratio(*draw.code), rectified=True))
        return {**terms, **self._classified("class", draw.code.s)}

    def _ratio(self, z: Tensor, s: Tensor) -> Tensor:
        """Returns the critic's log-ratio of codes that belong together to codes that do not, (2B,)."""
        assert self.R is not None  # called only where there is a critic
        return self.R(torch.cat([z, s], 1))

    def _classified(self, name: str, s: Tensor) -> dict[str, Tensor]:
        if self.C is None:
            return {}
        background, target = self.C(s).chunk(2)
        return {
            f"{name}.background": bce(background, 0),
            f"{name}.target": bce(target, 1),
        }

    def classify_salient(self, s: Tensor) -> Tensor:
        """Returns the classifier's logits (B,) that salient codes (B, m) are a target's; the papers score it (App. D).

        Raises:
            StudioError: the method was trained without a classifier.
        """
        if self.C is None:
            raise StudioError("this sepvae has no salient classifier (weights.class is 0)")
        return self.C(s)
