"""The variational autoencoder, and what every contrastive one shares with it.

Auto-Encoding Variational Bayes. Diederik P. Kingma, Max Welling. ICLR 2014. It is the baseline of Abid and Zou (2019), who
train it on the target set alone; here it sees both sets, as every other method does.

The plain VAE has one undivided posterior, which is split by position, the first `z` numbers and the `s` after them, so
that every verb works on it; nothing makes either part common or salient, and what it knows is told by the probe's column
for both codes together.

A contrastive VAE (`contrastive = True`) has two encoders and decodes background images with a blank salient code: Eq. 3
and 4 of Abid and Zou (2019), on which the other papers build by adding terms.

The convention of all VAE terms here: a term is the sum over an image's elements (or a code's coordinates), averaged over
its half of the batch, and the two halves add up; so the loss is that of one pair of images, and no weight depends on the
batch size. Squared errors are divided by 4, which makes them those of the papers' images in [0, 1].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from losses import kl_standard_normal, reparameterise, soft_clip_logvar, sse_unit_scale
from nets import build_decoder, build_encoder
from studio import method
from studio.method import Code, Domain, Method, MethodConfig, Pair, Step, domain_terms
from studio.schema import NetsConfig

__all__ = ["VAE", "Draw", "Gaussian", "VAEConfig"]


class VAEConfig(MethodConfig):
    """The method's section; Adam with PyTorch's betas and a rate of 1e-3 is what all the VAE papers use."""

    default_weights: ClassVar[Mapping[str, float]] = {
        "recon": 1.0,
        "kl_z": 1.0,
        "kl_s": 1.0,
        "background": 1.0,
        "target": 1.0,
    }
    train_defaults: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "betas": (0.9, 0.999)}

    name: Literal["vae"] = "vae"
    z: int = Field(default=16, ge=1)
    s: int = Field(default=16, ge=1)


class Gaussian(NamedTuple):
    """Diagonal Gaussians: `mu` and `logvar`, each (B, n), float32, the log-variance within bounds."""

    mu: Tensor
    logvar: Tensor

    def sample(self) -> Tensor:
        """Draws one vector from each, with gradient, (B, n)."""
        return reparameterise(self.mu, self.logvar)


@dataclass
class Draw(method.Draw):
    """What the steps of an iteration share; rows are [background; target].

    Attributes:
        reals: the pair's images, (2B, ...).
        z: posteriors of the common codes.
        s: posteriors of the salient codes, as the encoder reads them, blank nowhere.
        code: one sample of both.
    """

    reals: Tensor
    z: Gaussian
    s: Gaussian
    code: Code


class VAE(Method):
    """Creates the encoder `E` (a contrastive one: `E_z` and `E_s`) and the decoder `G`.

    Args:
        config: the method's section.
        nets: the nets' section; without layer lists they are Double InfoGAN's trunk, without its noise, and generator.
        shape: of the images, channels first.
    """

    paper = "Kingma, Welling. Auto-Encoding Variational Bayes. ICLR 2014."
    Config: ClassVar[type[MethodConfig]] = VAEConfig
    contrastive: ClassVar[bool] = False
    shared_encoder: ClassVar[bool] = (
        False  # whether a contrastive VAE reads both codes with one encoder
    )

    def __init__(self, config: MethodConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config)
        if self.two_encoders:
            self.E_z, self.E_s = (
                build_encoder(shape, {"mu": size, "logvar": size}, nets)
                for size in (config.z, config.s)
            )
        else:
            self.E = build_encoder(
                shape, {"mu": config.z + config.s, "logvar": config.z + config.s}, nets
            )
        self.G = build_decoder(config.z + config.s, shape, nets)

    @property
    def two_encoders(self) -> bool:
        """Whether each code has an encoder of its own."""
        return self.contrastive and not self.shared_encoder

    @property
    def autoencoder(self) -> Sequence[nn.Module]:
        """Encoders and decoder."""
        return [self.E_z, self.E_s, self.G] if self.two_encoders else [self.E, self.G]

    def posteriors(self, images: Tensor) -> tuple[Gaussian, Gaussian]:
        """Reads q(z|x) and q(s|x) from images (B, ...)."""
        if self.two_encoders:
            read = [self.E_z(images), self.E_s(images)]
            z, s = (Gaussian(r["mu"].float(), soft_clip_logvar(r["logvar"])) for r in read)
            return z, s
        read = self.E(images)
        sizes = [self.config.z, self.config.s]
        (mu_z, mu_s), (logvar_z, logvar_s) = (
            read["mu"].float().split(sizes, 1),
            soft_clip_logvar(read["logvar"]).split(sizes, 1),
        )
        return Gaussian(mu_z, logvar_z), Gaussian(mu_s, logvar_s)

    def steps(self) -> Sequence[Step]:
        return [Step("vae", self.autoencoder, self.vae_terms)]

    def draw(self, pair: Pair) -> Draw:
        reals = torch.cat([pair.x, pair.y])
        z, s = self.posteriors(reals)
        return Draw(pair, reals, z, s, Code(z.sample(), s.sample()))

    def vae_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Reconstruction and KL divergences: for a contrastive VAE Eq. 3 and 4 of Abid and Zou (2019)."""
        kl_s = domain_terms("kl_s", kl_standard_normal(*draw.s))
        if self.contrastive:
            del kl_s["kl_s.background"]  # p(s) of a background image is no Gaussian but a point
        return {
            **domain_terms("recon", sse_unit_scale(self.rebuilt(draw), draw.reals)),
            **domain_terms("kl_z", kl_standard_normal(*draw.z)),
            **kl_s,
        }

    def rebuilt(self, draw: Draw) -> Tensor:
        """Decodes the draw's code, background images with a blank salient one, (2B, ...)."""
        z, s = draw.code
        if self.contrastive:
            half = len(draw.pair.x)
            s = torch.cat([self.blank(half).to(s), s[half:]])
        return self.G(torch.cat([z, s], 1))

    def encode(self, images: Tensor) -> Code:
        z, s = self.posteriors(images)
        return Code(z.mu, s.mu)

    def decode(self, code: Code) -> Tensor:
        return self.G(code.concat()).clamp(-1, 1)  # a linear output may lie beyond black and white

    def prior(self, n: int, domain: Domain) -> Code:
        z = torch.randn(n, self.config.z, device=self.device)
        if domain == "background" and self.contrastive:
            return Code(z, self.blank(n))
        return Code(z, torch.randn(n, self.config.s, device=self.device))

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, self.config.s, device=self.device)
