"""The check for numbers that are not finite, without waiting for the device in every step.

A step whose terms or gradients are not finite must move no network. The processor can ask for the
numbers after each step, but then a GPU stands still until it has answered. `FiniteCheck` leaves the
decision to the device: a flag there makes the fused optimiser skip its step, and stays set, so that
no later step moves a network either. The numbers are looked at every few iterations. Whoever looks
then finds the same first failure, and the same weights, as with a look after each step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from studio.config import Config
from studio.training.failures import Fault, NotFinite, greatest_gradients, name_fault

__all__ = ["FiniteCheck", "look_every"]

LOOK_EVERY = 20  # iterations on a GPU, where a look waits for all that is queued


@dataclass(frozen=True)
class _Record:
    """The numbers of one step that nobody has looked at."""

    iteration: int
    images_seen: int
    step: str
    terms: list[str]
    gradients: list[str]
    values: Tensor  # of the terms, then the greatest of each gradient


class FiniteCheck:
    """Remembers the numbers of steps on their device until somebody looks.

    Args:
        device: of the numbers.
        every: iterations between looks.
        names: parameters by id, as `NET.PARAMETER`.

    Attributes:
        broken: 1 from the first step with a number that is not finite, else 0. Shape ().
    """

    def __init__(self, device: torch.device, every: int, names: Mapping[int, str]) -> None:
        self.every, self.names = every, names
        self.broken = torch.zeros((), device=device)
        self._records: list[_Record] = []

    def guard(
        self,
        optimizer: torch.optim.Optimizer,
        place: tuple[int, int, str],
        terms: Mapping[str, Tensor],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        """Makes the optimiser's next step do nothing if a number is not finite, or was before.

        Args:
            optimizer: a fused optimiser, which reads `found_inf` as it does for `GradScaler`.
            place: iteration, images seen at its start, and the step's name.
            terms: means of shape ().
            parameters: the parameters that the step moves.
        """
        values = torch.stack([*terms.values(), *greatest_gradients(parameters)])
        # Not in place, because the optimiser of an earlier step may still read the former flag.
        self.broken = torch.maximum(self.broken, (~values.isfinite()).any().float())
        optimizer.found_inf = self.broken  # pyright: ignore[reportAttributeAccessIssue]
        moved = [self.names[id(p)] for p in parameters if p.grad is not None]
        self._records.append(_Record(*place, list(terms), moved, values))

    def forget(self) -> None:
        """Forgets all steps, because the training returns to a checkpoint."""
        self._records, self.broken = [], torch.zeros_like(self.broken)

    def look(self) -> None:
        """Waits for the device, and forgets the steps if all their numbers are finite.

        Raises:
            NotFinite: the first step with other numbers. It and all later steps moved no network.
        """
        records, self._records = self._records, []
        if not records or not bool(self.broken):
            return
        self.forget()
        for record in records:
            fault = _find(record)
            if fault is not None:
                raise NotFinite(record.iteration, record.images_seen, [fault])


def _find(record: _Record) -> Fault | None:
    values = record.values.tolist()
    terms = dict(zip(record.terms, values, strict=False))
    greatest = dict(zip(record.gradients, values[len(record.terms) :], strict=True))
    return name_fault(0, record.step, terms, greatest)


def look_every(accelerator: Accelerator, config: Config) -> int:
    """Returns after how many iterations a training looks at the numbers of its steps."""
    # Several processes agree after each step whether to take it, which waits in any case. The
    # scaler of fp16 skips steps itself, because gradients at a large scale are often infinite.
    if accelerator.num_processes > 1 or accelerator.scaler is not None:
        return 1
    if config.train.check_every == "auto":
        return LOOK_EVERY if accelerator.device.type == "cuda" else 1
    return config.train.check_every
