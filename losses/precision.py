"""The precision in which losses are computed."""

import torch
from torch import Tensor

__all__ = ["at_least_float32"]


def at_least_float32(x: Tensor) -> Tensor:
    """Converts half precisions to float32. float64 stays float64, for tests by finite differences.

    Args:
        x: any shape and floating-point type.

    Returns:
        The same values in float32 or float64.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
