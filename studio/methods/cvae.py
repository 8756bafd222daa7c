"""Contrastive Variational Autoencoder Enhances Salient Features. Abubakar Abid, James Zou. 2019.

Two encoders; the salient code of a background image is 0 where it is decoded (Eq. 3 and 4). A total correlation term makes
the two codes of a target image independent (Eq. 5 and 13), estimated by a critic that tells an image's own two codes from
shuffled ones (Eq. 14). In the authors' code the letters are the other way round: there z is salient.

Where the paper leaves a choice, or we differ from it:

* Published is a logistic regression as the critic, "trained simultaneously with the encoder and decoder": their code adds
  both its loss and the total correlation to one objective that one optimiser minimises. The two then add up to
  -log(1 - q) - log(1 - q'), which a critic that always says 0 minimises, whatever the codes: the term says nothing about
  independence. `as_published: true` trains just that. By default the critic is a multilayer perceptron (a linear one
  cannot see dependence that is not a difference of means) with an optimiser and a step of its own, as Louiset et al.
  (2024) do for this method, and the encoders move against it.
* The critic looks at targets only, since a background image has no salient code (Eq. 5 is "for the target dataset").
* `nets.zero_bias` is Sec. 3's option: no biases, so that a code of zeros decodes to black and z = 0 "denoises".
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from losses import critic_bce, mutual_information, permute_codes, tc_as_published
from nets import Critic
from studio.distributed.collectives import gathered
from studio.method import Code, Step
from studio.methods.vae import VAE, Draw, VAEConfig
from studio.schema import Flag, NetsConfig

__all__ = ["CVAE", "CVAEConfig"]


class CVAEConfig(VAEConfig):
    """The method's section; all weights are 1 in the paper's equations and code."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "tc": 1.0,
        "critic": 1.0,
    }

    name: Literal["cvae"] = "cvae"
    as_published: Flag = False
    critic_width: int = Field(default=128, ge=1)
    critic_depth: int = Field(default=2, ge=1)
    critic_steps: int = Field(default=1, ge=1)  # per iteration


class CVAE(VAE):
    """Creates `E_z`, `E_s`, `G` and, where `tc` has a weight, the critic `R`; arguments as of VAE."""

    paper = "Abid, Zou. Contrastive Variational Autoencoder Enhances Salient Features. 2019."
    Config = CVAEConfig
    config: CVAEConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {"tc": "its critic's shuffled codes"}

    def __init__(self, config: CVAEConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        depth = 0 if config.as_published else config.critic_depth
        self.R = (
            Critic(config.z + config.s, config.critic_width, depth)
            if config.weights["tc"]
            else None
        )

    def steps(self) -> Sequence[Step]:
        if self.R is None:
            return [Step("vae", self.autoencoder, self.vae_terms)]
        if self.config.as_published:
            return [Step("vae", [*self.autoencoder, self.R], self.vae_terms)]
        critic = Step("critic", [self.R], self.critic_terms, self.config.critic_steps)
        return [critic, Step("vae", self.autoencoder, self.vae_terms)]

    def notes(self) -> list[str]:
        if not self.config.as_published or self.R is None:
            return []
        return [
            "cvae as published: its total correlation and its critic's loss cancel, so neither makes z and s independent"
        ]

    def critic_terms(self, draw: Draw) -> dict[str, Tensor]:
        """The classifier of App. C: an image's own codes against those of two images."""
        z, s = map(gathered, self._targets(draw))
        return {
            "critic": critic_bce(
                self._ratio(z.detach(), s.detach()),
                self._ratio(z.detach(), permute_codes(s.detach())),
            )
        }

    def vae_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Eq. 3, 4 and 14."""
        terms = super().vae_terms(draw)
        if self.R is None:
            return terms
        z, s = self._targets(draw)
        if self.config.as_published:
            z, s = gathered(z), gathered(s)
        joint = self._ratio(z, s)
        tc = (
            tc_as_published(joint, self._ratio(z, permute_codes(s)))
            if self.config.as_published
            else mutual_information(joint)
        )
        return {**terms, "tc.target": tc}

    def _targets(self, draw: Draw) -> Code:
        half = len(draw.pair.x)
        return Code(draw.code.z[half:], draw.code.s[half:])

    def _ratio(self, z: Tensor, s: Tensor) -> Tensor:
        """Returns the critic's log-ratio of codes that belong together to codes that do not, (B,)."""
        assert self.R is not None  # called only where there is a critic
        return self.R(torch.cat([z, s], 1))
