"""Failures that stop a step before it moves a network: non-finite numbers and a lack of memory.

Every process checks its own terms and gradients. All processes learn of a failure in any of them
before an optimiser moves. An overflow of the loss scale in fp16 is not a failure, because the
scaler finds the largest scale that works by trying larger ones, and skips the step itself when
gradients become infinite. Gradients that are infinite at a scale below 1 have another cause.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from studio.errors import StudioError

__all__ = [
    "TOTAL",
    "Fault",
    "NotFinite",
    "OutOfMemory",
    "find_fault",
    "greatest_gradients",
    "name_fault",
]


# Finite terms can add up to more than the largest float. The total is named only in that case.
TOTAL = "weighted sum"


@dataclass(frozen=True)
class Fault:
    """The non-finite numbers that one process found in one step.

    Attributes:
        rank: the process.
        step: the step's name.
        terms: the non-finite terms, by name.
        gradients: the parameters with non-finite gradients, each as `NET.PARAMETER`.
    """

    rank: int
    step: str
    terms: dict[str, float] = field(default_factory=dict)
    gradients: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = [f"{name} = {value}" for name, value in self.terms.items()]
        if not found:
            more = ", ..." * (len(self.gradients) > 3)
            found = [f"the gradient of {', '.join(self.gradients[:3])}{more}"]
        return f"step {self.step}, rank {self.rank}: {', '.join(found)}"


class NotFinite(StudioError):
    """A term or a gradient is not finite. No process has taken the step.

    Args:
        iteration: the iteration in which it happened. Those before are finished.
        images_seen: real images seen at its start.
        faults: one for each process that found non-finite numbers.
        note: an addition to the message.
    """

    def __init__(
        self, iteration: int, images_seen: int, faults: Sequence[Fault], note: str = ""
    ) -> None:
        self.iteration, self.images_seen, self.faults = iteration, images_seen, faults
        found = "; ".join(map(str, faults))
        super().__init__(
            f"not finite at iteration {iteration} ({images_seen} images), {found}; "
            f"no step was taken{note}"
        )


class OutOfMemory(StudioError):
    """A process ran out of memory in a step. No process has taken the step.

    Args:
        step: the step's name.
        moved: whether an earlier step of the same iteration has moved its networks.
    """

    def __init__(self, step: str, moved: bool) -> None:
        self.step, self.moved = step, moved
        super().__init__(f"out of memory in step {step}")


def find_fault(
    rank: int,
    step: str,
    terms: Mapping[str, Tensor],
    module: nn.Module,
    parameters: Sequence[nn.Parameter],
    scaler: "torch.amp.GradScaler | None",
) -> Fault | None:
    """Looks for non-finite numbers after a backward pass.

    Args:
        rank: of this process.
        step: the step's name.
        terms: means of shape (): the terms with a weight above 0, and the `TOTAL` of the terms.
        module: the module that names the parameters.
        parameters: the parameters that the step moves.
        scaler: the loss scaler in fp16, else None.

    Returns:
        the fault, or None if all numbers are finite.
    """
    moved = [p for p in parameters if p.grad is not None]
    # All numbers are read from the device at once, so that a healthy step waits only once.
    values = torch.stack([*terms.values(), *greatest_gradients(moved)]).tolist()
    if all(map(math.isfinite, values)):
        return None
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    gradients = dict(zip([names[id(p)] for p in moved], values[len(terms) :], strict=True))
    if scaler is not None and scaler.get_scale() >= 1:
        gradients = {}
    return name_fault(rank, step, dict(zip(terms, values, strict=False)), gradients)


def greatest_gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Returns the greatest absolute value of each gradient, each of shape ().

    It is finite if and only if the whole gradient is. Unlike a sum of squares it cannot overflow.
    Parameters without a gradient are left out.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return []
    greatest = torch._foreach_norm(gradients, math.inf)  # pyright: ignore[reportPrivateImportUsage]
    return [value.float() for value in greatest]


def name_fault(
    rank: int, step: str, terms: Mapping[str, float], gradients: Mapping[str, float]
) -> Fault | None:
    """Returns the fault of a step's numbers, or None if all of them are finite.

    Args:
        rank: of this process.
        step: the step's name.
        terms: the terms and their `TOTAL`. If one is not finite, the gradients are not named.
        gradients: the greatest absolute value of each gradient, by `NET.PARAMETER`.
    """
    broken = {f"{step}/{name}": v for name, v in terms.items() if not math.isfinite(v)}
    if broken:
        named = {name: value for name, value in broken.items() if name != f"{step}/{TOTAL}"}
        return Fault(rank, step, named or broken)
    names = [name for name, greatest in gradients.items() if not math.isfinite(greatest)]
    return Fault(rank, step, gradients=names) if names else None
