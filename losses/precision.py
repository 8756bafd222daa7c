"""What precision a loss is computed in."""

import torch
from torch import Tensor

__all__ = ["at_least_float32"]


def at_least_float32(x: Tensor) -> Tensor:
    """Returns x in float32 at least: half precisions are cast up, float64 stays (finite differences need it).

    Args:
        x: any shape and type.

    Returns:
        The same values, float32 or float64.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
