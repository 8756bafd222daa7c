"""Indices of items of a data set, as every data set takes them."""

from collections.abc import Sequence

import numpy as np

from studio.errors import StudioError

__all__ = ["as_indices"]


def as_indices(indices: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Returns indices as an int64 array, also if there are none.

    Args:
        indices: from 0 to `size` - 1, in any order.
        size: number of items.

    Raises:
        StudioError: the indices are not whole numbers, or an item does not exist.
    """
    found = np.asarray(indices)
    if found.ndim != 1:
        raise StudioError(f"indices: found shape {found.shape}, expected a list of indices")
    if not found.size:
        return np.empty(0, np.int64)
    if found.dtype.kind not in "iu":
        raise StudioError(f"indices: found {found.dtype} numbers, expected whole numbers")
    wrong = found[(found < 0) | (found >= size)]
    if wrong.size:
        raise StudioError(f"indices: found {wrong[0]}, expected 0 to {size - 1}")
    return found.astype(np.int64)
