"""Cropping, padding and squashing, against a slow construction."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.data.folders_config import FoldersConfig
from studio.data.intensity import EIGHT_BIT_RANGE
from studio.data.io.fitting import Fit, fit, place_square
from studio.data.io.images import Picture
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.write_back import write_back

RNG = np.random.default_rng(0)


def framed(height: int, width: int, around: int = 7) -> np.ndarray:
    """Returns noise with a border of one value."""
    values = RNG.integers(50, 200, (height, width), dtype=np.uint8)
    values[[0, -1]], values[:, [0, -1]] = around, around
    return values


@pytest.mark.parametrize("shape", [(8, 12), (12, 8), (9, 12), (11, 4), (10, 10)])
def test_fit_pads_with_the_value_of_the_border(shape: tuple[int, int]) -> None:
    values, side = framed(*shape), max(shape)
    square = np.full((side, side), 7, np.uint8)
    top, left = (side - shape[0] + 1) // 2, (side - shape[1] + 1) // 2
    square[top : top + shape[0], left : left + shape[1]] = values
    for resolution in (side, 6):
        np.testing.assert_array_equal(
            fit(Picture(values[None], shape), resolution, how="pad"),
            fit(Picture(square[None], (side, side)), resolution),
        )


def test_fit_pads_with_the_lowest_value_where_no_value_fills_the_border() -> None:
    values = RNG.normal(size=(4, 8)).astype(np.float32)
    found = fit(Picture(values[None], (4, 8)), 8, how="pad")[0]
    np.testing.assert_allclose(found[2:6], values, atol=1e-6)
    np.testing.assert_array_equal(found[[0, 1, 6, 7]], np.full((4, 8), values.min()))


def test_fit_squashes_the_whole_image() -> None:
    values = framed(8, 12)
    expected = Image.fromarray(values.astype(np.float32)).resize((6, 6), Image.Resampling.BICUBIC)
    found = fit(Picture(values[None], (8, 12)), 6, how="squash")[0]
    np.testing.assert_array_equal(found, np.asarray(expected).round().clip(0, 255))


def test_square_follows_the_size_of_pixels() -> None:
    # 10 rows of 2 mm and 10 columns of 1 mm: 20 x 10 mm
    assert place_square(10, 10, (2.0, 1.0), "crop") == (2, 0, 5, 10)
    assert place_square(10, 10, (2.0, 1.0), "pad") == (0, -5, 10, 20)
    assert place_square(10, 10, (2.0, 1.0), "squash") == (0, 0, 10, 10)


@pytest.mark.parametrize("how", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(8, 12), (12, 8), (9, 12), (13, 6)])
def test_written_file_has_the_image_where_it_was_read(
    how: Fit, shape: tuple[int, int], tmp_path: Path
) -> None:
    """A smooth image survives reading, at many pixels, and writing."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    values = (60 + 8 * rows + 5 * columns).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    config = FoldersConfig(name="folders", root=".", fit=how)
    source = read_user_file(tmp_path / "a.png", reading_rule(config, (1, 96, 96), EIGHT_BIT_RANGE))
    write_back(source, source.images, tmp_path / "b.png")
    made = np.asarray(Image.open(tmp_path / "b.png")).astype(int)
    assert np.abs(made - values)[2:-2, 2:-2].max() <= 3
    write_back(source, np.full_like(source.images, -1), tmp_path / "c.png")
    black = np.asarray(Image.open(tmp_path / "c.png")) == 0
    expected = min(shape) ** 2 if how == "crop" else values.size
    assert black.sum() == expected
