"""Images in [-1, 1] as pixels, and captioned grids of them.

A grid is a table whose cells are images, words or nothing: column titles are a row of words, row titles a column of
words. Every text is measured before anything is placed, so none is cut off or overlaps another.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from studio.errors import StudioError

__all__ = ["Cell", "Grid", "Scale", "flat", "from_pixels", "to_pixels"]

Cell = np.ndarray | str | None  # uint8 (H, W, 1 or 3), words, or nothing

PAPER, INK = (255, 255, 255), (26, 26, 26)
TITLE_SIZE, TEXT_SIZE = 16, 13  # pixels
OVERHANG = 1  # letters such as j reach this far out of the width that the font says
READABLE = 96  # images with shorter sides are enlarged until they have this many pixels
GAP, WIDE_GAP, GAP_OF_PARTS, MARGIN = 3, 15, 10, 12
NARROWEST, WIDEST_WORDS = (
    420,
    150,
)  # a picture's text has at least the one, a column of words at most the other


def to_pixels(images: Tensor) -> np.ndarray:
    """Turns images (B, C, *space) in [-1, 1] with C = 1 or 3 into uint8 (B, *space, C); what lies outside is clipped.

    Raises:
        StudioError: another shape, or values that are not finite.
    """
    if images.ndim not in (3, 4, 5) or images.shape[1] not in (1, 3):
        raise StudioError(
            f"a picture needs images of shape (B, 1 or 3, H, W), found {tuple(images.shape)}"
        )
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise StudioError(
            f"{broken} of {len(images)} images have values that are not finite: has training diverged?"
        )
    levels = ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    return rearrange(levels, "b c ... -> b ... c").numpy().astype(np.uint8)


def flat(pixels: np.ndarray) -> np.ndarray:
    """Lays out uint8 pixels (B, *space, C) in two dimensions, (B, h, w, C), white where nothing is.

    Images stay as they are. Of a volume (D, H, W) the three planes through its middle are shown as a drawing of three views:
    (H, W) at the top left, (D, W) under it and (H, D) beside it. A vector (F,) fills a square row by row.
    """
    if pixels.ndim == 4:
        return pixels
    if pixels.ndim == 3:
        side = math.isqrt(pixels.shape[1] - 1) + 1
        height = -(-pixels.shape[1] // side)
        filled = np.pad(
            pixels, ((0, 0), (0, side * height - pixels.shape[1]), (0, 0)), constant_values=255
        )
        return filled.reshape(len(pixels), height, side, -1)
    count, depth, height, width, channels = pixels.shape
    views = np.full((count, height + 1 + depth, width + 1 + depth, channels), 255, np.uint8)
    views[:, :height, :width] = pixels[:, depth // 2]
    views[:, height + 1 :, :width] = pixels[:, :, height // 2]
    views[:, :height, width + 1 :] = pixels[:, :, :, width // 2].swapaxes(1, 2)
    return views


def from_pixels(pixels: np.ndarray) -> Tensor:
    """Turns uint8 (B, H, W, C) into images (B, C, H, W), float32 in [-1, 1]; undoes `to_pixels` exactly."""
    return rearrange(torch.from_numpy(pixels).float() / 127.5 - 1, "b h w c -> b c h w")


@dataclass(frozen=True)
class Scale:
    """Which colour means which number.

    Attributes:
        label: what the numbers are.
        low: the number of the first colour.
        high: the number of the last colour.
        palette: a matplotlib colour map that colour-blind people can read.
    """

    label: str
    low: float
    high: float
    palette: str

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Turns numbers of any shape into colours, uint8 (..., 3)."""
        share = (values - self.low) / (self.high - self.low)
        return matplotlib.colormaps[self.palette](np.clip(share, 0, 1), bytes=True)[..., :3]

    def bar(self) -> Image.Image:
        """Draws the colours from low to high with both numbers and the label."""
        strip = np.broadcast_to(self.paint(np.linspace(self.low, self.high, 140)), (12, 140, 3))
        words = [
            _words(text) for text in (f"{self.low:.2g}", f"{self.high:.2g}", f"  {self.label}")
        ]
        return _beside([words[0], Image.fromarray(np.ascontiguousarray(strip)), *words[1:]], gap=6)


