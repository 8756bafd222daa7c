"""Agreement of the processes of one training: flags, faults, decisions and mean gradients."""

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

__all__ = ["SILENCE", "Processes", "destroy_group_at_exit", "is_lost_contact"]

T = TypeVar("T")
# The others wait this long for a process that is alive and silent. The first may be probing.
SILENCE = timedelta(minutes=30)


def is_lost_contact(error: RuntimeError) -> bool:
    """Returns whether an error means that the connection to another process broke."""
    return isinstance(error, dist.DistError) or any(
        name in str(error) for name in ("gloo", "NCCL", "Connection closed")
    )


def destroy_group_at_exit() -> None:
    """Registers destruction of the process group at exit. Call it before the group is created.

    gloo's threads live as long as the group. A thread that frees its last message while the
    interpreter ends aborts the process: without this call a training that had saved everything
    ended with SIGABRT in 5 of 12 runs.
    """
    # The functions of this module keep the process group of the moment of import as a default
    # argument. torch's compiler imports it with the first optimiser, and the group would then
    # outlive its destruction.
    import torch.distributed.nn.functional  # noqa: F401

    atexit.unregister(_destroy_group)
    atexit.register(_destroy_group)


def _destroy_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class Processes:
    """The processes of a training, seen from one of them.

    Every method is a collective: all processes must call it at the same point. With one process,
    each answer is that process's own.

    Args:
        accelerator: the accelerator of the training.

    Attributes:
        count: the number of processes.
        rank: the number of this process, from 0.
        first: whether this process writes the files and prints.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.count, self.rank = accelerator.num_processes, accelerator.process_index
        self.first = accelerator.is_main_process

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns for each flag whether any process has set it.

        For example, a signal may reach one process, but all must stop together.
        """
        if self.count == 1:
            return flags
        total = self.accelerator.reduce(
            torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device), "sum"
        )
        assert isinstance(total, Tensor)
        return tuple(value > 0 for value in total.tolist())

    def all(self, mine: T | None) -> list[T]:
        """Returns the values of all processes in the order of their ranks, without None."""
        values = [mine] if self.count == 1 else gather_object([mine])
        return [one for one in values if one is not None]

    def decide_on_first(self, decide: Callable[[], T]) -> T:
        """Lets the first process decide, and returns its answer in every process.

        Raises:
            StudioError: `decide` raised it in the first process. Every process raises it.
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
    def skip_destruction_on_error(self) -> Iterator[None]:
        """Skips the destruction of the process group at exit after an error in the block.

        The other processes may wait in a collective for this one. Under NCCL the destruction is a
        collective as well, and would wait for them. NCCL's threads, unlike gloo's, do not abort a
        process that ends without it.
        """
        try:
            yield
        except BaseException:
            if self.count > 1 and dist.get_backend() != "gloo":
                atexit.unregister(_destroy_group)
            raise

    def wait(self) -> None:
        """Returns when every process has called it.

        A launcher ends the other processes as soon as one has ended with an exit code above 0.
        """
        self.any(False)

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Averages the gradients of parameters over processes, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
        assert isinstance(flat, Tensor)
        for parameter, piece in zip(
            parameters, flat.split([g.numel() for g in gradients]), strict=True
        ):
            # In the memory order of the parameter, because the fused optimiser needs one order.
            parameter.grad = torch.empty_like(parameter).copy_(piece.view_as(parameter))
