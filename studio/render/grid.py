"""Captioned grids of images.

A grid is a table. Its cells are images, texts or empty. Column titles are a row of texts, row
titles a column of texts. Every text is measured before anything is placed, so that no text is cut
off or overlaps another one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image

from studio.render.text import PAPER, TITLE_SIZE, draw_text

__all__ = ["READABLE", "Cell", "Grid", "Scale", "enlargement"]

Cell = np.ndarray | str | None  # uint8 (H, W, 1 or 3), a text, or an empty cell

READABLE = 96  # pixels. An image with a shorter side is enlarged to at least this side
GAP, WIDE_GAP, BLOCK_GAP, MARGIN = 3, 15, 10, 12  # pixels
NARROWEST = 420  # pixels that titles and captions get at least
WIDEST_WORDS = 150  # pixels that a column of texts takes at most


@dataclass(frozen=True)
class Scale:
    """A map from numbers to colours.

    Attributes:
        label: the quantity that is coloured.
        low: the number of the first colour.
        high: the number of the last colour.
        palette: name of a matplotlib colour map that colour-blind people can read.
    """

    label: str
    low: float
    high: float
    palette: str

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Returns the colours of numbers of any shape, uint8 (..., 3)."""
        share = (values - self.low) / (self.high - self.low)
        return matplotlib.colormaps[self.palette](np.clip(share, 0, 1), bytes=True)[..., :3]

    def draw_key(self) -> Image.Image:
        """Draws the colours from low to high with both numbers and the label."""
        strip = np.broadcast_to(self.paint(np.linspace(self.low, self.high, 140)), (12, 140, 3))
        low, high, label = (
            draw_text(text) for text in (f"{self.low:.2g}", f"{self.high:.2g}", f"  {self.label}")
        )
        return _join([low, Image.fromarray(np.ascontiguousarray(strip)), high, label], gap=6)


@dataclass(frozen=True)
class Grid:
    """A table of images and texts with a title above and a caption below.

    Attributes:
        rows: rows of cells, all of the same length.
        title: one line, if it fits.
        caption: describes the picture and how to read it.
        scales: colour keys, drawn between the table and the caption.
        breaks: indices of the rows that have a wide gap above them.
        column_breaks: indices of the columns that have a wide gap to their left.
        zoom: factor by which images are enlarged, pixel by pixel. None enlarges them to `READABLE`.
    """

    rows: Sequence[Sequence[Cell]]
    title: str = ""
    caption: str = ""
    scales: Sequence[Scale] = ()
    breaks: Collection[int] = ()
    column_breaks: Collection[int] = ()
    zoom: int | None = None

    def draw(self) -> Image.Image:
        """Draws the grid as an RGB picture, dark on white.

        Its `info` holds the `title` and the `caption` as text, and as `body` the box (left, top,
        right, bottom) of the picture without them.
        """
        table = self.draw_table()
        width = max(table.width, NARROWEST)
        title = [draw_text(self.title, width, TITLE_SIZE, bold=True)] if self.title else []
        body = [table, *(scale.draw_key() for scale in self.scales)]
        caption = [draw_text(self.caption, width, align="left")] if self.caption else []
        picture = _stack([*title, *body, *caption], gap=BLOCK_GAP, margin=MARGIN)
        top = MARGIN + sum(part.height + BLOCK_GAP for part in title)
        right = MARGIN + max(part.width for part in body)
        bottom = top + sum(part.height + BLOCK_GAP for part in body) - BLOCK_GAP
        picture.info = {
            "title": self.title,
            "caption": self.caption,
            "body": (MARGIN, top, right, bottom),
        }
        return picture

    def draw_table(self) -> Image.Image:
        """Draws the cells alone, without margins, title and caption."""
        cells = [[self._enlarge(cell) for cell in row] for row in self.rows]
        widths = [_measure_column(column) for column in zip(*cells, strict=True)]
        drawn = [
            [_draw_cell(cell, width) for cell, width in zip(row, widths, strict=True)]
            for row in cells
        ]
        heights = [max(cell.height for cell in row) for row in drawn]
        lefts, tops = _offsets(widths, self.column_breaks), _offsets(heights, self.breaks)
        table = Image.new("RGB", (lefts[-1] + widths[-1], tops[-1] + heights[-1]), PAPER)
        for row, top, height in zip(drawn, tops, heights, strict=True):
            for cell, left, width in zip(row, lefts, widths, strict=True):
                table.paste(
                    cell, (left + (width - cell.width) // 2, top + (height - cell.height) // 2)
                )
        return table

    def _enlarge(self, cell: Cell) -> Cell:
        if not isinstance(cell, np.ndarray):
            return cell
        zoom = self.zoom or enlargement(min(cell.shape[:2]))
        return cell.repeat(zoom, axis=0).repeat(zoom, axis=1)


def enlargement(side: int) -> int:
    """Returns the factor by which a side must be enlarged to have at least `READABLE` pixels."""
    return -(-READABLE // side)


def _measure_column(column: Sequence[Cell]) -> int:
    """Returns the width of a column: that of its images, or else of its texts."""
    texts = [cell for cell in column if isinstance(cell, str)]
    images = [cell.shape[1] for cell in column if isinstance(cell, np.ndarray)]
    unbreakable = [draw_text(word, WIDEST_WORDS).width for text in texts for word in text.split()]
    if images or not texts:
        return max([1, *images, *unbreakable])
    return max(draw_text(text, WIDEST_WORDS).width for text in texts) + 2 * GAP


def _draw_cell(cell: Cell, width: int) -> Image.Image:
    if cell is None:
        return Image.new("RGB", (1, 1), PAPER)
    if isinstance(cell, str):
        return draw_text(cell, width)
    return Image.fromarray(np.broadcast_to(cell, (*cell.shape[:2], 3)))


def _offsets(lengths: Sequence[int], breaks: Collection[int]) -> list[int]:
    """Returns the position at which each row or column begins."""
    gaps = [WIDE_GAP if i in breaks else GAP for i in range(1, len(lengths))]
    ends = np.cumsum([length + gap for length, gap in zip(lengths, gaps, strict=False)])
    return [0, *ends.tolist()]


def _join(images: Sequence[Image.Image], gap: int) -> Image.Image:
    """Joins images from left to right, centred."""
    size = sum(i.width + gap for i in images) - gap, max(i.height for i in images)
    row = Image.new("RGB", size, PAPER)
    left = 0
    for image in images:
        row.paste(image, (left, (row.height - image.height) // 2))
        left += image.width + gap
    return row


def _stack(images: Sequence[Image.Image], gap: int, margin: int) -> Image.Image:
    """Joins images from top to bottom, aligned on the left, with a margin on all sides."""
    size = (
        max(i.width for i in images) + 2 * margin,
        sum(i.height + gap for i in images) - gap + 2 * margin,
    )
    column = Image.new("RGB", size, PAPER)
    top = margin
    for image in images:
        column.paste(image, (margin, top))
        top += image.height + gap
    return column
