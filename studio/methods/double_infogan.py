"""Double InfoGAN (Carton, Louiset and Gori 2024): a GAN with a common and a salient code.

The generator G makes background images G(z, 0) and target images G(z, s). A second net, `D` in the
code, is one trunk with four heads (Fig. 2). The head D distinguishes real and fake images, the head
C distinguishes background and target images, and the heads z and s (Q_z and Q_s in the paper) read
the codes. Content shared by both sets must therefore be encoded in z and target-only content in s.
Otherwise Q could not recover them from the images.

One iteration of the algorithm:

1. `draw`: Take background images x and target images y, and draw codes from the prior. Generate
   G(z, 0) and G(z, s). Apply all heads to x and y, and reconstruct x and y from the codes read.
2. Step D: Train the trunk and its heads with `discriminator_terms`.
3. Step CR, optional: Train the net H with `contrast_terms`.
4. Step G: Train G with `generator_terms`.

Departures from the paper, and our choices where the paper is silent:

* The sign of L_Info. Eq. 3 subtracts it, but Eq. 6 and 16 define it as a distance. We add it, as
  Eq. 14 does.
* The nets that a term trains. L_Im (Eq. 8) and the four terms of L_Info on fakes (Eq. 6) train G in
  step G, and the trunk with its heads in step D. The fifth term of L_Info, on real background
  images, does not depend on G and belongs to step D alone. C learns from real images only (Eq. 5).
* The weights of the class loss. Eq. 5 has no w_bg and w_t. Like the authors' code, we multiply its
  two terms by `background` and `target`, too.
* The order of the steps. D comes before G, and both use the same fakes and reconstructions. The
  fakes are exact, because G does not change in between. The reconstructions that G learns from
  come from codes that Q read before its own step. The authors' code trains G first and draws new
  fakes for D (`order: G-D`).
* The number of fakes. Each domain has half of `train.batch` in real images and in fakes. The
  authors' code draws a whole batch of fakes for each domain.
* Averaged weights. All measurements and pictures use a running average of the weights, which
  neither the paper nor the authors' code has. `--no-ema` and `--eval authors` take the last ones.
* Batch normalisation. Background and target images pass through a net in one call, in equal halves,
  so that the statistics are those of the mixture that the trunk encodes later. The authors' code
  passes each domain, real and fake, separately. Because G normalises both domains together, the
  image loss of background images has a small gradient on Q_s, too. Running statistics are
  collected on the inputs seen at inference: real images for the trunk, codes of the prior and of
  real images for the generator.
* The contrastive regulariser (CR, Eq. 18, Fig. 10), which is on if `weights.cr` > 0. Its net H
  reads two images stacked by channel. Its architecture is that of the authors' code (noise 0.1,
  none before the last layer), while the caption of Table 4 says "the same architecture as Q_s".
  This holds for the nets of Table 5 as well, where the logits of H are not spectrally normalised. H
  is trained before G, on the same pairs of fakes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

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
from nets import HeadedTrunk, build_decoder, build_encoder, frozen_statistics
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
from studio.schema import NetsConfig, Section

__all__ = ["DoubleInfoGAN", "DoubleInfoGANConfig", "DoubleInfoGANDraw"]


class Times(Section):
    """Repetitions of each step per iteration: "loop G", "loop D" and "loop CR" of Table 6."""

    CR: int = Field(default=1, ge=1, le=Most.COUNT)
    """Repetitions of step CR.

    Unit: steps per iteration.
    Source: Carton et al. (2024), Table 6.
    """
    D: int = Field(default=1, ge=1, le=Most.COUNT)
    """Repetitions of step D.

    Unit: steps per iteration.
    Source: Carton et al. (2024), Table 6.
    """
    G: int = Field(default=1, ge=1, le=Most.COUNT)
    """Repetitions of step G.

    Unit: steps per iteration.
    Source: Carton et al. (2024), Table 6.
    """


class DoubleInfoGANConfig(MethodConfig):
    """The section of Double InfoGAN. Defaults are those of Table 6, CIFAR-MNIST."""

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
    """Name of the method."""
    z: int = Field(default=64, ge=1, le=Most.CHANNELS)
    """Length of the common code.

    Unit: coordinates.
    Source: Carton et al. (2024), Sec. 5 and Table 2.
    """
    s: int = Field(default=64, ge=1, le=Most.CHANNELS)
    """Length of the salient code.

    Unit: coordinates.
    Source: Carton et al. (2024), Sec. 5 and Table 2.
    """
    prior_z: Literal["normal", "uniform"] = "normal"
    """Prior of z. `uniform` is on [-1, 1], which the paper found slightly worse.

    Source: Carton et al. (2024), Sec. 4.
    """
    prior_s: Literal["normal", "uniform"] = "normal"
    """Prior of s of target images. `uniform` is on (0, 1], which the paper found slightly worse.

    Source: Carton et al. (2024), Sec. 4.
    """
    info: Literal["l1", "l2"] = "l1"
    """Distance between codes in L_Info. The paper found `l2` worse.

    Source: Carton et al. (2024), Sec. 4 and Eq. 6.
    """
    order: Literal["D-G", "G-D"] = "D-G"
    """Order of the steps. `G-D` is that of the authors' code, where D gets new fakes."""
    noise: float = Field(default=0.2, ge=0, le=Most.LEVEL)
    """Standard deviation of the Gaussian noise before each layer of the trunk in training.

    Unit: none.
    Source: Carton et al. (2024), Tables 4 and 5.
    """
    times: Times = Times()
    """Repetitions of each step per iteration."""

    @model_validator(mode="after")
    def _check_contrast(self) -> Self:
        if self.weights["cr"] and self.s == 1:
            raise ValueError(
                "weights.cr needs at least two salient coordinates (s: 2), found 1, "
                "which two images always share"
            )
        return self


