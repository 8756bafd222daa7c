"""The exponential moving average of a method's weights and running statistics."""

import copy

import torch

from nets import power_iteration_
from studio.method import Method

__all__ = ["Ema"]


class Ema:
    """A copy of a method whose weights follow the trained ones, with a half-life in images.

    While few images have been seen, the half-life is a twentieth of their number, as in EDM's
    training code, so that the copy is useful from the start. The running statistics of batch
    normalisation are averaged in the same way, because they belong to the averaged weights.
    Spectral normalisation takes one step of power iteration on the averaged weights.

    Args:
        method: the trained method.
        half_life: in images. With 0 the copy equals the trained method.
    """

    RAMP = 0.05  # the half-life as a share of the images seen, while that is the smaller of both

    def __init__(self, method: Method, half_life: int) -> None:
        self.method = copy.deepcopy(method).eval().requires_grad_(False)
        self.half_life = half_life

    @torch.no_grad()
    def update(self, method: Method, batch: int, images_seen: int) -> None:
        """Moves the copy towards the method after an iteration.

        Args:
            method: the trained method.
            batch: images of this iteration.
            images_seen: images of all iterations so far.
        """
        half_life = min(self.half_life, self.RAMP * images_seen)
        decay = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        average, current = self.method.state_dict(), method.state_dict()
        floating = [name for name, value in average.items() if value.is_floating_point()]
        ours, theirs = ([state[name] for name in floating] for state in (average, current))
        torch._foreach_lerp_(ours, theirs, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        if decay:
            power_iteration_(self.method)
        for name, value in average.items():
            if not value.is_floating_point():
                value.copy_(current[name])
