"""Volumes as drawings of three planes, as viewers of scans show them.

The axes of a volume run from head to feet, from front to back, and from left to right. The coronal
plane is at the top left, the sagittal plane to its right, and the axial plane below. The coronal
plane shares its rows with the sagittal one and its columns with the axial one.

`cut_at` chooses the planes for the pictures that are drawn in its block, because most pictures
consist of many cells that must all show the same planes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from studio.errors import StudioError

__all__ = ["PLANES", "Planes", "cut_at", "describe_planes", "draw_planes"]

Planes = tuple[int, int, int]
PLANES = ("axial", "coronal", "sagittal")  # across the first, the second and the last axis
_chosen: ContextVar[Planes | None] = ContextVar("planes", default=None)


@contextmanager
def cut_at(
    planes: Sequence[int] | None, shape: Sequence[int] = (), option: str = "--slice"
) -> Iterator[None]:
    """Draws the volumes of a block at other planes than those through their middle.

    Args:
        planes: number of the axial, the coronal and the sagittal plane, counted from the head, the
            front and the left. None: the middle.
        shape: of the items, (C, D, H, W).
        option: that states the planes, for messages.

    Raises:
        StudioError: the items are no volumes, or have no such plane.
    """
    if planes is not None and len(shape) != 4:
        raise StudioError(f"{option}: needs volumes, found images or vectors")
    for name, number, count in zip(PLANES, planes or (), shape[1:], strict=False):
        if not 0 <= number < count:
            raise StudioError(f"{option}: found {name} plane {number}, expected 0 to {count - 1}")
    token = _chosen.set(None if planes is None else (planes[0], planes[1], planes[2]))
    try:
        yield
    finally:
        _chosen.reset(token)


def _find_planes(sides: Sequence[int]) -> Planes:
    """Returns the chosen planes of a volume (D, H, W), or those through its middle."""
    chosen = _chosen.get()
    return (sides[0] // 2, sides[1] // 2, sides[2] // 2) if chosen is None else chosen


def describe_planes(sides: Sequence[int]) -> str:
    """Returns the sentences of a caption that say which planes of volumes (D, H, W) are shown."""
    found = ", ".join(
        f"{name} {number} of {count}"
        for name, number, count in zip(PLANES, _find_planes(sides), sides, strict=True)
    )
    return (
        f"Volumes are cut in three planes, counted from the head, the front and the left: {found}. "
        "The coronal plane is at the top left, the sagittal plane to its right and the axial plane "
        "below. Black marks in the gaps show where the planes cut one another. "
    )


def draw_planes(pixels: np.ndarray) -> np.ndarray:
    """Draws volumes as three views.

    Args:
        pixels: (B, D, H, W, C), uint8.

    Returns:
        (B, D + 1 + H, W + 1 + H, C), uint8. Empty places are white. A black pixel in a gap marks
        where another plane cuts the views beside it.
    """
    count, depth, height, width, channels = pixels.shape
    axial, coronal, sagittal = _find_planes(pixels.shape[1:4])
    views = np.full((count, depth + 1 + height, width + 1 + height, channels), 255, np.uint8)
    views[:, :depth, :width] = pixels[:, :, coronal]
    views[:, :depth, width + 1 :] = pixels[:, :, :, sagittal]
    views[:, depth + 1 :, :width] = pixels[:, axial]
    views[:, [axial, depth + 1 + coronal], width] = 0
    views[:, depth, [sagittal, width + 1 + coronal]] = 0
    return views