@dataclass(frozen=True)
class Grid:
    """A table of images and words under a title and over a caption.

    Attributes:
        rows: of equal length.
        title: one line, if it fits.
        caption: what is shown, and how to read it.
        scales: colour keys, between the table and the caption.
        breaks: numbers of the rows above which the gap is wide.
        column_breaks: numbers of the columns left of which the gap is wide.
        zoom: times by which images are enlarged, pixel by pixel; by default as needed to be readable.
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

        Its `info` has the `title` and the `caption` as text, and as `body` the box (left, top, right, bottom) without them.
        """
        table = self._table()
        width = max(table.width, NARROWEST)
        title = [_words(self.title, width, TITLE_SIZE, bold=True)] if self.title else []
        body = [table, *(scale.bar() for scale in self.scales)]
        caption = [_words(self.caption, width, align="left")] if self.caption else []
        picture = _below([*title, *body, *caption], gap=GAP_OF_PARTS, margin=MARGIN)
        top = MARGIN + sum(part.height + GAP_OF_PARTS for part in title)
        right = MARGIN + max(part.width for part in body)
        bottom = top + sum(part.height + GAP_OF_PARTS for part in body) - GAP_OF_PARTS
        picture.info = {
            "title": self.title,
            "caption": self.caption,
            "body": (MARGIN, top, right, bottom),
        }
        return picture

    def _table(self) -> Image.Image:
        cells = [[self._enlarged(cell) for cell in row] for row in self.rows]
        widths = [_column_width(column) for column in zip(*cells, strict=True)]
        drawn = [
            [_drawn(cell, width) for cell, width in zip(row, widths, strict=True)] for row in cells
        ]
        heights = [max(cell.height for cell in row) for row in drawn]
        lefts, tops = _starts(widths, self.column_breaks), _starts(heights, self.breaks)
        table = Image.new("RGB", (lefts[-1] + widths[-1], tops[-1] + heights[-1]), PAPER)
        for row, top, height in zip(drawn, tops, heights, strict=True):
            for cell, left, width in zip(row, lefts, widths, strict=True):
                table.paste(
                    cell, (left + (width - cell.width) // 2, top + (height - cell.height) // 2)
                )
        return table

    def _enlarged(self, cell: Cell) -> Cell:
        if not isinstance(cell, np.ndarray):
            return cell
        zoom = self.zoom or -(-READABLE // min(cell.shape[:2]))
        return cell.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _column_width(column: Sequence[Cell]) -> int:
    """As wide as the images; words wrap to that, or where there are no images, to a width of their own."""
    texts = [cell for cell in column if isinstance(cell, str)]
    images = [cell.shape[1] for cell in column if isinstance(cell, np.ndarray)]
    unbreakable = [_words(word, WIDEST_WORDS).width for text in texts for word in text.split()]
    if images or not texts:
        return max([1, *images, *unbreakable])
    return max(_words(text, WIDEST_WORDS).width for text in texts) + 2 * GAP


def _drawn(cell: Cell, width: int) -> Image.Image:
    if cell is None:
        return Image.new("RGB", (1, 1), PAPER)
    if isinstance(cell, str):
        return _words(cell, width)
    return Image.fromarray(np.broadcast_to(cell, (*cell.shape[:2], 3)))


def _starts(lengths: Sequence[int], breaks: Collection[int]) -> list[int]:
    """Returns where each row or column begins."""
    gaps = [WIDE_GAP if i in breaks else GAP for i in range(1, len(lengths))]
    return [
        0,
        *np.cumsum([length + gap for length, gap in zip(lengths, gaps, strict=False)]).tolist(),
    ]


def _words(
    text: str,
    width: int | None = None,
    size: int = TEXT_SIZE,
    *,
    bold: bool = False,
    align: str = "center",
) -> Image.Image:
    """Draws a text on an image that is just large enough for it and at most `width` wide."""
    font = _font(size, bold)
    lines = [text] if width is None else _wrapped(text, font, width - 2 * OVERHANG)
    pitch = sum(font.getmetrics()) + 1
    lengths = [font.getlength(line) + 2 * OVERHANG for line in lines]
    image = Image.new("RGB", (int(np.ceil(max(lengths))), pitch * len(lines)), PAPER)
    for i, (line, length) in enumerate(zip(lines, lengths, strict=True)):
        left = OVERHANG + (0 if align == "left" else (image.width - length) // 2)
        ImageDraw.Draw(image).text((left, i * pitch), line, INK, font)
    return image


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Breaks a text into lines that fit a width: between words, and inside a word only if it is wider by itself."""
    lines = [""]
    for word in text.split():
        for piece in _broken(word, font, width):
            longer = f"{lines[-1]} {piece}".strip()
            if font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _broken(word: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


@lru_cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    # DejaVu comes with matplotlib on every machine and has the signs that Pillow's own font lacks; the basic layout is
    # the one that every build of Pillow has, so that pictures are the same everywhere.
    file = Path(
        matplotlib.get_data_path(),
        "fonts",
        "ttf",
        "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf",
    )
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def _beside(images: Sequence[Image.Image], gap: int) -> Image.Image:
    """Joins images from left to right, centred."""
    row = Image.new(
        "RGB", (sum(i.width + gap for i in images) - gap, max(i.height for i in images)), PAPER
    )
    left = 0
    for image in images:
        row.paste(image, (left, (row.height - image.height) // 2))
        left += image.width + gap
    return row


def _below(images: Sequence[Image.Image], gap: int, margin: int) -> Image.Image:
    """Joins images from top to bottom, flush left, with a margin all round."""
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
