"""The division of shapes into stages, and the shapes that are refused."""

import re

import pytest

from nets import Generator, Trunk, plan_stages


@pytest.mark.parametrize("resolution", [1, 5, 13, 33, 44, 100])
def test_plan_stages_refuses_impossible_sides_and_names_the_nearest(resolution: int) -> None:
    with pytest.raises(ValueError, match=r"b = 3\.\.7") as caught:
        plan_stages((1, resolution, resolution), 64)
    nearest = [int(word.strip(",")) for word in str(caught.value).split("valid: ")[1].split()]
    assert all(
        plan_stages((1, side, side), 64) and plan_stages((1, side, side, side), 64)
        for side in nearest
    )


def test_plan_stages_prefers_base_4_and_widens_at_most_8_times() -> None:
    assert plan_stages((3, 64, 64), 64) == (4, (64, 128, 256, 512))
    table_5 = (4, (64, 128, 256, 512, 512))
    assert plan_stages((1, 128, 128), 64) == plan_stages((1, 128, 128, 128), 64) == table_5
    assert plan_stages((1, 28, 28), 8) == (7, (8, 16))
    assert plan_stages((1, 96, 96), 8) == (3, (8, 16, 32, 64, 64))
    assert plan_stages((77,), 8) == (1, (64, 64))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 32, 16), "images must be square, found 32 x 16"),
        ((1, 32, 32, 16), "volumes must be cubes, found 32 x 32 x 16"),
        ((1, 0, 0), "found shape (1, 0, 0), expected (C, H, W), (C, D, H, W) or (F,)"),
        ((32, 32), "found shape (32, 32), expected"),
        ((1, 2, 8, 8, 8), "expected (C, H, W)"),
    ],
)
def test_nets_refuse_shapes_that_are_not_square_or_cubic(
    shape: tuple[int, ...], expected: str
) -> None:
    for build in (lambda: Generator(3, shape, 4), lambda: Trunk(shape, 4)):
        with pytest.raises(ValueError, match=re.escape(expected)):
            build()
