"""Double InfoGAN for Contrastive Analysis. Florence Carton, Robin Louiset, Pietro Gori. AISTATS 2024.

A generator makes background images from (z, 0) and target images from (z, s); one trunk with four heads tells real from
fake (D), background from target (C), and reads the code back (Q_z, Q_s). What both sets share must then travel in z, and
what only the target has in s, or Q could not read it where it is read.

Where the paper leaves a choice, or we differ from it:

* We minimise + L_Info as in Eq. 14; Eq. 3 subtracts it, but Eq. 6 and 16 define it as a distance.
* L_Im and the four L_Info terms on fakes move G in G's step and the trunk with its heads in D's step; L_Info on real
  background images has nothing to do with G and belongs to D's step alone. C learns from real images only.
* Order: D, then G, on the same fakes and reconstructions, which is exact since neither changes in between; the authors'
  code moves G first and draws new fakes for D (`order: G-D`).
* Background and target go through a net in one call, in equal halves, so that batch normalisation sees the mixture
  that it will meet when encoding; the authors' code passes each domain, real and fake, on its own. Running statistics
  come from what the verbs pass: real images (trunk), codes of the prior and of real images (generator).
* The contrastive regulariser (CR, Eq. 18, Fig. 10; on where `weights.cr` > 0) has a net H of its own, which reads two
  images stacked: the architecture of the authors' code (noise 0.1, none before the last layer), where the caption of
  Table 4 says "the same architecture as Q_s"; so with the nets of Table 5, too, where H's logits are not spectrally
  normalised. H learns before G, on the same pairs of fakes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from losses import (
    bce,
    contrastive_regulariser,
    discriminator_logistic,
    generator_nonsaturating,
    l1_per_pixel,
    latent_regression,
)
from nets import build_decoder, build_encoder, frozen_statistics
from studio import method
from studio.method import Code, Domain, Method, MethodConfig, Pair, Step, domain_terms
from studio.schema import NetsConfig, Section

__all__ = ["DoubleInfoGAN", "DoubleInfoGANConfig"]


class Times(Section):
    """How often each step runs per iteration: "loop G", "loop D" and "loop CR" of Table 6."""

    CR: int = Field(default=1, ge=1)
    D: int = Field(default=1, ge=1)
    G: int = Field(default=1, ge=1)


class DoubleInfoGANConfig(MethodConfig):
    """The method's section; defaults are Table 6's column for CIFAR-MNIST, latent sizes from Sec. 5 (64 + 64)."""

    default_weights = {  # noqa: RUF012 - a mapping per class, read only
        "adv": 0.5,
        "class": 0.5,
        "info_z": 1.0,
        "info_s": 1.0,
        "info_real": 1.0,
        "image": 1.0,
        "cr": 0.0,
        "background": 0.5,
        "target": 1.0,
    }

    name: Literal["dig"] = "dig"
    z: int = Field(default=64, ge=1)
    s: int = Field(default=64, ge=1)
    prior_z: Literal["normal", "uniform"] = (
        "normal"  # uniform on [-1, 1]: tried in Sec. 4, slightly worse
    )
    prior_s: Literal["normal", "uniform"] = "normal"  # uniform on (0, 1]: tried in Sec. 4
    info: Literal["l1", "l2"] = "l1"  # l2: tried in Sec. 4, worse
    order: Literal["D-G", "G-D"] = "D-G"
    noise: float = Field(default=0.2, ge=0)  # Tables 4 and 5
    times: Times = Times()

    @model_validator(mode="after")
    def _something_to_contrast(self) -> Self:
        if self.weights["cr"] and self.s == 1:
            raise ValueError(
                "weights.cr needs at least two salient coordinates (s: 2); with one, which is shared is no question"
            )
        return self


class Contrast(NamedTuple):
    """Pairs of fakes that share z and one salient coordinate: `images` stacked by channel (B, 2C, H, W), `k` (B,)."""

    images: Tensor
    k: Tensor


@dataclass
class Draw(method.Draw):
    """One iteration's forward passes at the point where it starts; rows are [background; target] throughout.

    Attributes:
        reals: the pair's images, (2B, C, H, W).
        code: the prior's codes, s = 0 in the first half.
        fakes: what G makes of `code`.
        read: what the trunk's heads read from `reals`.
        rebuilt: what G makes of the codes read from `reals`, s = 0 in the first half.
        contrast: pairs for the contrastive regulariser, where it is on.
    """

    reals: Tensor
    code: Code
    fakes: Tensor
    read: dict[str, Tensor]
    rebuilt: Tensor
    contrast: Contrast | None


class DoubleInfoGAN(Method):
    """Creates the generator `G`, the reader `D` with heads D, C, z, s (Fig. 2, Table 4) and, for CR, the net `H`.

    Args:
        config: the method's section.
        nets: the nets' section.
        shape: of the images: (C, H, W), (C, D, H, W) or (F,).
    """

    paper = "Carton, Louiset, Gori. Double InfoGAN for Contrastive Analysis. AISTATS 2024."
    Config = DoubleInfoGANConfig
    config: DoubleInfoGANConfig

    def __init__(
        self, config: DoubleInfoGANConfig, nets: NetsConfig, shape: tuple[int, ...]
    ) -> None:
        super().__init__(config)
        self.G = build_decoder(config.z + config.s, shape, nets)
        heads = {"D": 1, "C": 1, "z": config.z, "s": config.s}
        self.D = build_encoder(
            shape, heads, nets, config.noise, without_bottleneck=("D", "C"), unnormalised=("D", "C")
        )
        self.H = None
        if config.weights["cr"]:
            stacked = (2 * shape[0], *shape[1:])
            self.H = build_encoder(
                stacked,
                {"k": config.s},
                nets,
                min(config.noise, 0.1),
                head_noise=0,
                unnormalised=("k",),
            )

    def steps(self) -> Sequence[Step]:
        times = self.config.times
        D = Step("D", [self.D], self.discriminator_terms, times.D, fresh=self.config.order == "G-D")
        G = Step("G", [self.G], self.generator_terms, times.G)
        fresh = self.config.order == "G-D"
        CR = [] if self.H is None else [Step("CR", [self.H], self.contrast_terms, times.CR, fresh)]
        return [G, D, *CR] if fresh else [D, *CR, G]

    def draw(self, pair: Pair) -> Draw:
        reals = torch.cat([pair.x, pair.y])
        background, target = (
            self.prior(len(pair.x), "background"),
            self.prior(len(pair.y), "target"),
        )
        code = Code(torch.cat([background.z, target.z]), torch.cat([background.s, target.s]))
        read = self.D(reals)
        seen = Code(
            read["z"], torch.cat([self.blank(len(pair.x)).to(read["s"]), read["s"][len(pair.x) :]])
        )
        fakes, rebuilt = self.decode(code), self.decode(seen)
        with frozen_statistics(self.G):
            contrast = None if self.H is None else self.contrast(len(reals))
        return Draw(pair, reals, code, fakes, read, rebuilt, contrast)

    def contrast(self, n: int) -> Contrast:
        """Makes n pairs of fakes with the same z, one salient coordinate k in common and the others different (Fig. 10)."""
        z, first = self.prior(n, "target")
        second = self.prior(n, "target").s
        k = torch.randint(first.shape[1], (n,), device=first.device)
        second = second.scatter(1, k[:, None], first.gather(1, k[:, None]))
        images = self.decode(Code(torch.cat([z, z]), torch.cat([first, second])))
        return Contrast(torch.cat(images.chunk(2), 1), k)

    def discriminator_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Eq. 4 as D sees it, Eq. 5 on real images, Eq. 6 with its real term, Eq. 8."""
        with frozen_statistics(self.D):
            fake = self.D(draw.fakes.detach())
        real = draw.read
        x_class, y_class = real["C"].squeeze(1).chunk(2)
        x_salient, _ = real["s"].chunk(2)
        return {
            **domain_terms(
                "adv", discriminator_logistic(real["D"].squeeze(1), fake["D"].squeeze(1))
            ),
            "class.background": bce(x_class, 0),
            "class.target": bce(y_class, 1),
            **self._info(fake, draw),
            "info_real": latent_regression(x_salient, torch.zeros_like(x_salient)),
            **domain_terms("image", l1_per_pixel(draw.rebuilt, draw.reals)),
        }

    def generator_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Eq. 4 in its non-saturating form, Eq. 5 on fakes, Eq. 6 without its real term, Eq. 8."""
        fake = self.D(draw.fakes)
        x_class, y_class = fake["C"].squeeze(1).chunk(2)
        return {
            **domain_terms("adv", generator_nonsaturating(fake["D"].squeeze(1))),
            "class.background": bce(x_class, 0),
            "class.target": bce(y_class, 1),
            **self._info(fake, draw),
            **domain_terms("image", l1_per_pixel(draw.rebuilt, draw.reals)),
            **(
                {} if draw.contrast is None else self._shared(draw.contrast.images, draw.contrast.k)
            ),
        }

    def contrast_terms(self, draw: Draw) -> dict[str, Tensor]:
        """Eq. 18 as H sees it."""
        assert draw.contrast is not None  # the step exists only where H does
        return self._shared(draw.contrast.images.detach(), draw.contrast.k)

    def _shared(self, images: Tensor, k: Tensor) -> dict[str, Tensor]:
        assert self.H is not None
        return {"cr": contrastive_regulariser(self.H(images)["k"], k)}

    def _info(self, fake: dict[str, Tensor], draw: Draw) -> dict[str, Tensor]:
        norm = self.config.info
        return {
            **domain_terms("info_z", latent_regression(fake["z"], draw.code.z, norm)),
            **domain_terms("info_s", latent_regression(fake["s"], draw.code.s, norm)),
        }

    def encode(self, images: Tensor) -> Code:
        read = self.D(images, ("z", "s"))
        return Code(read["z"], read["s"])

    def decode(self, code: Code) -> Tensor:
        return self.G(code.concat())

    def prior(self, n: int, domain: Domain) -> Code:
        z = torch.randn(n, self.config.z, device=self.device)
        if self.config.prior_z == "uniform":
            z = torch.rand_like(z) * 2 - 1
        if domain == "background":
            return Code(z, self.blank(n))
        s = torch.randn(n, self.config.s, device=self.device)
        return Code(z, 1 - torch.rand_like(s) if self.config.prior_s == "uniform" else s)

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, self.config.s, device=self.device)
