"""Text as images: measured, wrapped to a width, and drawn with one font on every machine.

Only letters that DejaVu Sans lacks come from other fonts, see `studio.render.fonts`.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from studio.render.fonts import Lettering, load_font

__all__ = ["INK", "PAPER", "TEXT_SIZE", "TITLE_SIZE", "draw_text", "wrap"]

PAPER, INK = (255, 255, 255), (26, 26, 26)
TITLE_SIZE, TEXT_SIZE = 16, 13  # pixels
OVERHANG = 1  # pixels that letters such as j reach outside the width that the font reports


def draw_text(
    text: str,
    width: int | None = None,
    size: int = TEXT_SIZE,
    *,
    bold: bool = False,
    align: str = "center",
) -> Image.Image:
    """Draws a text on an image that is just large enough for it and at most `width` wide."""
    font = load_font(size, bold)
    lines = [text] if width is None else wrap(text, font, width - 2 * OVERHANG)
    pitch = sum(font.getmetrics()) + 1
    lengths = [font.getlength(line) + 2 * OVERHANG for line in lines]
    image = Image.new("RGB", (int(np.ceil(max(lengths))), pitch * len(lines)), PAPER)
    for i, (line, length) in enumerate(zip(lines, lengths, strict=True)):
        left = OVERHANG + (0 if align == "left" else (image.width - length) // 2)
        base = i * pitch + font.getmetrics()[0]
        for part_font, part in font.split(line):
            ImageDraw.Draw(image).text((left, base), part, INK, part_font, anchor="ls")
            left += part_font.getlength(part)
    return image


def wrap(text: str, font: Lettering, width: int) -> list[str]:
    """Breaks a text into lines of at most `width` pixels.

    Lines break between words. A word is split only if it is wider than a line.
    """
    lines = [""]
    for word in text.split():
        for piece in _split_word(word, font, width):
            longer = f"{lines[-1]} {piece}".strip()
            if font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _split_word(word: str, font: Lettering, width: int) -> Sequence[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
