"""The variational autoencoder (Kingma and Welling 2014), and the base of every contrastive VAE.

The plain VAE is the baseline of Abid and Zou (2019), who train it on the target set alone. Here it
is trained on both sets, as every other method is, unless `weights.background` is 0. It has one
undivided posterior, which is split by position so that every verb works on it: the first `z`
coordinates are called common and the `s` coordinates after them salient. Nothing makes either part
common or salient, so the meaningful column of its probe table is the one for both codes together.

A contrastive VAE (`contrastive = True`) has two encoders and decodes background images with a blank
salient code: Eq. 3 and 4 of Abid and Zou (2019). The other papers add terms to these.

Convention of all VAE terms: a term is a sum over the elements of an image or the coordinates of a
code, averaged over the images of its domain. The terms of both domains are added. The loss is
therefore that of one pair of images, and no weight depends on the batch size. Squared errors are
divided by 4, which makes them those of the papers' images in [0, 1]. They have no factor 1/2, so
`recon: 1` is a Gaussian likelihood of variance 1/2 on images in [0, 1].

All measurements use a running average of the weights, which no paper has. `--no-ema` takes the last
weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from losses import kl_standard_normal, reparameterise, soft_clip_logvar, sse_unit_scale
from nets import build_decoder, build_encoder
from studio.limits import Most
from studio.method import (
    Code,
    Domain,
    Draw,
    Method,
    MethodConfig,
    Pair,
    Step,
    domain_terms,
    stack_domains,
    unstack_domains,
)
from studio.schema import NetsConfig

__all__ = ["VAE", "Gaussian", "VAEConfig", "VAEDraw"]


class VAEConfig(MethodConfig):
    """The section of the plain VAE. All VAE papers use Adam with PyTorch's betas and rate 1e-3."""

    default_weights: ClassVar[Mapping[str, float]] = {
        "recon": 1.0,
        "kl_z": 1.0,
        "kl_s": 1.0,
        "background": 1.0,
        "target": 1.0,
    }
    train_defaults: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "betas": (0.9, 0.999)}

    name: Literal["vae"] = "vae"
    """Name of the method."""
    z: int = Field(default=16, ge=1, le=Most.CHANNELS)
    """Length of the common code.

    Unit: coordinates.
    """
    s: int = Field(default=16, ge=1, le=Most.CHANNELS)
    """Length of the salient code.

    Unit: coordinates.
    """


class Gaussian(NamedTuple):
    """Diagonal Gaussians: `mu` and `logvar`, each (B, n) float32, with a limited log-variance."""

    mu: Tensor
    logvar: Tensor

    def sample(self) -> Tensor:
        """Draws one vector from each Gaussian, with gradient, (B, n)."""
        return reparameterise(self.mu, self.logvar)


@dataclass
class VAEDraw(Draw):
    """The tensors that the steps of an iteration share. Rows are [background, target].

    Attributes:
        reals: the images of the pair, (2B, ...).
        z: posteriors of the common codes.
        s: posteriors of the salient codes. Those of background images are not blanked.
        code: one sample of the codes of every image.
    """

    reals: Tensor
    z: Gaussian
    s: Gaussian
    code: Code


class VAE(Method):
    """Creates the encoder `E`, or `E_z` and `E_s` of a contrastive VAE, and the decoder `G`.

    Args:
        config: the `method` section of the config.
        nets: the `nets` section. Without layer lists, the encoder is Double InfoGAN's trunk without
            noise, and the decoder is its generator.
        shape: of one image, channels first.

    Attributes:
        shared_encoder: whether a contrastive VAE reads both codes with one encoder.
    """

    paper = "Diederik P. Kingma, Max Welling. Auto-Encoding Variational Bayes. ICLR 2014."
    Config: ClassVar[type[MethodConfig]] = VAEConfig
    contrastive: ClassVar[bool] = False
    shared_encoder: ClassVar[bool] = False

    def __init__(self, config: MethodConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config)
        if self.has_two_encoders:
            self.E_z = build_encoder(shape, {"mu": config.z, "logvar": config.z}, nets)
            self.E_s = build_encoder(shape, {"mu": config.s, "logvar": config.s}, nets)
        else:
            both = config.z + config.s
            self.E = build_encoder(shape, {"mu": both, "logvar": both}, nets)
        self.G = build_decoder(config.z + config.s, shape, nets)

    @property
    def has_two_encoders(self) -> bool:
        """Whether each code has its own encoder."""
        return self.contrastive and not self.shared_encoder

    @property
    def autoencoder(self) -> Sequence[nn.Module]:
        """The encoders and the decoder."""
        return [self.E_z, self.E_s, self.G] if self.has_two_encoders else [self.E, self.G]

    def posteriors(self, images: Tensor) -> tuple[Gaussian, Gaussian]:
        """Returns q(z|x) and q(s|x) of images (B, ...)."""
        if self.has_two_encoders:
            out_z, out_s = self.E_z(images), self.E_s(images)
            z = Gaussian(out_z["mu"].float(), soft_clip_logvar(out_z["logvar"]))
            s = Gaussian(out_s["mu"].float(), soft_clip_logvar(out_s["logvar"]))
            return z, s
        out, sizes = self.E(images), [self.config.z, self.config.s]
        mu_z, mu_s = out["mu"].float().split(sizes, 1)
        logvar_z, logvar_s = soft_clip_logvar(out["logvar"]).split(sizes, 1)
        return Gaussian(mu_z, logvar_z), Gaussian(mu_s, logvar_s)

    def steps(self) -> Sequence[Step]:
        return [Step("vae", self.autoencoder, self.vae_terms)]

    def draw(self, pair: Pair) -> VAEDraw:
        reals = stack_domains(pair.x, pair.y)
        z, s = self.posteriors(reals)
        return VAEDraw(pair, reals, z, s, Code(z.sample(), s.sample()))

    def vae_terms(self, draw: VAEDraw) -> dict[str, Tensor]:
        """Reconstruction and KL terms. For a contrastive VAE: Abid and Zou (2019), Eq. 3 and 4."""
        kl_s = domain_terms("kl_s", kl_standard_normal(*draw.s))
        if self.contrastive:
            # The prior of a background image's salient code is a point, not a Gaussian.
            del kl_s["kl_s.background"]
        return {
            **domain_terms("recon", sse_unit_scale(self.reconstruct(draw), draw.reals)),
            **domain_terms("kl_z", kl_standard_normal(*draw.z)),
            **kl_s,
        }

    def reconstruct(self, draw: VAEDraw) -> Tensor:
        """Decodes the sampled codes, with blank salient codes for background images if contrastive.

        Returns:
            (2B, ...).
        """
        z, s = draw.code
        if self.contrastive:
            blank = self.blank(len(draw.pair.x)).to(s)
            s = stack_domains(blank, unstack_domains(s).target)
        return self.G(Code(z, s).concat())

    def encode(self, images: Tensor) -> Code:
        z, s = self.posteriors(images)
        return Code(z.mu, s.mu)

    def decode(self, code: Code) -> Tensor:
        # A linear output may exceed black and white.
        return self.G(code.concat()).clamp(-1, 1)

    def prior(self, n: int, domain: Domain) -> Code:
        z = torch.randn(n, self.config.z, device=self.device)
        if domain == "background" and self.contrastive:
            return Code(z, self.blank(n))
        return Code(z, torch.randn(n, self.config.s, device=self.device))

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, self.config.s, device=self.device)
