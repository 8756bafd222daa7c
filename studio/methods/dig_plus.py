"""DIG+: Double InfoGAN with terms that take the target's content out of the common code.

This method is ours. Double InfoGAN (Carton, Louiset and Gori 2024) does not forbid its common code
to tell background and target images apart. On real chest X-rays a small classifier reads the domain
from z with a balanced accuracy of about 0.9. DIG+ adds three things, each with a switch of its own:

* Swapped codes (`swap_share`). A share of the fakes is generated from codes of real images instead
  of the prior: background fakes from (z of targets, 0), target fakes from (z of backgrounds, s of
  targets). The heads judge and read these fakes like any others, so that a swapped image must look
  like its new domain. The codes carry no gradient, and the swaps cost no additional pass.
* A critic (`weights.confuse`, `weights.critic`). The net R classifies the domain of real images
  from z in a step of its own. Step D adds the cross-entropy of R's logit against one half, which
  changes z until R cannot decide: the domain confusion loss of Tzeng et al. (2015), Eq. 6.
* No noise in the trunk (`noise: 0`, where Tables 4 and 5 of Carton et al. have 0.2). With noise the
  critic sees noisy codes in training, and a classifier of the noise-free codes still finds the
  domain.

A fourth addition is off by default (`weights.independence`). The critic only sees whether z tells
the domains apart, so an attribute within the target set can stay in z. In the critic's step a net P
learns to predict s of target images from their z. Step D moves z until P can do no better than a
constant. The gradient stops at s, so that the content leaves z and not s.

The common code is short by default (`z: 16`), because each coordinate is a place for the domain to
hide. Everything else is Double InfoGAN: see `studio.methods.double_infogan`.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from losses import bce, domain_confusion, latent_regression
from nets import Critic, Predictor
from studio.limits import Most
from studio.method import Code, Step, stack_domains, unstack_domains
from studio.methods.double_infogan import DoubleInfoGAN, DoubleInfoGANConfig, DoubleInfoGANDraw
from studio.schema import NetsConfig

__all__ = ["DIGPlus", "DIGPlusConfig"]


class DIGPlusConfig(DoubleInfoGANConfig):
    """The section of DIG+. Fields that it shares with Double InfoGAN have the same meaning."""

    default_weights: ClassVar[dict[str, float]] = {
        **DoubleInfoGANConfig.default_weights,
        "critic": 1.0,
        "confuse": 1.0,
        "independence": 0.0,
    }

    name: Literal["dig_plus"] = "dig_plus"
    """Name of the method."""
    z: int = Field(default=16, ge=1, le=Most.CHANNELS)
    """Length of the common code.

    Unit: coordinates.
    """
    s: int = Field(default=16, ge=1, le=Most.CHANNELS)
    """Length of the salient code.

    Unit: coordinates.
    """
    noise: float = Field(default=0.0, ge=0, le=Most.LEVEL)
    """Standard deviation of the Gaussian noise before each layer of the trunk in training.

    Unit: none.
    """
    swap_share: float = Field(default=0.5, ge=0, le=1)
    """Probability that the codes of a fake come from real images, with the domains exchanged. 0
    disables swaps.

    Unit: none.
    """
    critic_width: int = Field(default=256, ge=1, le=Most.CHANNELS)
    """Width of the hidden layers of the critic, and of the predictor of s.

    Unit: units.
    """
    critic_depth: int = Field(default=2, ge=0, le=Most.COUNT)
    """Number of hidden layers of the critic, and of the predictor of s.

    Unit: layers.
    """
    critic_steps: int = Field(default=3, ge=1, le=Most.COUNT)
    """Repetitions of the critic's step per iteration, on the same codes.

    Unit: steps per iteration.
    """


class DIGPlus(DoubleInfoGAN):
    """Creates the nets of Double InfoGAN, the critic `R` of common codes and the predictor `P`.

    `R` does not exist where `weights.confuse` is 0, and `P` where `weights.independence` is 0.

    Args:
        config: the `method` section of the config.
        nets: the `nets` section.
        shape: of one image: (C, H, W), (C, D, H, W) or (F,).
    """

    paper = (
        "This project, built from Double InfoGAN of Carton, Louiset and Gori (AISTATS 2024). "
        "DIG+. Unpublished, 2026."
    )
    Config = DIGPlusConfig
    config: DIGPlusConfig
    R: Critic
    P: Predictor

    def __init__(self, config: DIGPlusConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        if self.has_critic:
            self.R = Critic(config.z, config.critic_width, config.critic_depth)
        if self.has_predictor:
            self.P = Predictor(config.z, config.s, config.critic_width, config.critic_depth)

    @property
    def has_critic(self) -> bool:
        """Whether a critic reads the domain from common codes."""
        return self.config.weights["confuse"] > 0

    @property
    def has_predictor(self) -> bool:
        """Whether a net predicts salient codes from common ones."""
        return self.config.weights["independence"] > 0

    def steps(self) -> Sequence[Step]:
        steps = super().steps()
        nets = [self.R] if self.has_critic else []
        if self.has_predictor:
            nets = [*nets, self.P]
        if not nets:
            return steps
        return [Step("R", nets, self.critic_terms, self.config.critic_steps, redraw=False), *steps]

    def choose_codes(self, prior: Code, outputs: dict[str, Tensor]) -> Code:
        """Replaces about a share of the prior's codes by swapped codes of real images.

        Args:
            prior: codes of the prior, rows [background, target].
            outputs: outputs of the heads for the real images, in the same order.

        Returns:
            codes for the fakes, rows [background, target].
        """
        if self.config.swap_share == 0:
            return prior
        background, target = unstack_domains(prior)
        # Each image draws for itself, so that micro-batches and processes divide the swaps alike.
        # A normal number is below this limit with the probability `swap_share`.
        limit = torch.special.ndtri(torch.tensor(self.config.swap_share))
        swapped = torch.randn(len(background.z), 1, device=prior.z.device) < limit
        z, s = (unstack_domains(outputs[head].detach().float()) for head in ("z", "s"))
        return stack_domains(
            Code(torch.where(swapped, z.target, background.z), background.s),
            Code(
                torch.where(swapped, z.background, target.z),
                torch.where(swapped, s.target, target.s),
            ),
        )

    def critic_terms(self, draw: DoubleInfoGANDraw) -> dict[str, Tensor]:
        """The errors of the critic and of the predictor, on codes without gradient."""
        terms = {}
        if self.has_critic:
            background, target = unstack_domains(self.R(draw.outputs["z"].detach().float()))
            # One term, because the weights of the domains would make the critic prefer one of them.
            terms["critic"] = stack_domains(bce(background, 0), bce(target, 1))
        if self.has_predictor:
            z, s = (
                unstack_domains(draw.outputs[head].detach().float()).target for head in ("z", "s")
            )
            blind = self.P.constant.expand_as(s)
            terms["independence"] = latent_regression(self.P(z), s, "l2") + latent_regression(
                blind, s, "l2"
            )
        return terms

    def discriminator_terms(self, draw: DoubleInfoGANDraw) -> dict[str, Tensor]:
        """The terms of Double InfoGAN, the confusion of the critic and that of the predictor."""
        terms = super().discriminator_terms(draw)
        z = draw.outputs["z"].float()
        if self.has_critic:
            terms["confuse"] = domain_confusion(self.R(z))
        if self.has_predictor:
            found = self.P(unstack_domains(z).target)
            terms["independence"] = latent_regression(found, self.P.constant.expand_as(found), "l2")
        return terms
