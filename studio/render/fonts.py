"""Fonts: DejaVu Sans, and for letters that it lacks the first installed font that has them."""

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont, features

from studio.errors import warn

__all__ = ["FAMILY", "Lettering", "fallback_families", "load_font"]

FAMILY = "DejaVu Sans"
# Families for all languages, which are tried before other fonts.
PREFERRED = (
    *("noto sans cjk", "source han sans", "noto sans", "wenquanyi", "droid sans fallback"),
    *("arial unicode", "microsoft yahei", "malgun gothic", "yu gothic", "pingfang", "hiragino"),
)
UNREADABLE = ("last resort", "adobe blank", "emoji", "color")  # fonts without letters in one colour
_warned: set[str] = set()


@cache
def _letters_of(file: str) -> frozenset[int]:
    """Returns the letters of a font."""
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a damaged font
        return frozenset()


def _rank(font: FontEntry) -> tuple[int, str, bool]:
    name = font.name.lower()
    known = (i for i, start in enumerate(PREFERRED) if name.startswith(start))
    return next(known, len(PREFERRED)), name, str(font.weight) not in ("400", "normal", "regular")


@lru_cache(4_096)
def _fallback(letter: str) -> FontEntry | None:
    """Returns a font for a letter that DejaVu Sans lacks."""
    fonts = sorted((font for font in fontManager.ttflist if font.style == "normal"), key=_rank)
    for font in fonts:
        readable = not any(word in font.name.lower() for word in UNREADABLE)
        if readable and ord(letter) in _letters_of(font.fname):
            return font
    return None


def _file(bold: bool) -> str:
    # DejaVu, because it comes with matplotlib on every machine and has the signs that Pillow's own
    # font lacks.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", name))


def _missing(text: str) -> list[str]:
    """Returns the letters of a text that DejaVu Sans lacks."""
    own = _letters_of(_file(bold=False))
    return [c for c in dict.fromkeys(text) if ord(c) not in own and _has_shape(c)]


def _has_shape(letter: str) -> bool:
    return letter.isprintable() and unicodedata.category(letter) not in ("Mn", "Zs")


def fallback_families(texts: Iterable[str]) -> list[str]:
    """Returns the families of matplotlib for the letters that DejaVu Sans lacks.

    Letters that no font has are named in a warning, once.
    """
    found = {letter: _fallback(letter) for letter in _missing("".join(texts))}
    _warn_once([letter for letter, font in found.items() if font is None])
    return list(dict.fromkeys(font.name for font in found.values() if font is not None))


def _warn_once(letters: list[str]) -> None:
    if letters and not _warned:
        _warned.update(letters)
        warn(
            f"pictures show boxes for letters that no installed font has, such as {letters[0]} "
            f"(U+{ord(letters[0]):04X}); install one, for example Noto Sans CJK"
        )


class Lettering:
    """DejaVu Sans at a size, with other fonts for the letters that it lacks.

    Args:
        size: in pixels.
        bold: whether the letters of DejaVu Sans are bold.
    """

    def __init__(self, size: int, bold: bool) -> None:
        # The basic layout, because every build of Pillow has it, so that pictures are the same
        # everywhere.
        self.font = ImageFont.truetype(_file(bold), size, layout_engine=ImageFont.Layout.BASIC)
        self.size = size

    def getmetrics(self) -> tuple[int, int]:
        """Returns the heights above and below the base line."""
        return self.font.getmetrics()

    def getlength(self, text: str) -> float:
        """Returns the width of a line of text in pixels."""
        return sum(font.getlength(part) for font, part in self.split(text))

    def split(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        """Splits a text into parts of one font each. Spaces belong to the part before them."""
        missing = set(_missing(text))
        if not missing and not any(map(_is_joined, text)):
            return [(self.font, text)]
        parts: list[tuple[ImageFont.FreeTypeFont, str]] = []
        for letter in text:
            font = self._font_of(letter, letter in missing)
            if parts and (letter.isspace() or not _has_shape(letter) or parts[-1][0] is font):
                parts[-1] = (parts[-1][0], parts[-1][1] + letter)
            else:
                parts.append((font, letter))
        return parts

    def _font_of(self, letter: str, missing: bool) -> ImageFont.FreeTypeFont:
        joined = _is_joined(letter)
        if not missing:
            return _open_font(_file(bold=False), self.size, joined) if joined else self.font
        found = _fallback(letter)
        if found is None:
            _warn_once([letter])
            return self.font
        try:
            return _open_font(found.fname, self.size, joined)
        except OSError:  # a font that Pillow cannot read
            return self.font


def _is_joined(letter: str) -> bool:
    """Returns whether the shape or the order of a letter depends on its neighbours, as in Arabic
    and Devanagari."""
    return unicodedata.bidirectional(letter) in ("R", "AL") or "\u0900" <= letter <= "\u109f"


@cache
def _open_font(file: str, size: int, joined: bool) -> ImageFont.FreeTypeFont:
    engine = ImageFont.Layout.RAQM if joined and features.check("raqm") else ImageFont.Layout.BASIC
    return ImageFont.truetype(file, size, layout_engine=engine)


@cache
def load_font(size: int, bold: bool) -> Lettering:
    """Loads the fonts at a size in pixels."""
    return Lettering(size, bold)
