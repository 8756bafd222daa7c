"""Spectral normalisation: layers whose weights are divided by their largest singular value."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

from nets.init import LINEAR

__all__ = ["SpectralNorm", "apply_spectral_norm_", "power_iteration_"]

Net = TypeVar("Net", bound=nn.Module)


class SpectralNorm(_SpectralNorm):
    """PyTorch's spectral normalisation in float32 everywhere: CUDA's autocast would iterate in three digits."""

    def forward(self, weight: Tensor) -> Tensor:
        """Divides a weight of any shape by its largest singular value, as a matrix with a row for each output channel."""
        with torch.autocast(weight.device.type, enabled=False):
            return super().forward(weight)


def apply_spectral_norm_(net: Net) -> Net:
    """Divides the weights of every convolution and linear layer by their largest singular value, in place.

    Miyato et al. (2018): W / (u^T W v), W as a matrix with a row for each output channel, u and v from one step of power
    iteration in every forward pass that trains. In eval mode and inside `frozen_statistics` u and v rest. Call it when the net
    has its first weights: an initialisation would not reach the weights afterwards.

    Returns:
        the same net; `LAYER.weight` is now `LAYER.parametrizations.weight.original` in its state.
    """
    for module in list(net.modules()):
        if isinstance(module, LINEAR):
            register_parametrization(module, "weight", SpectralNorm(module.weight))
    return net


@torch.no_grad()
def power_iteration_(net: nn.Module) -> None:
    """Does one step of power iteration everywhere in a net, with the weights as they are now.

    For weights that no forward pass trains, such as a moving average's: an average of u or of v has not length 1, and
    would let the weights grow.
    """
    for module in net.modules():
        if isinstance(module, ParametrizationList):
            for part in module:
                if isinstance(part, SpectralNorm):
                    training = part.training
                    part.train()(module.original)
                    part.train(training)
