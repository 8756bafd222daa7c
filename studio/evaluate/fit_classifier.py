"""The training loop of the small classifiers that judge and describe images."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["fit_classifier"]


def fit_classifier(
    net: nn.Module,
    loss: Callable[[Tensor], Tensor],
    members: Sequence[Tensor],
    steps: int,
    batch: int,
    rate: float,
    order: torch.Generator,
    decay: Callable[[int], float] | None = None,
) -> None:
    """Trains a net in place with Adam on batches with equally many images of each group.

    Args:
        net: in training mode.
        loss: maps the numbers (batch,) of a batch's images to a loss ().
        members: for each group the numbers of its images, (n,).
        steps: number of optimiser steps.
        batch: images per step.
        rate: learning rate.
        order: draws the images.
        decay: maps a step to the factor of the learning rate. None keeps the rate constant.
    """
    optimiser = torch.optim.Adam(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, decay) if decay else None
    size = batch // len(members)
    for _ in range(steps):
        drawn = [rows[torch.randint(len(rows), (size,), generator=order)] for rows in members]
        value = loss(torch.cat(drawn))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        if schedule:
            schedule.step()
