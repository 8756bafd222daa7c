"""The vocabulary: Pair, Code, Draw, Step, Method.

A method is its nets, its training steps and four functions. A GAN and a VAE are the same kind of thing here; the engine
trains either, and every verb works on either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from studio.domains import DOMAINS, Domain
from studio.errors import StudioError, nearest
from studio.schema import Section

if TYPE_CHECKING:
    from studio.data import Dataset

__all__ = ["DOMAINS", "Code", "Domain", "Draw", "Method", "MethodConfig", "Pair", "Step", "halves"]


class Pair(NamedTuple):
    """Equal halves: `x` background and `y` target images, each (B, C, H, W) in [-1, 1].

    Methods that take the target's severity into account (`method.severity`) get it as `severity`, (B,) in [0, 1] with NaN
    where it is not known.
    """

    x: Tensor
    y: Tensor
    severity: Tensor | None = None

    def to(self, device: torch.device) -> "Pair":
        """Returns the pair on a device."""
        severity = None if self.severity is None else self.severity.to(device, non_blocking=True)
        return Pair(
            self.x.to(device, non_blocking=True), self.y.to(device, non_blocking=True), severity
        )

    def split(self, parts: int) -> "list[Pair]":
        """Returns that many pairs of equally many images; B must be a multiple."""
        if parts == 1:
            return [self]
        severity = [None] * parts if self.severity is None else self.severity.chunk(parts)
        return [
            Pair(*part)
            for part in zip(self.x.chunk(parts), self.y.chunk(parts), severity, strict=True)
        ]


class Code(NamedTuple):
    """Common code `z` (B, n) and salient code `s` (B, m)."""

    z: Tensor
    s: Tensor

    def joined(self) -> Tensor:
        """Returns [z, s], shape (B, n + m); the order in which every generator takes its input."""
        return torch.cat([self.z, self.s], 1)


@dataclass
class Draw:
    """What one iteration's steps share; methods extend it with prior codes, fakes, readings."""

    pair: Pair


@dataclass(frozen=True)
class Step:
    """One line of a paper's algorithm.

    Attributes:
        name: as in the paper ("D", "G"); log lines carry it.
        trains: the nets that this step moves; nothing else gets a gradient.
        loss: from the method's Draw to the unweighted terms. A term's name is one or more weight names joined by dots, and its
            weight their product: `adv.background` weighs `weights["adv"] * weights["background"]`. Terms of shape (B,)
            are averaged.
        times: how often per iteration; each repetition after the first has a draw of its own.
        fresh: whether the first repetition, too, needs a draw of its own instead of the one that steps share.
    """

    name: str
    trains: Sequence[nn.Module]
    loss: Callable[[Any], dict[str, Tensor]]
    times: int = 1
    fresh: bool = False


def halves(name: str, per_image: Tensor) -> dict[str, Tensor]:
    """Splits a term over [background; target] images, shape (2B,), into `name.background` and `name.target`."""
    background, target = per_image.chunk(2)
    return {f"{name}.background": background, f"{name}.target": target}


class MethodConfig(Section):
    """What every method's section of a config has.

    Attributes:
        name: of the method.
        z: length of the common code.
        s: length of the salient code.
        weights: one number per term name of the method; those not given keep the paper's values.
    """

    defaults: ClassVar[Mapping[str, float]] = {}
    training: ClassVar[
        Mapping[str, Any]
    ] = {}  # what the papers of this method set in the training's section

    name: str
    z: int = Field(ge=1)
    s: int = Field(ge=1)
    weights: dict[str, float] = Field(default={}, validate_default=True)

    @field_validator("weights", mode="after")
    @classmethod
    def _known_terms(cls, given: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in given if name not in cls.defaults]
        if unknown:
            raise ValueError(
                "; ".join(
                    f"no term is called {name!r}{nearest(name, cls.defaults)}" for name in unknown
                )
            )
        negative = [name for name, value in given.items() if not 0 <= value < float("inf")]
        if negative:
            raise ValueError(
                f"weights are finite and not negative, found {', '.join(f'{n}={given[n]}' for n in negative)}"
            )
        return {**cls.defaults, **given}


class Method(nn.Module):
    """Nets, steps, and how to encode, decode, sample and blank.

    Subclasses have a `Config` (a MethodConfig), are built from it, the nets' section and the images' shape, and
    implement the functions below. They write no training loop.

    Args:
        config: the method's section of the config.
    """

    Config: ClassVar[type[MethodConfig]]
    paper: ClassVar[str] = ""  # authors, title, place and year of what the method is from
    contrastive: ClassVar[bool] = (
        True  # whether background images are decoded with a blank salient code
    )
    # Weights whose terms look at a batch as a whole (and gather it, see `studio.distributed.collectives`), with what it is that they look at.
    batch_terms: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config
        self.weights = dict(config.weights)

    @property
    def device(self) -> torch.device:
        """Where the nets are."""
        return next(chain(self.parameters(), self.buffers())).device

    def weight(self, term: str) -> float:
        """Returns the weight of a term, the product of the weights its dotted name is made of.

        Raises:
            StudioError: a part of the name has no weight.
        """
        product = 1.0
        for part in term.split("."):
            if part not in self.weights:
                raise StudioError(
                    f"term {term!r} of {self.config.name} has no weight {part!r}{nearest(part, self.weights)}"
                )
            product *= self.weights[part]
        return product

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted sum of the terms' means, shape (); a term of weight 0 takes no part, not even its NaN."""
        weighted = [
            weight * value.mean() for name, value in terms.items() if (weight := self.weight(name))
        ]
        if not weighted:
            raise StudioError(
                f"every term of a step of {self.config.name} has weight 0: {', '.join(terms)}"
            )
        return torch.stack(weighted).sum()

    def notes(self) -> list[str]:
        """Returns what a person should know of this configuration of the method; a training says it at its start."""
        return []

    def batch_statistics(self) -> list[str]:
        """Returns what is a statistic of the whole batch, and so keeps a batch from being given in parts."""
        terms = [
            f"{term} ({what})" for term, what in self.batch_terms.items() if self.weights[term]
        ]
        norms = [name for name, module in self.named_modules() if isinstance(module, _BatchNorm)]
        return terms + [f"batch normalisation ({name})" for name in norms]

    def draw(self, pair: Pair) -> Draw:
        """Called once per iteration: what the steps share."""
        return Draw(pair)

    def steps(self) -> Sequence[Step]:
        """The paper's algorithm, in order; () for a method in closed form, which has `fit` instead."""
        raise NotImplementedError

    def fit(self, dataset: "Dataset", images: int) -> None:
        """Solves a method in closed form from the first training images, `images` of both halves together."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Code:
        """Maps images (B, C, H, W) to their code; deterministic in eval mode."""
        raise NotImplementedError

    def decode(self, code: Code) -> Tensor:
        """Maps codes to images (B, C, H, W) in [-1, 1]."""
        raise NotImplementedError

    def prior(self, n: int, domain: Domain) -> Code:
        """Draws n codes of a domain."""
        raise NotImplementedError

    def blank(self, n: int) -> Tensor:
        """Returns n salient codes (n, m) that mean "nothing salient"."""
        raise NotImplementedError
