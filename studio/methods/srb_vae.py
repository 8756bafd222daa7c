"""sRb-VAE (Ruiz et al. 2019): a VAE with a learnt reference code and a symmetric divergence.

One encoder reads both codes. "Nothing salient" is a learnt reference code. Let q be the
distribution of images with the codes read from them, and p that of codes of the prior with the
images generated from them. The model minimises KL(q || p) and, symmetrically, KL(p || q):

* KL(q || p) is the usual bound L_VAE (Eq. 3). Both codes are Gaussian, so it needs no estimate.
  Background images have no divergence for s. `symmetric: false` trains this part alone, which is
  RbVAE.
* KL(p || q) has no closed form. Two critics, `D_x` of (background image, z) and `D_y` of (target
  image, z, s), learn log q / p in their own step. The generator then lowers the mean of log p / q
  over its images, and the encoder maximises the likelihood of the codes that generated them, under
  Gaussians of unit variance.

Equation numbers are those of Choudhuri et al. (2020), who restate the objective in Eq. 3 and 5. We
had neither the paper of Ruiz et al. nor its code.

Departure from a published re-implementation: there critics, encoder and generator minimise the loss
of the critics with one optimiser. Here the critics have their own step, and the others are trained
against them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from losses import critic_bce, kl_estimate
from nets import JointCritic, build_encoder, frozen_statistics
from studio.limits import Most
from studio.method import Code, Pair, Step, domain_terms, stack_domains, unstack_domains
from studio.methods.vae import VAE, VAEConfig, VAEDraw
from studio.schema import Flag, NetsConfig

__all__ = ["SRBVAE", "SRBVAEConfig"]


class Reference(nn.Module):
    """Creates a learnt salient code that means "nothing salient".

    It starts uniformly in [0, 1), as in the published re-implementations. It is a parameter, so
    that it is trained, saved and moved to a device with the nets.

    Args:
        length: of the code.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.rand(length))

    def forward(self, n: int) -> Tensor:
        """Returns n copies of the code, (n, length)."""
        return self.code.expand(n, -1)


class SRBVAEConfig(VAEConfig):
    """The section of sRb-VAE. Every weight is 1 in Eq. 5."""

    default_weights: ClassVar[Mapping[str, float]] = {
        **VAEConfig.default_weights,
        "reverse": 1.0,
        "codes": 1.0,
        "critic": 1.0,
    }

    name: Literal["srb_vae"] = "srb_vae"
    """Name of the method."""
    symmetric: Flag = True
    """Whether KL(p || q) is minimised as well. false: RbVAE.

    Source: Choudhuri et al. (2020), Eq. 5.
    """
    critic_width: int = Field(default=128, ge=1, le=Most.CHANNELS)
    """Width of the hidden layers of the critics.

    Unit: features.
    """


@dataclass
class SymmetricDraw(VAEDraw):
    """The draw of a VAE, and samples of p for KL(p || q). Rows are [background, target].

    Attributes:
        prior: codes of the prior.
        fakes: the images that the generator makes from them, (2B, ...).
    """

    prior: Code
    fakes: Tensor


class SRBVAE(VAE):
    """Creates the encoder `E`, the decoder `G`, the reference code and the critics `D_x` and `D_y`.

    The critics exist if the divergence is symmetric. The arguments are those of VAE.
    """

    paper = (
        "Adria Ruiz, Oriol Martinez, Xavier Binefa, Jakob Verbeek. Learning Disentangled "
        "Representations with Reference-Based Variational Autoencoders. arXiv:1901.08534, 2019."
    )
    Config = SRBVAEConfig
    config: SRBVAEConfig
    contrastive = True
    shared_encoder = True
    D_x: JointCritic
    D_y: JointCritic

    def __init__(self, config: SRBVAEConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config, nets, shape)
        self.reference = Reference(config.s)
        if config.symmetric:
            features, width = 2 * (config.z + config.s), config.critic_width
            reader_x = build_encoder(shape, {"features": features}, nets)
            self.D_x = JointCritic(reader_x, features, config.z, width)
            reader_y = build_encoder(shape, {"features": features}, nets)
            self.D_y = JointCritic(reader_y, features, config.z + config.s, width)

    @property
    def autoencoder(self) -> Sequence[nn.Module]:
        return [self.E, self.G, self.reference]

    def steps(self) -> Sequence[Step]:
        if not self.config.symmetric:
            return super().steps()
        return [
            Step("ratio", [self.D_x, self.D_y], self.ratio_terms),
            Step("vae", self.autoencoder, self.symmetric_terms),
        ]

    def draw(self, pair: Pair) -> VAEDraw:
        draw = super().draw(pair)
        if not self.config.symmetric:
            return draw
        n = len(pair.x)
        prior = stack_domains(self.prior(n, "background"), self.prior(n, "target"))
        fakes = self.G(prior.concat())
        return SymmetricDraw(draw.pair, draw.reals, draw.z, draw.s, draw.code, prior, fakes)

    def ratio_terms(self, draw: SymmetricDraw) -> dict[str, Tensor]:
        """The critics: real images with their codes (1) against codes with generated images (0)."""
        real = self._log_ratio(draw.reals, draw.code.detach())
        fake = self._log_ratio(draw.fakes.detach(), draw.prior.detach())
        return domain_terms("critic", critic_bce(real, fake))

    def symmetric_terms(self, draw: SymmetricDraw) -> dict[str, Tensor]:
        """Eq. 3 and the second divergence of Eq. 5."""
        terms = self.vae_terms(draw)
        z, s = self._read_codes(draw.fakes.detach())
        error_z = (z - draw.prior.z.detach()).square().sum(1) / 2
        # The salient code of a background image is the reference, which is not read from an image.
        error_s = unstack_domains(s - draw.prior.s.detach()).target.square().sum(1) / 2
        background, target = unstack_domains(error_z)
        log_ratio = self._log_ratio(draw.fakes, draw.prior)
        return {
            **terms,
            **domain_terms("reverse", kl_estimate(log_ratio, reverse=True)),
            "codes.background": background,
            "codes.target": target + error_s,
        }

    def _read_codes(self, fakes: Tensor) -> Code:
        """Returns the posterior means of generated images."""
        # The running statistics of E are collected on real images, the inputs seen at inference.
        with frozen_statistics(self.E):
            z, s = self.posteriors(fakes)
        return Code(z.mu, s.mu)

    def _log_ratio(self, images: Tensor, code: Code) -> Tensor:
        """Returns log q / p of [background, target] images and their codes, (2B,)."""
        x, y = unstack_domains(images)
        code_x, code_y = unstack_domains(code)
        return stack_domains(self.D_x(x, code_x.z), self.D_y(y, code_y.concat()))

    def blank(self, n: int) -> Tensor:
        return self.reference(n)
