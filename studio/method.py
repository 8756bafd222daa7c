"""The vocabulary of the studio: Pair, Code, Draw, Step and Method.

A Method consists of its nets, its training steps and the four functions `encode`, `decode`, `prior`
and `blank`. GANs and VAEs have the same interface. The engine trains every Method with the same
loop, and every verb accepts every Method.

Rows of a batch that holds both domains are always ordered [background, target]: B background images
are followed by B target images. `stack_domains` builds such a batch, and `unstack_domains` takes it
apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from studio.domains import DOMAINS, Domain
from studio.errors import StudioError, nearest
from studio.method_config import MethodConfig
from studio.schema import NetsConfig

if TYPE_CHECKING:
    from studio.data.dataset import Dataset

__all__ = [
    "DOMAINS",
    "Code",
    "Domain",
    "Draw",
    "Method",
    "MethodConfig",
    "Pair",
    "PerDomain",
    "Step",
    "domain_terms",
    "stack_domains",
    "unstack_domains",
]


class Pair(NamedTuple):
    """One training batch: as many background images as target images.

    Attributes:
        x: background images, (B, C, H, W) in [-1, 1]. Volumes have shape (B, C, D, H, W), vectors
            (B, F).
        y: target images, of the same shape.
        severity: the attribute of the target images that `Method.pair_attribute` names, shape (B,)
            and range [0, 1], NaN where it is unknown. None if the method names no attribute.
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

    def micro_batches(self, count: int) -> "list[Pair]":
        """Returns `count` pairs with B / count images per domain. `count` must divide B."""
        if count == 1:
            return [self]
        severity = [None] * count if self.severity is None else self.severity.chunk(count)
        return [
            Pair(*fields)
            for fields in zip(self.x.chunk(count), self.y.chunk(count), severity, strict=True)
        ]


class Code(NamedTuple):
    """The codes of B images: common `z`, shape (B, n), and salient `s`, shape (B, m)."""

    z: Tensor
    s: Tensor

    def concat(self) -> Tensor:
        """Returns [z, s], shape (B, n + m), in the order that every generator expects."""
        return torch.cat([self.z, self.s], 1)

    def detach(self) -> "Code":
        """Returns the same numbers without gradient."""
        return Code(self.z.detach(), self.s.detach())


# A tensor, or a NamedTuple of tensors such as Code, with one row per image.
Rows = TypeVar("Rows", bound=Tensor | tuple[Tensor, ...])


class PerDomain(NamedTuple, Generic[Rows]):
    """One value for each domain."""

    background: Rows
    target: Rows


def stack_domains(background: Rows, target: Rows) -> Rows:
    """Concatenates rows (B, ...) of both domains to rows [background, target], (2B, ...)."""
    if isinstance(background, Tensor):
        return cast(Rows, torch.cat([background, cast(Tensor, target)]))
    fields = zip(cast(tuple, background), cast(tuple, target), strict=True)
    return type(background)(*(torch.cat(rows) for rows in fields))


def unstack_domains(rows: Rows) -> PerDomain[Rows]:
    """Splits rows [background, target], (2B, ...), into the rows of each domain, (B, ...)."""
    if isinstance(rows, Tensor):
        return cast(PerDomain[Rows], PerDomain(*rows.chunk(2)))
    background, target = zip(*(field.chunk(2) for field in rows), strict=True)
    return PerDomain(type(rows)(*background), type(rows)(*target))


def domain_terms(name: str, per_image: Tensor) -> dict[str, Tensor]:
    """Splits a term of all images, (2B,), into `name.background` and `name.target`, (B,) each."""
    background, target = unstack_domains(per_image)
    return {f"{name}.background": background, f"{name}.target": target}


@dataclass
class Draw:
    """The tensors that the steps of one iteration share.

    Methods derive their own class, which adds for example codes of the prior, generated images or
    codes of the images.

    Attributes:
        pair: the images of the iteration.
    """

    pair: Pair


DrawType = TypeVar("DrawType", bound=Draw)


@dataclass(frozen=True)
class Step(Generic[DrawType]):
    """One line of a paper's algorithm: which nets move, and which loss they minimise.

    Steps of an iteration run in order. The first step takes a new Draw. Every later step takes the
    most recent Draw of the iteration, so that steps share forward passes, with two exceptions: each
    repetition of a step after its first (unless `redraw` is off), and a step with `fresh`. These
    take a new Draw of the same Pair, which uses the nets as the earlier steps left them.

    Attributes:
        name: as in the paper ("D", "G"). Log lines carry it.
        trains: the nets that this step moves. No other net gets a gradient.
        loss: maps the method's Draw to the unweighted terms, each of shape (B,), which is averaged,
            or (). The name of a term is one or more names of weights joined by dots, and its weight
            is their product: the term `adv.background` has the weight `weights["adv"] *
            weights["background"]`.
        times: repetitions per iteration.
        fresh: whether the first repetition takes a new Draw as well.
        redraw: whether repetitions after the first take a new Draw. Without it they use the Draw of
            the first, which suits a step that reads only tensors of nets that it does not move.
    """

    name: str
    trains: Sequence[nn.Module]
    loss: Callable[[DrawType], dict[str, Tensor]]
    times: int = 1
    fresh: bool = False
    redraw: bool = True