class Contrast(NamedTuple):
    """Pairs of fakes with the same z and one common coordinate of s.

    Attributes:
        images: the two images of each pair stacked by channel, (B, 2C, H, W).
        k: index of the coordinate that they share, (B,).
    """

    images: Tensor
    k: Tensor


@dataclass
class DoubleInfoGANDraw(Draw):
    """All forward passes at the start of an iteration. Rows are [background, target].

    Attributes:
        reals: the images of the pair, (2B, C, H, W).
        code: codes of the fakes, from the prior, with s = 0 for background images.
        fakes: images that G generates from `code`.
        outputs: outputs of the four heads for `reals`, by head.
        reconstructions: reconstructions of `reals`, with s = 0 for background images.
        contrast: pairs for the contrastive regulariser, or None if it is off.
    """

    reals: Tensor
    code: Code
    fakes: Tensor
    outputs: dict[str, Tensor]
    reconstructions: Tensor
    contrast: Contrast | None


class DoubleInfoGAN(Method):
    """Creates the generator `G`, the trunk `D` with heads D, C, z and s, and for CR the net `H`.

    Args:
        config: the `method` section of the config.
        nets: the `nets` section.
        shape: of one image: (C, H, W), (C, D, H, W) or (F,).
    """

    paper = (
        "Florence Carton, Robin Louiset, Pietro Gori. "
        "Double InfoGAN for Contrastive Analysis. AISTATS 2024."
    )
    Config: ClassVar[type[MethodConfig]] = DoubleInfoGANConfig
    config: DoubleInfoGANConfig
    H: HeadedTrunk

    def __init__(
        self, config: DoubleInfoGANConfig, nets: NetsConfig, shape: tuple[int, ...]
    ) -> None:
        super().__init__(config)
        self.G = build_decoder(config.z + config.s, shape, nets)
        heads = {"D": 1, "C": 1, "z": config.z, "s": config.s}
        self.D = build_encoder(
            shape, heads, nets, config.noise, without_bottleneck=("D", "C"), unnormalised=("D", "C")
        )
        if self.has_contrast:
            two_images, noise = (2 * shape[0], *shape[1:]), min(config.noise, 0.1)
            self.H = build_encoder(
                two_images, {"k": config.s}, nets, noise, head_noise=0, unnormalised=("k",)
            )

    @property
    def has_contrast(self) -> bool:
        """Whether the contrastive regulariser is on."""
        return self.config.weights["cr"] > 0

    def steps(self) -> Sequence[Step]:
        times, authors_order = self.config.times, self.config.order == "G-D"
        D = Step("D", [self.D], self.discriminator_terms, times.D, fresh=authors_order)
        G = Step("G", [self.G], self.generator_terms, times.G)
        CR = []
        if self.has_contrast:
            CR = [Step("CR", [self.H], self.contrast_terms, times.CR, fresh=authors_order)]
        return [G, D, *CR] if authors_order else [D, *CR, G]

    def draw(self, pair: Pair) -> DoubleInfoGANDraw:
        n = len(pair.x)
        reals = stack_domains(pair.x, pair.y)
        code = stack_domains(self.prior(n, "background"), self.prior(n, "target"))
        real = self.D(reals)
        code = self.choose_codes(code, real)
        # Eq. 8 reconstructs x from (z, 0) and y from (z, s).
        s = stack_domains(self.blank(n).to(real["s"]), unstack_domains(real["s"]).target)
        fakes, reconstructions = self.decode(code), self.decode(Code(real["z"], s))
        contrast = None
        if self.has_contrast:
            with frozen_statistics(self.G):
                contrast = self.draw_contrast(len(reals))
        return DoubleInfoGANDraw(pair, reals, code, fakes, real, reconstructions, contrast)

    def choose_codes(self, prior: Code, outputs: dict[str, Tensor]) -> Code:
        """Returns the codes of the fakes, rows [background, target]: those of the prior.

        Args:
            prior: codes of the prior.
            outputs: outputs of the heads for the real images, for methods that use their codes.
        """
        return prior

    def draw_contrast(self, n: int) -> Contrast:
        """Generates n pairs of fakes that share z and one salient coordinate k (Fig. 10)."""
        z, first = self.prior(n, "target")
        second = self.prior(n, "target").s
        k = torch.randint(first.shape[1], (n,), device=first.device)
        second = second.scatter(1, k[:, None], first.gather(1, k[:, None]))
        images = self.decode(Code(torch.cat([z, z]), torch.cat([first, second])))
        first_images, second_images = images.chunk(2)
        return Contrast(torch.cat([first_images, second_images], 1), k)

    def discriminator_terms(self, draw: DoubleInfoGANDraw) -> dict[str, Tensor]:
        """Eq. 4 for D, Eq. 5 on real images, Eq. 6 with its term on real images, and Eq. 8."""
        with frozen_statistics(self.D):
            fake = self.D(draw.fakes.detach())
        real = draw.outputs
        adv = discriminator_logistic(real["D"].squeeze(1), fake["D"].squeeze(1))
        x_class, y_class = unstack_domains(real["C"].squeeze(1))
        x_salient = unstack_domains(real["s"]).background
        return {
            **domain_terms("adv", adv),
            "class.background": bce(x_class, 0),
            "class.target": bce(y_class, 1),
            **self._info_terms(fake, draw),
            "info_real": latent_regression(
                x_salient, torch.zeros_like(x_salient), self.config.info
            ),
            **domain_terms("image", l1_per_pixel(draw.reconstructions, draw.reals)),
        }

    def generator_terms(self, draw: DoubleInfoGANDraw) -> dict[str, Tensor]:
        """Eq. 4 in its non-saturating form, Eq. 5 and 6 on fakes, Eq. 8, and Eq. 18 for G."""
        fake = self.D(draw.fakes)
        adv = generator_nonsaturating(fake["D"].squeeze(1))
        x_class, y_class = unstack_domains(fake["C"].squeeze(1))
        return {
            **domain_terms("adv", adv),
            "class.background": bce(x_class, 0),
            "class.target": bce(y_class, 1),
            **self._info_terms(fake, draw),
            **domain_terms("image", l1_per_pixel(draw.reconstructions, draw.reals)),
            **self._contrast_terms(draw.contrast),
        }

    def contrast_terms(self, draw: DoubleInfoGANDraw) -> dict[str, Tensor]:
        """Eq. 18 for H, whose images carry no gradient to G."""
        return self._contrast_terms(draw.contrast, detach=True)

    def _contrast_terms(self, contrast: Contrast | None, detach: bool = False) -> dict[str, Tensor]:
        """Eq. 18, or no term if the contrastive regulariser is off."""
        if contrast is None:
            return {}
        images = contrast.images.detach() if detach else contrast.images
        return {"cr": contrastive_regulariser(self.H(images)["k"], contrast.k)}

    def _info_terms(self, fake: dict[str, Tensor], draw: DoubleInfoGANDraw) -> dict[str, Tensor]:
        """Eq. 6 on fakes."""
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
        if self.config.prior_s == "uniform":
            s = 1 - torch.rand_like(s)
        return Code(z, s)

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, self.config.s, device=self.device)
