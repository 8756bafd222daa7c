"""Which forward passes batch and spectral normalisation learn from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nets.spectral import SpectralNorm

__all__ = ["frozen_statistics"]


@contextmanager
def frozen_statistics(net: nn.Module, except_for: Sequence[nn.Module] = ()) -> Iterator[None]:
    """Lets a net normalise by each batch as in training while its running statistics stay as they are.

    Eval mode uses the running statistics, so they should describe what the net meets there: a discriminator that also
    serves as encoder reads real images, and must not remember the fakes. Spectral normalisation keeps its singular
    vectors, so that a net which only judges another is the same function from one call to the next.

    Args:
        net: whose statistics rest.
        except_for: parts of it that go on learning theirs.
    """
    awake = {module for part in except_for for module in part.modules()}
    norms = [
        m
        for m in net.modules()
        if isinstance(m, _BatchNorm) and m.track_running_stats and m not in awake
    ]
    spectral = [
        m for m in net.modules() if isinstance(m, SpectralNorm) and m.training and m not in awake
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