class Method(nn.Module):
    """A model that separates images into common and salient codes.

    It consists of nets, training steps and four functions. A subclass declares its `Config`, builds
    its nets and implements `steps` (or `fit`), `encode`, `decode`, `prior` and `blank`. It contains
    no training loop, because the engine has the only one.

    Args:
        config: the `method` section of the config.
        nets: the `nets` section, from which subclasses build their nets.
        shape: of one image, channels first, for which subclasses build their nets.

    Attributes:
        Config: class of the `method` section.
        paper: the full citation: authors, title, venue and year.
        contrastive: whether background images are decoded with a blank salient code.
        batch_terms: names of weights that belong to statistics of a whole batch, each with a short
            description for error messages. Such terms gather the rows of all processes
            (`studio.distributed.collectives`).
        weights: weight of each term by name.
    """

    Config: ClassVar[type[MethodConfig]]
    paper: ClassVar[str] = ""
    contrastive: ClassVar[bool] = True
    batch_terms: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        config: MethodConfig,
        nets: NetsConfig | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.weights = dict(config.weights)

    @property
    def device(self) -> torch.device:
        """The device of the nets."""
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def pair_attribute(self) -> str | None:
        """Name of the target attribute that training needs as `Pair.severity`, or None."""
        return None

    def weight(self, term: str) -> float:
        """Returns the weight of a term: the product of the weights in its dotted name.

        Raises:
            StudioError: a part of the name has no weight.
        """
        product = 1.0
        for part in term.split("."):
            if part not in self.weights:
                raise StudioError(
                    f"term {term!r} of {self.config.name} has no weight {part!r}"
                    f"{nearest(part, self.weights)}"
                )
            product *= self.weights[part]
        return product

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted sum of the terms' means, shape ().

        A term of weight 0 is left out, even if it is NaN.

        Raises:
            StudioError: every term has weight 0, or a term has no weight.
        """
        weighted = [
            weight * value.mean() for name, value in terms.items() if (weight := self.weight(name))
        ]
        if not weighted:
            raise StudioError(
                f"every term of a step of {self.config.name} has weight 0: {', '.join(terms)}"
            )
        return torch.stack(weighted).sum()

    def notes(self) -> list[str]:
        """Returns remarks about this configuration, which training prints at its start."""
        return []

    def batch_statistics(self) -> list[str]:
        """Describes each statistic of a whole batch, because accumulation would change its value.

        Returns:
            the `batch_terms` that have a weight, and the layers of batch normalisation.
        """
        terms = [
            f"{term} ({description})"
            for term, description in self.batch_terms.items()
            if self.weights[term]
        ]
        norms = [name for name, module in self.named_modules() if isinstance(module, _BatchNorm)]
        return terms + [f"batch normalisation ({name})" for name in norms]

    def draw(self, pair: Pair) -> Draw:
        """Computes the tensors that the steps of an iteration share, as the method's own Draw."""
        return Draw(pair)

    def steps(self) -> Sequence[Step[Any]]:
        """Returns the steps of the paper's algorithm in order.

        The loss of each step takes the class of Draw that `draw` returns. A method with a
        closed-form solution returns () and implements `fit`.
        """
        raise NotImplementedError

    def fit(self, dataset: "Dataset", images: int) -> None:
        """Solves a method with a closed-form solution.

        Args:
            dataset: source of the training images.
            images: how many of the first training images to use, both domains together.
        """
        raise NotImplementedError

    def encode(self, images: Tensor) -> Code:
        """Maps images (B, C, H, W) to their codes. In eval mode the result is deterministic."""
        raise NotImplementedError

    def decode(self, code: Code) -> Tensor:
        """Maps codes to images (B, C, H, W) in [-1, 1]."""
        raise NotImplementedError

    def prior(self, n: int, domain: Domain) -> Code:
        """Draws n codes from the prior of a domain."""
        raise NotImplementedError

    def blank(self, n: int) -> Tensor:
        """Returns n copies of the blank salient code, which means "nothing salient", (n, m)."""
        raise NotImplementedError

    def classify_salient(self, s: Tensor) -> Tensor | None:
        """Returns logits (B,) that salient codes (B, m) belong to target images.

        Only a method that trains such a classifier has an answer. All others return None.
        """
        return None
