"""Spectral normalisation: weights are divided by their largest singular value."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

from nets.init import WEIGHT_LAYERS

__all__ = ["SpectralNorm", "apply_spectral_norm_", "power_iteration_"]

Net = TypeVar("Net", bound=nn.Module)


class SpectralNorm(_SpectralNorm):
    """PyTorch's spectral normalisation, always in float32.

    Under CUDA's autocast the power iteration would have a precision of about three digits.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Divides a weight by its largest singular value.

        Args:
            weight: any shape. It is treated as a matrix with one row per output channel.

        Returns:
            The same shape.
        """
        with torch.autocast(weight.device.type, enabled=False):
            return super().forward(weight)


def apply_spectral_norm_(net: Net) -> Net:
    """Adds spectral normalisation to every convolution and linear layer, in place.

    Miyato et al. (2018): W / (u^T W v), with W as a matrix with one row per output channel. Each
    forward pass in training mode updates u and v by one step of power iteration. In eval mode and
    inside `frozen_statistics` they stay constant. Call this function after the initialisation of
    the weights, because an initialisation does not reach them afterwards.

    Returns:
        The same network. In its state dict `LAYER.weight` becomes
        `LAYER.parametrizations.weight.original`.
    """
    for module in list(net.modules()):
        if isinstance(module, WEIGHT_LAYERS):
            register_parametrization(module, "weight", SpectralNorm(module.weight))
    return net


@torch.no_grad()
def power_iteration_(net: nn.Module) -> None:
    """Updates every u and v of a network by one step of power iteration on its current weights.

    It is meant for weights that no forward pass in training mode uses, such as a moving average.
    There, u and v are averages of unit vectors and therefore shorter than 1. The estimate of the
    largest singular value is then too small, and the weights divided by it would be too large.
    """
    for module in net.modules():
        if isinstance(module, ParametrizationList):
            for part in module:
                if isinstance(part, SpectralNorm):
                    training = part.training
                    part.train()(module.original)
                    part.train(training)
