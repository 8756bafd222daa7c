"""SepVAE (Louiset et al. 2024): a contrastive VAE that separates pathological and healthy patterns.

It has two encoders, decodes background images with the salient code s' = 0, and adds three terms to
the contrastive VAE:

* The salient prior of background images is a narrow Gaussian around s' (Eq. 2c, App. B).
* A classifier with two layers must distinguish the two sets by the salient code (Eq. 2d).
* The mutual information of both codes is minimised. An independent critic estimates it, and the
  estimate is rectified (Eq. 3, Alg. 1, App. F).

Departures from the paper and its code, and choices where both leave one:

* `sigma_p` is a variance: the prior is N(s', sqrt(sigma_p)). The salient posterior of background
  images has a frozen variance, for which the code has the value 0.1 and the papers have none. The
  code writes the divergence from the prior as ||mu||^2 / (2 sigma_p). Ours is the complete
  divergence, whose other parts are constants while that variance is frozen.
* Classifier and critic see samples of both sets. Those of background images are drawn with the
  frozen variance. The decoder gets s' itself.
* The critic compares the codes of one image with codes of two images of the mixed batch. The paper
  shuffles, and its code rolls the batch by one. We use a random permutation, because our batch
  contains one domain after the other.
* gamma, the weight of the classification, is 1e-10 in the paper on a sum of squared errors, which
  is too small to influence the encoder or the classifier. Here the classifier has its own step
  (weight `classifier`) on codes without gradient, so that it is trained for any gamma. The encoder
  is trained with gamma alone (weight `class`).
* The authors create new optimisers at each epoch ("oddly ... better results"):
  `train.reset_optimizers`.
* With `severity`, an attribute of the targets in [0, 1], the standard deviation of an image's
  salient prior is its severity (App. B: "sigma_p(y) = y"), and at least sqrt(sigma_p), the value of
  background images. Then the variance of the background's posterior is learnt, as App. B asks for
  "a continuum between healthy and diseased populations". An unknown severity counts as 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from losses import bce, critic_bce, kl_gaussians, mutual_information, permute_codes
from nets import Critic
from studio.distributed.collectives import gather_domains
from studio.limits import Most
from studio.method import Code, Pair, Step, domain_terms, stack_domains, unstack_domains
from studio.methods.vae import VAE, Gaussian, VAEConfig, VAEDraw
from studio.schema import NetsConfig

__all__ = ["SepVAE", "SepVAEConfig"]

# Below this weight, the gradient of a cross-entropy is lost in that of a reconstruction error of
# tens.
NEGLIGIBLE = 1e-4


class SepVAEConfig(VAEConfig):
    """The section of SepVAE. Weights, sizes of the codes and sigma_p are those of App. E.1, CelebA.

    App. E.1 also has batches of 512, 250 epochs of 20,000 images and new optimisers at each epoch:
    `train: {batch: 512, images: 5_000_000, reset_optimizers: 20_000}`. These are not defaults.

    The paper's beta_c is `kl_z`, beta_s is `kl_s` and `prior_s`, kappa is `mi`, gamma is `class`.
    """

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
    """Name of the method."""
    sigma_p: float = Field(default=0.025, gt=0, lt=1)
    """Variance of the salient prior of background images.

    Unit: squared units of the salient code.
    Source: Louiset et al. (2024), App. E.1.
    """
    sigma_q: float = Field(default=0.1, gt=0, le=Most.LEVEL)
    """Frozen variance of the salient posterior of background images.

    Unit: squared units of the salient code.
    Source: the code of Louiset et al. (2024).
    """
    severity: str | None = None
    """Attribute of the target images in [0, 1] that sets the width of their salient prior. null:
    the prior is a standard Gaussian.

    Source: Louiset et al. (2024), App. B.
    """
    critic_width: int = Field(default=128, ge=1, le=Most.CHANNELS)
    """Width of the hidden layers of the critic.

    Unit: features.
    """
    critic_steps: int = Field(default=1, ge=1, le=Most.COUNT)
    """Steps of the critic per iteration.

    Unit: steps.
    """


class SepVAE(VAE):
    """Creates `E_z`, `E_s`, `G`, the critic `R` and the salient classifier `C`.

    `R` exists if `mi` has a weight, and `C` if `class` has one. The arguments are those of VAE.
    """

    paper = (
        "Robin Louiset, Edouard Duchesnay, Antoine Grigis, Benoit Dufumier, Pietro Gori. "
        "SepVAE: a contrastive VAE to separate pathological patterns from healthy ones. MIDL 2024."
    )
    Config = SepVAEConfig
    config: SepVAEConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {"mi": "its critic's permuted codes"}
    R: Critic
    C: Critic

    def __init__(self, config: SepVAEConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        if self.has_critic:
            self.R = Critic(config.z + config.s, config.critic_width)
        if self.has_classifier:
            self.C = Critic(config.s, max(config.s, 16), depth=1)

    @property
    def has_critic(self) -> bool:
        """Whether the mutual information of the codes is estimated."""
        return self.config.weights["mi"] > 0

    @property
    def has_classifier(self) -> bool:
        """Whether the salient codes are classified."""
        return self.config.weights["class"] > 0

    @property
    def pair_attribute(self) -> str | None:
        return self.config.severity

    def steps(self) -> Sequence[Step]:
        opponents = []
        if self.has_critic:
            opponents.append(self.R)
        if self.has_classifier:
            opponents.append(self.C)
        if not opponents:
            return super().steps()
        critic = Step("critic", opponents, self.critic_terms, self.config.critic_steps)
        return [critic, *super().steps()]

    def notes(self) -> list[str]:
        weight = self.weights["class"]
        if not 0 < weight < NEGLIGIBLE:
            return []
        return [f"sepvae: weights.class = {weight:g} is too small to influence the encoder"]

    def draw(self, pair: Pair) -> VAEDraw:
        draw = super().draw(pair)
        if self.config.severity is not None:
            return draw
        background, target = unstack_domains(draw.s.logvar)
        frozen = torch.full_like(background, log(self.config.sigma_q))
        s = Gaussian(draw.s.mu, stack_domains(frozen, target))
        return replace(draw, s=s, code=Code(draw.code.z, s.sample()))

    def critic_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """The discriminator of Alg. 1, and the classifier on codes without gradient."""
        code = draw.code.detach()
        terms = {}
        if self.has_critic:
            joint = Code(gather_domains(code.z), gather_domains(code.s))
            permuted = Code(joint.z, permute_codes(joint.s))
            loss = critic_bce(self.R(joint.concat()), self.R(permuted.concat()))
            terms = domain_terms("critic", loss)
        return {**terms, **self._class_terms("classifier", code.s)}

    def vae_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """Eq. 2 and Eq. 3."""
        terms = super().vae_terms(draw)
        background, target = unstack_domains(draw.s)
        narrow = log(self.config.sigma_p)
        terms["prior_s.background"] = kl_gaussians(background.mu, background.logvar, 0.0, narrow)
        if draw.pair.severity is not None:
            wide = 2 * draw.pair.severity.nan_to_num(1.0).clamp(min=1e-6).log()
            prior = wide.clamp(min=narrow)[:, None].to(target.mu)
            terms["kl_s.target"] = kl_gaussians(target.mu, target.logvar, 0.0, prior)
        if self.has_critic:
            joint = self.R(draw.code.concat())
            terms |= domain_terms("mi", mutual_information(joint, rectified=True))
        return {**terms, **self._class_terms("class", draw.code.s)}

    def _class_terms(self, name: str, s: Tensor) -> dict[str, Tensor]:
        if not self.has_classifier:
            return {}
        background, target = unstack_domains(self.C(s))
        return {
            f"{name}.background": bce(background, 0),
            f"{name}.target": bce(target, 1),
        }

    def classify_salient(self, s: Tensor) -> Tensor | None:
        """Returns logits (B,) that salient codes (B, m) belong to targets, as scored in App. D.

        None if no classifier is trained, because `class` or `classifier` has the weight 0.
        """
        trained = self.has_classifier and self.weights["classifier"] > 0
        return self.C(s) if trained else None
