"""How a shape divides into a base and a number of stages; shared by generator and trunk."""

from collections.abc import Sequence
from typing import NamedTuple

from nets.dimensions import spatial_sides

__all__ = ["Stages", "attention_stage", "plan_stages"]

BASES = (
    4,
    5,
    3,
    6,
    7,
)  # Table 4 of Carton et al. starts from 4x4, so 4 is tried first and its neighbours next
WIDEST = (
    8  # Tables 4 and 5: the deepest stage is 512 = 8 * 64 channels wide, and stays so at 128x128
)
VECTOR = 2  # layers of a vector's trunk, each as wide as the deepest stage; no paper trains a GAN on vectors


class Stages(NamedTuple):
    """A side as `base * 2**len(widths)` and the number of channels of each stage.

    Attributes:
        base: side of the smallest feature map, 3 to 7; 1 for vectors.
        widths: channels of the trunk's stages from the image inwards; the generator walks them backwards.
    """

    base: int
    widths: tuple[int, ...]


def plan_stages(shape: Sequence[int], width: int) -> Stages:
    """Divides a shape into stages that halve its sides.

    Args:
        shape: (C, H, W) of square images or (C, D, H, W) of cubes, with sides `b * 2**k`, b = 3..7 and k >= 1 (6, 8, 28,
            32, 64, 96, 128...); or (F,) of vectors of any length, which get two layers of 8 * width.
        width: channels of the stage next to the image (64 in Tables 4 and 5).

    Returns:
        base and widths; a side with two divisions (96 = 3 * 32 = 6 * 16) takes the base nearest to 4.

    Raises:
        ValueError: the sides differ, or no such b and k exist; the message names the nearest sizes that work.
    """
    square = spatial_sides(shape)
    if not square:
        return Stages(1, (WIDEST * width,) * VECTOR)
    if len(set(square)) > 1:
        kind = "images must be square" if len(square) == 2 else "volumes must be cubes"
        raise ValueError(f"{kind}, found {' x '.join(map(str, square))}")
    side = square[0]
    for base in BASES:
        doublings = side // base
        if side > base and side % base == 0 and doublings & (doublings - 1) == 0:
            count = doublings.bit_length() - 1
            return Stages(base, tuple(width * min(2**i, WIDEST) for i in range(count)))
    valid = sorted(
        {base * 2**k for base in BASES for k in range(1, 12)}, key=lambda size: abs(size - side)
    )
    nearest = ", ".join(map(str, sorted(valid[:3])))
    raise ValueError(
        f"resolution {side} is not b * 2**k with b = 3..7; the nearest that are: {nearest}"
    )


def attention_stage(
    shape: Sequence[int], plan: Stages, upsample: str, attention: int
) -> int | None:
    """Finds the doubling of a generator after which its map attends to itself.

    Args:
        shape: of the image.
        plan: its stages.
        upsample: `transposed` or `nearest`.
        attention: side of the map; 0 for none.

    Returns:
        the doubling's number, counted from 0; None without attention.

    Raises:
        ValueError: no map has that side, or it is a vector, which has neither maps nor neighbours.
    """
    if not spatial_sides(shape):
        if attention or upsample != "transposed":
            raise ValueError(
                "attention and upsample need images or volumes, and the data are vectors"
            )
        return None
    if not attention:
        return None
    made = [plan.base * 2**number for number in range(1, len(plan.widths))]
    if attention not in made:
        valid = ", ".join(map(str, made)) or "none"
        raise ValueError(
            f"attention: found {attention}, but a generator of side {max(spatial_sides(shape))} makes maps of side {valid}"
        )
    return made.index(attention)
