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

The common code is short by default (`z: 16`), because each coordinate is a place for the domain to
hide. Everything else is Double InfoGAN: see `studio.methods.double_infogan`.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from losses import bce, domain_confusion
from nets import Critic
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
    """Width of the hidden layers of the critic.

    Unit: units.
    """
    critic_depth: int = Field(default=2, ge=0, le=Most.COUNT)
    """Number of hidden layers of the critic.

    Unit: layers.
    """
    critic_steps: int = Field(default=3, ge=1, le=Most.COUNT)
    """Repetitions of the critic's step per iteration, on the same codes.

    Unit: steps per iteration.
    """


class DIGPlus(DoubleInfoGAN):
    """Creates the nets of Double InfoGAN, and the critic `R` of common codes.

    `R` does not exist where `weights.confuse` is 0.

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

    def __init__(self, config: DIGPlusConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        if self.has_critic:
            self.R = Critic(config.z, config.critic_width, config.critic_depth)

    @property
    def has_critic(self) -> bool:
        """Whether a critic reads the domain from common codes."""
        return self.config.weights["confuse"] > 0

    def steps(self) -> Sequence[Step]:
        steps = super().steps()
        if not self.has_critic:
            return steps
        times = self.config.critic_steps
        return [Step("R", [self.R], self.critic_terms, times, redraw=False), *steps]

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
        """The cross-entropy of the critic, on codes without gradient."""
        background, target = unstack_domains(self.R(draw.outputs["z"].detach().float()))
        # One term, because the weights of the domains would make the critic prefer one of them.
        return {"critic": stack_domains(bce(background, 0), bce(target, 1))}

    def discriminator_terms(self, draw: DoubleInfoGANDraw) -> dict[str, Tensor]:
        """The terms of Double InfoGAN, and the confusion of the critic."""
        terms = super().discriminator_terms(draw)
        if self.has_critic:
            logits = self.R(draw.outputs["z"].float())
            terms["confuse"] = domain_confusion(logits)
        return terms
