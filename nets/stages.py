"""How a resolution divides into a base and a number of doublings; shared by generator and trunk."""

from typing import NamedTuple

__all__ = ["Stages", "stages"]

BASES = (4, 5, 3, 6, 7)  # Table 4 of Carton et al. starts from 4x4, so 4 is tried first and its neighbours next
WIDEST = 8  # Tables 4 and 5: the deepest stage is 512 = 8 * 64 channels wide, and stays so at 128x128


class Stages(NamedTuple):
    """A resolution as `base * 2**len(widths)` and the number of channels of each stage.

    Attributes:
        base: side of the smallest feature map, 3 to 7 pixels.
        widths: channels of the trunk's stages from the image inwards; the generator walks them backwards.
    """

    base: int
    widths: tuple[int, ...]


def stages(resolution: int, width: int) -> Stages:
    """Divides a resolution into stages that halve it.

    Args:
        resolution: side of the square image in pixels, `b * 2**k` with b = 3..7 and k >= 1 (6, 8, 28, 32, 64, 96, 128...).
        width: channels of the stage next to the image (64 in Tables 4 and 5).

    Returns:
        base and widths; a resolution with two divisions (96 = 3 * 32 = 6 * 16) takes the base nearest to 4.

    Raises:
        ValueError: no such b and k exist; the message names the nearest sizes that work.
    """
    for base in BASES:
        doublings = resolution // base
        if resolution > base and resolution % base == 0 and doublings & (doublings - 1) == 0:
            count = doublings.bit_length() - 1
            return Stages(base, tuple(width * min(2**i, WIDEST) for i in range(count)))
    valid = sorted({base * 2**k for base in BASES for k in range(1, 12)}, key=lambda side: abs(side - resolution))
    nearest = ", ".join(map(str, sorted(valid[:3])))
    raise ValueError(f"resolution {resolution} is not b * 2**k with b = 3..7; the nearest that are: {nearest}")
