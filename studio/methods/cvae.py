"""cVAE (Abid and Zou 2019): a contrastive VAE with independent codes.

It has two encoders and decodes background images with a salient code of 0 (Eq. 3 and 4). A total
correlation term makes the two codes of a target image independent (Eq. 5 and 13). A critic
estimates it: it distinguishes an image's own pair of codes from pairs with a permuted salient code
(Eq. 14). The authors' code exchanges the letters: there z is salient.

Departures from the paper, and our choices where the paper is silent:

* The published critic is a logistic regression "trained simultaneously with the encoder and
  decoder": the authors' code adds its loss and the total correlation to one objective, which one
  optimiser minimises. The two add up to -log(1 - q) - log(1 - q'). A critic that always answers 0
  minimises this sum for any codes, so the term does not make the codes independent.
  `as_published: true` trains exactly this objective.
* By default the critic is a multilayer perceptron with its own optimiser and step, and the encoders
  are trained against it, as Louiset et al. (2024) do for this method. A linear critic cannot detect
  a dependence other than a difference of means.
* The critic sees target images only, because background images have no salient code (Eq. 5 is "for
  the target dataset").
* `nets.zero_bias` is the option of Sec. 3: without biases, a code of zeros decodes to black, and
  z = 0 "denoises".
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from losses import critic_bce, mutual_information, permute_codes, tc_as_published
from nets import Critic
from studio.distributed.collectives import gather_rows
from studio.limits import Most
from studio.method import Code, Step, unstack_domains
from studio.methods.vae import VAE, VAEConfig, VAEDraw
from studio.schema import Flag, NetsConfig

__all__ = ["CVAE", "CVAEConfig"]


class CVAEConfig(VAEConfig):
    """The section of cVAE. All weights are 1 in the paper's equations and in its code."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "tc": 1.0,
        "critic": 1.0,
    }

    name: Literal["cvae"] = "cvae"
    """Name of the method."""
    as_published: Flag = False
    """Whether critic and encoders minimise one common objective, as in the authors' code. Then the
    critic is a logistic regression, and the other fields of the critic are ignored.

    Source: Abid and Zou (2019), App. C, and the authors' code.
    """
    critic_width: int = Field(default=128, ge=1, le=Most.CHANNELS)
    """Width of the hidden layers of the critic.

    Unit: features.
    """
    critic_depth: int = Field(default=2, ge=1, le=Most.COUNT)
    """Number of hidden layers of the critic.

    Unit: layers.
    """
    critic_steps: int = Field(default=1, ge=1, le=Most.COUNT)
    """Steps of the critic per iteration.

    Unit: steps.
    """


class CVAE(VAE):
    """Creates `E_z`, `E_s`, `G` and, if `tc` has a weight, the critic `R`.

    The arguments are those of VAE.
    """

    paper = (
        "Abubakar Abid, James Zou. Contrastive Variational Autoencoder Enhances Salient Features. "
        "arXiv:1902.04601, 2019."
    )
    Config = CVAEConfig
    config: CVAEConfig
    contrastive = True
    batch_terms: ClassVar[Mapping[str, str]] = {"tc": "its critic's permuted codes"}
    R: Critic

    def __init__(self, config: CVAEConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        if self.has_critic:
            depth = 0 if config.as_published else config.critic_depth
            self.R = Critic(config.z + config.s, config.critic_width, depth)

    @property
    def has_critic(self) -> bool:
        """Whether the total correlation is estimated at all."""
        return self.config.weights["tc"] > 0

    def steps(self) -> Sequence[Step]:
        if not self.has_critic:
            return super().steps()
        if self.config.as_published:
            return [Step("vae", [*self.autoencoder, self.R], self.published_terms)]
        return [
            Step("critic", [self.R], self.critic_terms, self.config.critic_steps),
            Step("vae", self.autoencoder, self.independent_terms),
        ]

    def notes(self) -> list[str]:
        if not self.config.as_published or not self.has_critic:
            return []
        return [
            "cvae as published: its total correlation and its critic's loss cancel, so neither "
            "makes z and s independent"
        ]

    def critic_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """The classifier of App. C: codes of one image against codes of two images."""
        code = unstack_domains(draw.code).target
        code = Code(gather_rows(code.z), gather_rows(code.s)).detach()
        permuted = Code(code.z, permute_codes(code.s))
        return {"critic": critic_bce(self.R(code.concat()), self.R(permuted.concat()))}

    def independent_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """Eq. 3 and 4, and the total correlation of Eq. 14 as the critic estimates it."""
        terms = self.vae_terms(draw)
        code = unstack_domains(draw.code).target
        return {**terms, "tc.target": mutual_information(self.R(code.concat()))}

    def published_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """Eq. 3 and 4, and the sum of total correlation and critic loss of the authors' code."""
        terms = self.vae_terms(draw)
        code = unstack_domains(draw.code).target
        code = Code(gather_rows(code.z), gather_rows(code.s))
        permuted = Code(code.z, permute_codes(code.s))
        tc = tc_as_published(self.R(code.concat()), self.R(permuted.concat()))
        return {**terms, "tc.target": tc}
