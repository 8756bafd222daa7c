"""The update of the authors' code of Double InfoGAN, as a reference for the speed of ours.

It is written anew from a description of that code (github.com/Florence-C/Double_InfoGAN has no
licence), for measurements only. It computes the same losses as `studio.methods.double_infogan` with
the same nets, in the authors' way:

* Step G comes first, then D, then CR. Each draws its own codes and generates its own images, and
  the reconstructions are computed once for G and again for D.
* Every net sees one domain and one source at a time: generated background, generated targets, real
  background, real targets.
* Each domain has as many generated images as the whole batch has real ones of both.
* The branch of the contrastive regulariser (CR) is computed even if its weight is 0, as in their
  configs for CelebA and BraTS. It can be left out here.
* While a net learns, the parameters of the others are frozen, and nothing else is left out.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from losses import (
    bce,
    contrastive_regulariser,
    generator_nonsaturating,
    l1_per_pixel,
    latent_regression,
)
from nets import build_encoder
from studio.method import DOMAINS, Code, Domain, Pair
from studio.methods.double_infogan import DoubleInfoGAN
from studio.training.engine import Engine

__all__ = ["AuthorsUpdate"]

LABELS: dict[Domain, Literal[0, 1]] = {"background": 0, "target": 1}
Images = dict[Domain, Tensor]
Outputs = dict[str, Tensor]


class AuthorsUpdate:
    """Takes the authors' steps on the nets of an engine.

    Args:
        engine: of Double InfoGAN. It lends its nets, device and precision.
        contrast: whether the branch of CR is computed.
    """

    def __init__(self, engine: Engine, contrast: bool) -> None:
        method = engine.method
        if not isinstance(method, DoubleInfoGAN):
            raise TypeError(f"expected Double InfoGAN, found {type(method).__name__}")
        self.engine, self.method, self.contrast = engine, method, contrast
        self.nets: dict[str, nn.Module] = {"G": method.G, "D": method.D}
        if contrast:
            self.nets["CR"] = (
                method.H if method.has_contrast else _build_contrast_net(engine, method)
            )
        train = engine.config.train
        self.optimizers = {
            name: torch.optim.Adam(net.parameters(), train.lr, betas=train.betas, fused=True)
            for name, net in self.nets.items()
        }

    def __call__(self, pair: Pair) -> None:
        """Does one iteration on a pair of images of both domains, each (B, C, ...)."""
        self.method.train()
        images = dict(zip(DOMAINS, self.engine.place(pair)[:2], strict=True))
        self._step("G", lambda: self._generator_loss(images))
        self._step("D", lambda: self._discriminator_loss(images))
        if self.contrast:
            self._step("CR", self._contrast_term)

    def _step(self, name: str, loss: Callable[[], Tensor]) -> None:
        for other, net in self.nets.items():
            net.requires_grad_(other == name)
        with self.engine.accelerator.autocast():
            value = loss()
        self.optimizers[name].zero_grad()
        value.backward()
        self.optimizers[name].step()
        for net in self.nets.values():
            net.requires_grad_(True)

    def _generator_loss(self, images: Images) -> Tensor:
        terms: dict[str, Tensor] = {}
        for domain, label in LABELS.items():
            code, fake = self._generate(domain)
            read = self.method.D(fake)
            terms[f"adv.{domain}"] = generator_nonsaturating(read["D"].squeeze(1))
            terms[f"class.{domain}"] = bce(read["C"].squeeze(1), label)
            terms |= self._info_terms(domain, read, code)
            image = images[domain]
            terms |= self._image_term(domain, image, self.method.D(image))
        loss = self.method.total(terms)
        if self.contrast:  # with its gradient, even if the weight is 0
            loss = loss + self.method.config.weights["cr"] * self._contrast_term()
        return loss

    def _discriminator_loss(self, images: Images) -> Tensor:
        terms: dict[str, Tensor] = {}
        for domain, label in LABELS.items():
            code, fake = self._generate(domain)
            of_fake, of_real = self.method.D(fake), self.method.D(images[domain])
            real_logits, fake_logits = of_real["D"].squeeze(1), of_fake["D"].squeeze(1)
            # There are more generated images than real ones, so each half has a mean of its own.
            terms[f"adv.{domain}"] = bce(real_logits, 1).mean() + bce(fake_logits, 0).mean()
            terms[f"class.{domain}"] = bce(of_real["C"].squeeze(1), label)
            terms |= self._info_terms(domain, of_fake, code)
            terms |= self._image_term(domain, images[domain], of_real)
            if domain == "background":
                terms["info_real"] = latent_regression(of_real["s"], torch.zeros_like(of_real["s"]))
        return self.method.total(terms)

    def _generate(self, domain: Domain) -> tuple[Code, Tensor]:
        """Generates as many images of a domain as the batch has real ones of both."""
        code = self.method.prior(self.engine.config.train.batch, domain)
        return code, self.method.decode(code)

    def _info_terms(self, domain: Domain, read: Outputs, code: Code) -> dict[str, Tensor]:
        return {
            f"info_z.{domain}": latent_regression(read["z"], code.z, self.method.config.info),
            f"info_s.{domain}": latent_regression(read["s"], code.s, self.method.config.info),
        }

    def _image_term(self, domain: Domain, image: Tensor, read: Outputs) -> dict[str, Tensor]:
        s = read["s"]
        if domain == "background":
            s = self.method.blank(len(image)).to(s)
        rebuilt = self.method.decode(Code(read["z"], s))
        return {f"image.{domain}": l1_per_pixel(rebuilt, image)}

    def _contrast_term(self) -> Tensor:
        contrast = self.method.draw_contrast(self.engine.config.train.batch)
        return contrastive_regulariser(self.nets["CR"](contrast.images)["k"], contrast.k).mean()


def _build_contrast_net(engine: Engine, method: DoubleInfoGAN) -> nn.Module:
    """Builds the net H of CR for a method that has none, because its weight of CR is 0."""
    channels, *sides = engine.dataset.shape
    net = build_encoder(
        (2 * channels, *sides),
        {"k": method.config.s},
        engine.config.nets,
        min(method.config.noise, 0.1),
        head_noise=0,
        unnormalised=("k",),
    )
    return net.to(engine.accelerator.device).train()
