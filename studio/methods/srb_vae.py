"""Learning Disentangled Representations with Reference-Based Variational Autoencoders. Adria Ruiz et al. 2019.

Cited from Choudhuri et al. ("Towards principled objectives"), Eq. 3 and 5; neither the paper nor its code was at hand.
One encoder reads both codes; "nothing salient" is a learnt reference code. The model minimises KL(q || p), q being images
with the codes read from them and p codes of the prior with the images made from them, and, symmetrically, KL(p || q):

* KL(q || p) is the usual bound L_VAE (Eq. 3): both codes are Gaussian, so it needs no estimate, and background images
  have no divergence for s. `symmetric: false` stops here, which is RbVAE.
* KL(p || q) is unknown in closed form. Two critics, `D_x` of (background image, z) and `D_y` of (target image, z, s),
  learn log q / p in a step of their own; the generator then lowers its mean of log p / q over its own images, and the encoder
  maximises the likelihood of the codes that made them, Gaussians of unit variance.

Where a published re-implementation has critics, encoder and generator all minimise the critics' loss with one optimiser,
here the critics move alone and the others move against them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from losses import critic_bce, kl_estimate
from nets import JointCritic, build_encoder, frozen_statistics
from studio.method import Code, Pair, Step, domain_terms
from studio.methods import vae
from studio.methods.vae import VAE, VAEConfig
from studio.schema import Flag, NetsConfig

__all__ = ["SRBVAE", "SRBVAEConfig"]


class SRBVAEConfig(VAEConfig):
    """The method's section; every weight is 1 in Eq. 5."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "reverse": 1.0,
        "codes": 1.0,
        "critic": 1.0,
    }

    name: Literal["srb_vae"] = "srb_vae"
    symmetric: Flag = True
    critic_width: int = Field(default=128, ge=1)


@dataclass
class Draw(vae.Draw):
    """A VAE's draw and, for KL(p || q), codes of the prior and what the generator makes of them; rows as there."""

    prior: Code | None = None
    fakes: Tensor | None = None


class Reference(nn.Module):
    """Creates a learnt code that stands for "nothing salient" (the reference of Ruiz et al. 2019).

    It starts uniformly in [0, 1), as in the re-implementations; a Parameter, so that it moves, is saved and goes along to
    an accelerator.

    Args:
        length: of the code.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.rand(length))

    def forward(self, n: int) -> Tensor:
        """Returns it n times, (n, length)."""
        return self.code.expand(n, -1)


class SRBVAE(VAE):
    """Creates the encoder `E`, the decoder `G`, the reference code and the critics `D_x`, `D_y`; arguments as of VAE."""

    paper = "Ruiz et al. Learning Disentangled Representations with Reference-Based Variational Autoencoders. 2019."
    Config = SRBVAEConfig
    config: SRBVAEConfig
    contrastive = True
    shared_encoder = True

    def __init__(self, config: SRBVAEConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        self.reference = Reference(config.s)
        self.D_x = self.D_y = None
        if config.symmetric:
            features, width = 2 * (config.z + config.s), config.critic_width
            self.D_x = JointCritic(
                build_encoder(shape, {"features": features}, nets), features, config.z, width
            )
            self.D_y = JointCritic(
                build_encoder(shape, {"features": features}, nets),
                features,
                config.z + config.s,
                width,
            )

    @property
    def autoencoder(self) -> Sequence[nn.Module]:
        return [self.E, self.G, self.reference]

    def steps(self) -> Sequence[Step]:
        critics = [net for net in (self.D_x, self.D_y) if net is not None]
        ratio = [Step("ratio", critics, self.ratio_terms)] if critics else []
        return [*ratio, Step("vae", self.autoencoder, self.vae_terms)]

    def draw(self, pair: Pair) -> Draw:
        draw = super().draw(pair)
        if not self.config.symmetric:
            return Draw(**vars(draw))
        background, target = (
            self.prior(len(pair.x), "background"),
            self.prior(len(pair.y), "target"),
        )
        prior = Code(torch.cat([background.z, target.z]), torch.cat([background.s, target.s]))
        return Draw(**vars(draw), prior=prior, fakes=self.G(torch.cat(prior, 1)))

    def ratio_terms(self, draw: Draw) -> dict[str, Tensor]:
        """The critics: images with the codes read from them (1) against images made from codes (0)."""
        assert draw.prior is not None
        assert draw.fakes is not None
        read = self._logits(draw.reals, Code(*(part.detach() for part in draw.code)))
        made = self._logits(draw.fakes.detach(), Code(*(part.detach() for part in draw.prior)))
        return domain_terms("critic", critic_bce(read, made))

    def vae_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Eq. 3 and, where symmetric, the second divergence of Eq. 5."""
        terms = super().vae_terms(draw)
        if draw.prior is None or draw.fakes is None:
            return terms
        z, s = self._read_back(draw.fakes.detach())
        half = len(draw.pair.x)
        codes = (z - draw.prior.z.detach()).square().sum(1) / 2
        salient = (s - draw.prior.s.detach())[half:].square().sum(
            1
        ) / 2  # the reference is no code that one reads
        return {
            **terms,
            **domain_terms("reverse", kl_estimate(-self._logits(draw.fakes, draw.prior))),
            "codes.background": codes[:half],
            "codes.target": codes[half:] + salient,
        }

    def _read_back(self, fakes: Tensor) -> Code:
        with frozen_statistics(
            self.E
        ):  # its running statistics are those of real images, which the verbs pass
            z, s = self.posteriors(fakes)
        return Code(z.mu, s.mu)

    def _logits(self, images: Tensor, code: Code) -> Tensor:
        """Returns log q / p of [background; target] images and their codes, (2B,)."""
        assert self.D_x is not None  # called only where there are critics
        assert self.D_y is not None
        half = len(images) // 2
        return torch.cat(
            [
                self.D_x(images[:half], code.z[:half]),
                self.D_y(images[half:], torch.cat(code, 1)[half:]),
            ]
        )

    def blank(self, n: int) -> Tensor:
        return self.reference(n)
