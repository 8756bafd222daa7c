"""Control over the forward passes that update running statistics and singular vectors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nets.spectral import SpectralNorm

__all__ = ["frozen_statistics"]


@contextmanager
def frozen_statistics(net: nn.Module, except_for: Sequence[nn.Module] = ()) -> Iterator[None]:
    """Normalises by each batch, as in training, without updating the running statistics.

    Eval mode uses the running statistics, so they must describe the inputs that the network gets in
    eval mode. A discriminator that is also the encoder gets real images there, so generated images
    must not change its statistics. The singular vectors of spectral normalisation stay constant as
    well, so that a network whose weights do not change is the same function in every pass.

    Args:
        net: the network.
        except_for: parts of it that still update their statistics.
    """
    updating = {module for part in except_for for module in part.modules()}
    norms = [
        m
        for m in net.modules()
        if isinstance(m, _BatchNorm) and m.track_running_stats and m not in updating
    ]
    spectral = [
        m for m in net.modules() if isinstance(m, SpectralNorm) and m.training and m not in updating
    ]
    for norm in norms:
        norm.track_running_stats = False
    for norm in spectral:
        norm.training = False
    try:
        yield
    finally:
        for norm in spectral:
            norm.training = True
        for norm in norms:
            norm.track_running_stats = True
