"""What stops a step before it moves anything: numbers that are not finite, and memory that does not suffice.

Every process checks its own terms and gradients; all of them learn of a fault in any before one optimiser moves. A loss
scale that overflows in fp16 is no fault: infinite gradients are how the scaler finds the largest scale that works, and it
skips the step itself. Only where the scale has fallen below 1 and gradients are still infinite have they another cause.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from studio.errors import StudioError

__all__ = ["SUM", "Fault", "NotFinite", "OutOfMemory", "inspected"]


SUM = "weighted sum"  # finite terms may add up to more than there are numbers for; named only then


@dataclass(frozen=True)
class Fault:
    """What one process found in one step.

    Attributes:
        rank: the process.
        step: the step's name.
        terms: those that are not finite, by name.
        gradients: parameters whose gradients are not, each as `NET.PARAMETER`.
    """

    rank: int
    step: str
    terms: dict[str, float] = field(default_factory=dict)
    gradients: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = [f"{name} = {value}" for name, value in self.terms.items()]
        if not found:
            found = [
                f"the gradient of {', '.join(self.gradients[:3])}{', ...' * (len(self.gradients) > 3)}"
            ]
        return f"step {self.step}, rank {self.rank}: {', '.join(found)}"


class NotFinite(StudioError):
    """A term or a gradient is not finite; no process has taken the step.

    Args:
        iteration: during which it happened; those before are done.
        images_seen: at its start.
        faults: what the processes found.
        note: what else to say.
    """

    def __init__(
        self, iteration: int, images_seen: int, faults: Sequence[Fault], note: str = ""
    ) -> None:
        self.iteration, self.images_seen, self.faults = iteration, images_seen, faults
        found = "; ".join(map(str, faults))
        super().__init__(
            f"not finite at iteration {iteration} ({images_seen} images), {found}; no step was taken{note}"
        )


class OutOfMemory(StudioError):
    """A process ran out of memory in a step; no process has taken it.

    Args:
        step: the step's name.
        moved: whether a step of the same iteration had moved its nets before.
    """

    def __init__(self, step: str, moved: bool) -> None:
        self.step, self.moved = step, moved
        super().__init__(f"out of memory in step {step}")


def inspected(
    rank: int,
    step: str,
    terms: Mapping[str, Tensor],
    module: nn.Module,
    parameters: Sequence[nn.Parameter],
    scaler: "torch.amp.GradScaler | None",
) -> Fault | None:
    """Looks for what is not finite after a backward pass.

    Args:
        rank: of this process.
        step: the step's name.
        terms: means of shape (), those that weigh nothing left out, and the `SUM` of the terms.
        module: whose parameters' names the fault gives.
        parameters: that the step moves.
        scaler: of the loss, in fp16.

    Returns:
        the fault, or None.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    # One thing to wait for as long as all is well. Squares of finite numbers may overflow, hence the second look below.
    *values, norm = torch.stack(
        [*terms.values(), nn.utils.get_total_norm(gradients).float()]
    ).tolist()
    broken = {
        f"{step}/{name}": value
        for name, value in zip(terms, values, strict=True)
        if not math.isfinite(value)
    }
    if broken:
        named = {name: value for name, value in broken.items() if name != f"{step}/{SUM}"}
        return Fault(rank, step, named or broken)
    if math.isfinite(norm) or (scaler is not None and scaler.get_scale() >= 1):
        return None
    ours = {id(parameter) for parameter in parameters}
    named = (
        (n, p.grad) for n, p in module.named_parameters() if id(p) in ours and p.grad is not None
    )
    names = [name for name, gradient in named if not bool(gradient.isfinite().all())]
    return Fault(rank, step, gradients=names) if names else None
