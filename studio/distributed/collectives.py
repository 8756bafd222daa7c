"""Collectives with gradients, for losses and layers that need the batches of all processes.

The engine averages gradients over processes, which is exact for terms that are means over images.
A discrepancy between two sets of codes, a transport plan, a permutation of codes and batch
normalisation depend on the whole batch. For them the rows of all processes are gathered with their
gradient, and every process computes the same number. The average of the processes' gradients is
then the gradient of that number. With one process the functions return their argument.

`torch.distributed.nn.functional` has an all-gather with a gradient, too. Ours exists because that
module keeps the process group of the moment of its import as a default argument, so that the group
outlives its destruction (see `studio.distributed.processes.destroy_group_at_exit`).
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["SharedBatchNorm", "gather_domains", "gather_rows", "share_batch_norm_", "world"]


def world() -> int:
    """Returns the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Gathers the rows of all processes in the order of their ranks, with gradient.

    Args:
        rows: (B, ...), with the same B in every process.

    Returns:
        (world * B, ...).
    """
    return rows if world() == 1 else _GatherRows.apply(rows)


def gather_domains(rows: Tensor) -> Tensor:
    """Gathers [background; target] rows (2B, ...) into [all backgrounds; all targets].

    Returns:
        (world * 2B, ...).
    """
    return rows if world() == 1 else torch.cat([gather_rows(half) for half in rows.chunk(2)])


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation by the statistics of all processes' batches, on any device.

    torch's SyncBatchNorm does the same with fast kernels on accelerators, and refuses the CPU. Each
    process must have the same number of images. Parameters, buffers and eval mode are those of
    torch's batch normalisation.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (B, C, ...), found shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, C, ...) to the same shape."""
        if not self.training:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        others = [0, *range(2, x.ndim)]
        spread = [1, -1, *[1] * (x.ndim - 2)]
        mean = _mean_over_processes(x.mean(others))
        centred = x - mean.view(spread)
        variance = _mean_over_processes(centred.square().mean(others))
        if self.track_running_stats and self.running_mean is not None:
            self._update_running_statistics(
                mean.detach(), variance.detach(), world() * x.numel() // x.shape[1]
            )
        y = centred * (variance + self.eps).rsqrt().view(spread)
        if self.affine:
            y = y * self.weight.view(spread) + self.bias.view(spread)
        return y.to(input.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * count / (count - 1), weight)


def share_batch_norm_(net: nn.Module, device: torch.device) -> nn.Module:
    """Makes every batch normalisation of a network use the batches of all processes.

    Names and values of parameters and buffers stay.

    Args:
        net: changed in place, and returned.
        device: the device on which the network will run. Accelerators get torch's SyncBatchNorm.
    """
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for name, child in net.named_children():
        if not isinstance(child, _BatchNorm):
            share_batch_norm_(child, device)
            continue
        shared = SharedBatchNorm(
            child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
        )
        shared.load_state_dict(child.state_dict())
        setattr(net, name, shared.train(child.training))
    return net


def _mean_over_processes(values: Tensor) -> Tensor:
    return values if world() == 1 else _Sum.apply(values) / world()


def _all_reduce(values: Tensor) -> Tensor:
    total = values.contiguous().clone()
    dist.all_reduce(total)
    return total


class _Sum(Function):
    """The sum over processes. Its gradient is the sum of the gradients in all processes."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        return _all_reduce(values)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return _all_reduce(gradients[0])


class _GatherRows(Function):
    """The rows of all processes. A row's gradient is the sum over the processes."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        pieces = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(pieces, rows)
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return _all_reduce(gradients[0]).chunk(world())[dist.get_rank()]
