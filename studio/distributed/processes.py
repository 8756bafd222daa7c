"""What the processes of one training agree on: flags, faults, decisions, and the mean of their gradients."""

import atexit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from studio.errors import StudioError

__all__ = ["SILENCE", "Processes", "leave_at_exit", "lost_contact"]

T = TypeVar("T")
SILENCE = timedelta(
    minutes=30
)  # how long the others wait for one that is alive and says nothing; the first may be probing


def lost_contact(error: RuntimeError) -> bool:
    """Whether an error is how a backend says that another process has gone: at once where its connection breaks."""
    return isinstance(error, dist.DistError) or any(
        name in str(error) for name in ("gloo", "NCCL", "Connection closed")
    )


def leave_at_exit() -> None:
    """Makes this process take leave of the others before the interpreter ends; to be called before they find each other.

    gloo's threads live as long as the group, and one that lets go of its last message while Python is being taken down
    aborts the process: a training that had saved everything would end with SIGABRT, in some runs of ten.
    """
    # Its functions have the group of that moment as a default value. Torch's compiler imports it when the first optimiser
    # is made, and the group would then outlive its own destruction.
    import torch.distributed.nn.functional  # noqa: F401

    atexit.unregister(_leave)
    atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class Processes:
    """Speaks for this process to the others; with one process every answer is its own.

    Every method is a collective: all processes must call it at the same point.

    Args:
        accelerator: knows who takes part.

    Attributes:
        count: how many there are.
        rank: which one this is.
        first: whether it is the one that writes and speaks.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.count, self.rank = accelerator.num_processes, accelerator.process_index
        self.first = accelerator.is_main_process

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns, for each flag, whether any process has set it: a signal may reach one, but all must stop together."""
        if self.count == 1:
            return flags
        total = self.accelerator.reduce(
            torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device), "sum"
        )
        assert isinstance(total, Tensor)
        return tuple(value > 0 for value in total.tolist())

    def all(self, mine: T | None) -> list[T]:
        """Returns what the processes have to tell, in the order of their ranks; None tells nothing."""
        told = [mine] if self.count == 1 else gather_object([mine])
        return [one for one in told if one is not None]

    def decided_by_first(self, decide: Callable[[], T]) -> T:
        """Lets the first process decide, and gives every process its answer.

        Raises:
            StudioError: deciding raised it; in every process.
        """
        if self.count == 1:
            return decide()
        answer: list[T | StudioError | None] = [None]
        if self.first:
            try:
                answer = [decide()]
            except StudioError as error:
                answer = [StudioError(str(error))]
        broadcast_object_list(answer)
        if isinstance(answer[0], StudioError):
            raise answer[0]
        return answer[0]  # pyright: ignore[reportReturnType]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While inside, an error keeps this process from taking leave of the others where that would wait for them.

        They may be in a collective and wait for this one. NCCL's leave is one, too; its threads, unlike gloo's, abort nothing.
        """
        try:
            yield
        except BaseException:
            if self.count > 1 and dist.get_backend() != "gloo":
                atexit.unregister(_leave)
            raise

    def wait(self) -> None:
        """Returns once every process has come here; a launcher ends the others as soon as one has left with a code."""
        self.any(False)

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Averages gradients, flattened into one message."""
        if self.count == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
        assert isinstance(flat, Tensor)
        for parameter, piece in zip(
            parameters, flat.split([g.numel() for g in gradients]), strict=True
        ):
            # In the parameter's own memory order: the fused optimiser walks both side by side.
            parameter.grad = torch.empty_like(parameter).copy_(piece.view_as(parameter))
