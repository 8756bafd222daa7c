"""Grids: palettes, and the places of cells and texts."""

import numpy as np
import pytest

from studio.render.fonts import load_font
from studio.render.grid import GAP, MARGIN, NARROWEST, READABLE, WIDE_GAP, Grid, Scale
from studio.render.text import draw_text, wrap

RED, GREEN, BLUE = (
    np.full((4, 4, 3), colour, np.uint8) for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255])
)
CAPTION = (
    "Every line of this caption has to be seen whole, from its first letter to its last, however "
    "long it may be. "
)


def ink(pixels: np.ndarray) -> int:
    """Returns the darkness of a picture, summed over its pixels."""
    return int((255 - np.asarray(pixels).astype(int)).sum())


def test_scale_diverging_is_white_in_the_middle_and_clips() -> None:
    low, middle, high, beyond = (
        Scale("", -2, 2, "RdBu_r").paint(np.array([-2.0, 0.0, 2.0, 9.0])).astype(int)
    )
    assert middle.min() > 240
    assert low[2] > low[0] + 50, "low is blue"
    assert high[0] > high[2] + 50, "high is red"
    assert beyond.tolist() == high.tolist()


def test_scale_sequential_grows_lighter() -> None:
    painted = Scale("", 0, 0.5, "cividis").paint(np.linspace(0, 0.5, 9).reshape(3, 3)).astype(int)
    assert painted.shape == (3, 3, 3)
    assert (np.diff(painted.sum(-1).ravel()) > 0).all()


def test_grid_places_cells_with_thin_and_wide_gaps() -> None:
    picture = np.asarray(Grid([[RED, GREEN], [BLUE, None]], breaks=[1], zoom=1).draw())
    first, right, below = MARGIN, MARGIN + 4 + GAP, MARGIN + 4 + WIDE_GAP
    assert (picture[first : first + 4, first : first + 4] == [255, 0, 0]).all()
    assert (picture[first : first + 4, right : right + 4] == [0, 255, 0]).all()
    assert (picture[below : below + 4, first : first + 4] == [0, 0, 255]).all()
    assert (picture != 255).any(-1).sum() == 3 * 16, "and all else is white"
    wide = np.asarray(Grid([[RED, GREEN]], column_breaks=[1], zoom=1).draw())
    assert (wide[first : first + 4, right + WIDE_GAP - GAP :][:, :4] == [0, 255, 0]).all()


def test_grid_draws_gray_images_in_three_equal_channels() -> None:
    picture = np.asarray(Grid([[np.full((2, 2, 1), 77, np.uint8)]], zoom=1).draw())
    assert (picture[MARGIN : MARGIN + 2, MARGIN : MARGIN + 2] == 77).all()


@pytest.mark.parametrize(("side", "zoom"), [(28, 4), (32, 3), (64, 2), (96, 1), (128, 1)])
def test_grid_enlarges_small_images_pixel_by_pixel(side: int, zoom: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    picture = np.asarray(Grid([[image]]).draw())[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert np.array_equal(
        picture[: side * zoom, : side * zoom], image.repeat(zoom, 0).repeat(zoom, 1)
    )
    assert picture.shape[0] == side * zoom >= READABLE


@pytest.mark.parametrize("width", [30, 96, 150, 420])
@pytest.mark.parametrize("text", [CAPTION * 3, "a" * 300, "", "one", "jfjf Qgyp_ÅÉ |x| → ≤"])
def test_draw_text_never_cuts_words_off(text: str, width: int) -> None:
    drawn = draw_text(text, width)
    lines = wrap(text, load_font(13, False), width - 2)
    assert drawn.width <= width
    assert "".join("".join(lines).split()) == "".join(text.split()), "every letter is in a line"
    alone = [draw_text(line, 10_000) for line in lines]
    assert ink(drawn) == pytest.approx(sum(ink(line) for line in alone), rel=0.02), (
        "lines do not overlap"
    )
    padded = [draw_text(f"x {line} x", 10_000) for line in lines if line]
    rest = [ink(whole) - 2 * ink(draw_text("x", 99)) for whole in padded]
    assert sum(rest) == pytest.approx(ink(drawn), rel=0.05), "no letter reaches out of its image"


def test_draw_table_fits_columns_to_their_longest_word() -> None:
    def table(title: str) -> tuple[int, int]:
        return Grid([[title], [RED]], zoom=8).draw_table().size

    line = draw_text("x", 99).height
    word = draw_text("reconstruction", 999).width
    assert word > 32
    assert table("reconstruction") == (word, line + GAP + 32), "a word is not broken"
    assert table("a b") == (32, line + GAP + 32)
    assert table("ab cd ef gh ij kl")[0] == 32, "words wrap"
    assert table("ab cd ef gh ij kl")[1] > 2 * line + GAP + 32


def test_grid_with_much_text_keeps_margins_and_all_ink() -> None:
    head = ["", "a-very-long-column-title", "two words"]
    side = "a row title of several words that will have to wrap more than once"
    rows = [head, [side, RED, GREEN], [CAPTION, BLUE, RED]]
    scale = Scale("what the colours mean", -1, 1, "RdBu_r")
    picture = Grid(rows, "A title " * 12, CAPTION * 2, [scale], zoom=4).draw()
    pixels = np.asarray(picture)
    assert picture.mode == "RGB"
    assert picture.width <= NARROWEST + 2 * MARGIN, "text wraps instead of widening the picture"
    inside = pixels[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert ink(inside) == ink(pixels), "nothing in the margins"
    assert all(ink(edge) for edge in (inside[:14], inside[-18:], inside[:, :6])), (
        "and no more margin than needed"
    )
    images = sum(ink(cell) * 16 for row in rows for cell in row if isinstance(cell, np.ndarray))
    text = sum(ink(draw_text(text, 10_000)) for text in (*head[1:], side, CAPTION, CAPTION * 2))
    title = ink(draw_text("A title " * 12, 10_000, 16, bold=True))
    assert ink(pixels) == pytest.approx(images + text + title + ink(scale.draw_key()), rel=0.02)


def test_grid_draws_the_same_bytes_each_time() -> None:
    def draw(caption: str) -> bytes:
        return Grid([["t", RED]], "title", caption).draw().tobytes()

    assert draw("a") == draw("a")
    assert draw("a") != draw("b")
