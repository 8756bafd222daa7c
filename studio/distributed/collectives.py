"""Batches that are spread over processes, seen as one: for what no mean over images can make good.

Gradients are averaged over processes, which is exact for terms that are means over images. A discrepancy between two sets
of codes, a transport plan, a shuffle and batch normalisation look at the batch as a whole: for them the rows of all
processes are gathered, with gradient, and every process computes the same number. The average of the processes' gradients
is then the gradient of that number. With one process everything here returns what it is given.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["SharedBatchNorm", "gathered", "gathered_halves", "share_batch_norm", "world"]


def world() -> int:
    """Returns the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(rows: Tensor) -> Tensor:
    """Returns the rows of all processes, in the order of their ranks, with gradient: (B, ...) -> (world * B, ...)."""
    return rows if world() == 1 else _Rows.apply(rows)


def gathered_halves(rows: Tensor) -> Tensor:
    """Gathers [background; target] rows (2B, ...) into [all backgrounds; all targets]."""
    return rows if world() == 1 else torch.cat([gathered(half) for half in rows.chunk(2)])


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation by the statistics of all processes' batches, on any device.

    torch's own SyncBatchNorm does the same on accelerators, with kernels of its own, and refuses the CPU. Each process
    must bring equally many images. Parameters, buffers and eval mode are those of torch's batch normalisation.
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
            self._remember(mean.detach(), variance.detach(), world() * x.numel() // x.shape[1])
        y = centred * (variance + self.eps).rsqrt().view(spread)
        if self.affine:
            y = y * self.weight.view(spread) + self.bias.view(spread)
        return y.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * count / (count - 1), weight)


def share_batch_norm(net: nn.Module, device: torch.device) -> nn.Module:
    """Makes every batch normalisation of a net see the batches of all processes; names and values stay.

    Args:
        net: changed in place, and returned.
        device: where it will run; torch's SyncBatchNorm on accelerators.
    """
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for name, child in net.named_children():
        if not isinstance(child, _BatchNorm):
            share_batch_norm(child, device)
            continue
        shared = SharedBatchNorm(
            child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
        )
        shared.load_state_dict(child.state_dict())
        setattr(net, name, shared.train(child.training))
    return net


def _mean_over_processes(values: Tensor) -> Tensor:
    return values if world() == 1 else _Sum.apply(values) / world()


def _summed(values: Tensor) -> Tensor:
    total = values.contiguous().clone()
    dist.all_reduce(total)
    return total


class _Sum(Function):
    """The sum over processes. Each adds to its gradient what reaches the sum in the others."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


class _Rows(Function):
    """The rows of all processes. Each adds to the gradient of its own rows what reaches them in the others."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        pieces = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(pieces, rows)
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0]).chunk(world())[dist.get_rank()]
