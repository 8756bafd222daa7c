"""Activation checkpointing: the backward pass computes the activations of a block again.

A block then keeps its input only, which takes less memory and about a third more time (Chen, Xu,
Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016). Random numbers are those of
the first pass, and running statistics are updated once, so the weights of a training stay the same.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from nets.spectral import SpectralNorm

__all__ = ["Blocks", "recompute_"]


class Blocks(nn.Sequential):
    """Modules in sequence, whose activations may be computed again.

    Attributes:
        recompute: whether they are.
    """

    recompute = False

    def forward(self, input: Tensor) -> Tensor:
        """Applies all modules in order."""
        for block in self:
            input = self.apply_block(block, input)
        return input

    def apply_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Applies one of the modules to x, (B, ...)."""
        again = self.recompute and self.training and torch.is_grad_enabled()
        if not (again and any(True for _ in block.parameters())):
            return block(x)
        contexts = nullcontext(), _AsBefore(block)
        result = checkpoint(block, x, use_reentrant=False, context_fn=lambda: contexts)
        assert isinstance(result, Tensor)
        return result


def recompute_(net: nn.Module, on: bool = True) -> None:
    """Makes every `Blocks` of a network recompute its activations, or keep them."""
    for module in net.modules():
        if isinstance(module, Blocks):
            module.recompute = on


class _AsBefore:
    """Runs a block as in its first pass, as often as the graph is used.

    The same parameters are trained, because a step may have frozen those of other networks since
    then. Running statistics and singular vectors, which the first pass has updated, stay.

    Args:
        block: the block, in its first pass.
    """

    def __init__(self, block: nn.Module) -> None:
        self.trained = [(p, p.requires_grad) for p in block.parameters()]
        self.norms = [m for m in block.modules() if isinstance(m, _BatchNorm)]
        self.tracked = [norm.track_running_stats for norm in self.norms]
        self.spectral = [m for m in block.modules() if isinstance(m, SpectralNorm)]
        self.undo: list[Callable[[], object]] = []

    def __enter__(self) -> None:
        for parameter, before in self.trained:
            self._set(parameter, "requires_grad", before)
        for norm, tracked in zip(self.norms, self.tracked, strict=True):
            self._set(norm, "track_running_stats", tracked)
            self._set(norm, "momentum", 0.0)
            if norm.num_batches_tracked is not None:
                count = norm.num_batches_tracked.clone()
                self.undo.append(partial(norm.num_batches_tracked.copy_, count))
        for norm in self.spectral:
            self._set(norm, "training", False)

    def __exit__(self, *error: object) -> None:
        while self.undo:
            self.undo.pop()()

    def _set(self, owner: object, name: str, value: object) -> None:
        self.undo.append(partial(setattr, owner, name, getattr(owner, name)))
        setattr(owner, name, value)
