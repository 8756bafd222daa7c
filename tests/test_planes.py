"""Planes of volumes: the chosen ones, their description, and refusals."""

import numpy as np
import pytest

from studio.errors import StudioError
from studio.planes import cut_at, describe_planes, draw_planes

SHAPE = (1, 4, 6, 8)


def test_cut_at_chooses_the_planes_of_a_block() -> None:
    volume = np.arange(4 * 6 * 8, dtype=np.uint8).reshape(1, 4, 6, 8, 1)
    middle = draw_planes(volume)
    with cut_at((3, 1, 7), SHAPE):
        [drawn] = draw_planes(volume)[..., 0]
        assert "axial 3 of 4, coronal 1 of 6, sagittal 7 of 8" in describe_planes(SHAPE[1:])
    assert np.array_equal(drawn[:4, :8], volume[0, :, 1, :, 0])
    assert np.array_equal(drawn[:4, 9:], volume[0, :, :, 7, 0])
    assert np.array_equal(drawn[5:, :8], volume[0, 3, :, :, 0])
    with cut_at((2, 3, 4), SHAPE):
        assert np.array_equal(draw_planes(volume), middle)
    with cut_at(None):
        assert np.array_equal(draw_planes(volume), middle)
    assert np.array_equal(draw_planes(volume), middle)
    assert "axial 2 of 4, coronal 3 of 6, sagittal 4 of 8" in describe_planes(SHAPE[1:])


@pytest.mark.parametrize(
    ("planes", "shape", "words"),
    [
        ((4, 0, 0), SHAPE, "found axial plane 4, expected 0 to 3"),
        ((0, 6, 0), SHAPE, "found coronal plane 6, expected 0 to 5"),
        ((0, 0, -1), SHAPE, "found sagittal plane -1, expected 0 to 7"),
        ((0, 0, 0), (1, 8, 8), "needs volumes, found images or vectors"),
    ],
)
def test_cut_at_refuses_planes_that_do_not_exist(
    planes: tuple[int, ...], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(StudioError, match=f"^--slice: {words}$"), cut_at(planes, shape):
        pass
