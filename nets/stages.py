"""The division of a shape into a base and stages, which generator and trunk share."""

from collections.abc import Sequence
from typing import NamedTuple

from nets.dimensions import spatial_sides

__all__ = ["Stages", "find_attention_stage", "plan_stages"]

# In order of preference. Table 4 of Carton et al. (2024) has 4x4 as its smallest feature map.
BASES = (4, 5, 3, 6, 7)
# In Tables 4 and 5 the deepest stage has 512 = 8 * 64 channels, also at 128x128.
MAX_WIDTH_FACTOR = 8
# Layers of a trunk for vectors, each as wide as the deepest stage. No paper has a GAN for vectors.
VECTOR_LAYERS = 2


class Stages(NamedTuple):
    """A side, divided as `base * 2**len(widths)`, and the number of channels of each stage.

    Attributes:
        base: side of the smallest feature map, 3 to 7. 1 for vectors.
        widths: channels of the trunk's stages, from the image inwards. The generator uses them in
            reverse order.
    """

    base: int
    widths: tuple[int, ...]


def plan_stages(shape: Sequence[int], width: int) -> Stages:
    """Divides a shape into stages that halve its sides.

    Args:
        shape: (C, H, W) of square images or (C, D, H, W) of cubes, with sides `b * 2**k`, b = 3..7
            and k >= 1 (6, 8, 28, 32, 64, 96, 128...). Or (F,) of vectors of any length, which get
            two layers of 8 * width.
        width: channels of the stage next to the image (64 in Tables 4 and 5).

    Returns:
        Base and widths. If a side has two divisions (96 = 3 * 32 = 6 * 16), the base nearest to 4
        is chosen.

    Raises:
        ValueError: the sides differ, or no such b and k exist. The message names the nearest valid
            sizes.
    """
    sides = spatial_sides(shape)
    if not sides:
        return Stages(1, (MAX_WIDTH_FACTOR * width,) * VECTOR_LAYERS)
    if len(set(sides)) > 1:
        rule = "images must be square" if len(sides) == 2 else "volumes must be cubes"
        raise ValueError(f"{rule}, found {' x '.join(map(str, sides))}")
    side = sides[0]
    for base in BASES:
        factor = side // base
        if side > base and side % base == 0 and factor & (factor - 1) == 0:
            doublings = factor.bit_length() - 1
            widths = (width * min(2**i, MAX_WIDTH_FACTOR) for i in range(doublings))
            return Stages(base, tuple(widths))
    valid = sorted(
        {base * 2**k for base in BASES for k in range(1, 12)}, key=lambda size: abs(size - side)
    )
    nearest = ", ".join(map(str, sorted(valid[:3])))
    raise ValueError(f"resolution {side} is not b * 2**k with b = 3..7; nearest valid: {nearest}")


def find_attention_stage(
    shape: Sequence[int], plan: Stages, upsample: str, attention: int
) -> int | None:
    """Finds the stage of a generator after which self-attention is applied.

    Args:
        shape: of the image.
        plan: its stages.
        upsample: `transposed` or `nearest`.
        attention: side of the feature map that gets self-attention. 0 for none.

    Returns:
        The number of the generator's stage, counted from 0. None without attention.

    Raises:
        ValueError: no feature map has that side, or the data are vectors, which have no maps.
    """
    if not spatial_sides(shape):
        if attention or upsample != "transposed":
            raise ValueError("attention and upsample need images or volumes, found vectors")
        return None
    if not attention:
        return None
    sides = [plan.base * 2**number for number in range(1, len(plan.widths))]
    if attention not in sides:
        valid = ", ".join(map(str, sides)) or "none"
        raise ValueError(
            f"attention: found {attention}, expected a side of the generator's feature maps for "
            f"images of side {max(spatial_sides(shape))}: {valid}"
        )
    return sides.index(attention)
