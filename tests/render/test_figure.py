"""PDF and SVG files of pictures."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from studio.errors import StudioError
from studio.render.figure import keep_figures, save_vector, to_picture
from studio.render.grid import Grid
from studio.verbs.pictures import check_picture, save_picture


@pytest.fixture
def grid() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    return Grid([[noise]], "A title", "A caption.").draw()


def plot() -> Image.Image:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [1, 0])
    return to_picture(figure)


def test_svg_of_images_has_every_pixel_and_the_caption(grid: Image.Image, tmp_path: Path) -> None:
    save_picture(grid, tmp_path / "grid.svg")
    text = (tmp_path / "grid.svg").read_text()
    [encoded] = re.findall(r'xlink:href="data:image/png;base64,\s*([^"]+)"', text)
    shown = Image.open(BytesIO(base64.b64decode(encoded))).convert("RGB")
    assert np.array_equal(np.asarray(shown), np.asarray(grid))
    assert "<dc:title>A title</dc:title>" in text
    assert "A caption." in text


def test_svg_of_a_plot_has_lines_and_no_pixels(tmp_path: Path) -> None:
    with keep_figures() as kept:
        picture = plot()
    save_vector(picture, kept, tmp_path / "plot.svg", "svg")
    assert "<image" not in (tmp_path / "plot.svg").read_text()
    save_vector(plot(), [], tmp_path / "pixels.svg", "svg")
    assert "<image" in (tmp_path / "pixels.svg").read_text()


@pytest.mark.parametrize(("ending", "start"), [("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_the_same_picture_gives_the_same_bytes(
    ending: str, start: bytes, grid: Image.Image, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        save_picture(grid, tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert (tmp_path / f"one.{ending}").read_bytes().startswith(start)


def test_keep_figures_ends_with_its_block() -> None:
    with keep_figures() as kept:
        plot()
    plot()
    assert len(kept) == 1


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.jpeg", "a.webp", "a.pdf", "a.SVG"])
def test_check_picture_accepts_the_endings_of_pictures(name: str) -> None:
    check_picture(Path(name))


@pytest.mark.parametrize("name", ["a.gif", "a", "a.pdf.txt"])
def test_check_picture_refuses_others(name: str) -> None:
    with pytest.raises(StudioError, match="expected a name that ends in"):
        check_picture(Path(name))
