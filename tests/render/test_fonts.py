"""Letters that DejaVu Sans lacks: from an installed font, or named in a warning."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from support.warned import no_warning

from studio.data.dataset import Attribute
from studio.projection import Plane
from studio.render import fonts
from studio.render.scatter import draw_panels
from studio.render.text import draw_text

PATIENT = "患者"


def make_font(path: Path, letters: str) -> Path:
    """Writes a font in which each letter is a filled square."""
    names = [".notdef", *(f"letter{i}" for i in range(len(letters)))]
    pen = TTGlyphPen(None)
    for move, point in zip(
        [pen.moveTo, *[pen.lineTo] * 3], [(0, 0), (0, 900), (900, 900), (900, 0)], strict=True
    ):
        move(point)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): name for c, name in zip(letters, names[1:], strict=True)})
    builder.setupGlyf({name: square if name != ".notdef" else empty for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves no font but those of matplotlib installed, and forgets what was warned of."""
    own = [font for font in fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    monkeypatch.setattr(fonts, "_warned", set())
    fonts._fallback.cache_clear()
    fonts.load_font.cache_clear()
    yield
    fonts._fallback.cache_clear()
    fonts.load_font.cache_clear()


def draw_codes_of(names: tuple[str, ...], title: str = "grade") -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(9, 2))
    planes = {code: Plane(points, ("a", "b")) for code in "sz"}
    values = np.arange(9) % len(names) + 0.0
    return draw_panels(planes, {title: (Attribute("salient", names), values)})


def test_letters_come_from_an_installed_font_that_has_them(
    only: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    without = np.asarray(draw_text(PATIENT)), draw_codes_of((PATIENT, "b"))
    assert len(capsys.readouterr().err.splitlines()) == 1
    fonts._fallback.cache_clear()
    fontManager.addfont(str(make_font(tmp_path / "squares.ttf", PATIENT)))
    drawn = np.asarray(draw_text(PATIENT))
    assert (drawn < 60).mean() > 0.4  # two filled squares
    assert (without[0] < 60).mean() < 0.3
    panels = draw_codes_of((PATIENT, "b"))
    assert panels.shape != without[1].shape or (panels != without[1]).any()
    assert capsys.readouterr().err == ""


def test_letters_beside_those_of_another_font_keep_their_place_and_width(
    only: None, tmp_path: Path
) -> None:
    fontManager.addfont(str(make_font(tmp_path / "squares.ttf", PATIENT)))
    lettering = fonts.load_font(13, False)
    assert [part for _, part in lettering.split("ab 患者 c")] == ["ab ", "患者 ", "c"]
    alone = sum(lettering.getlength(part) for part in ("ab ", "患者 ", "c"))
    assert lettering.getlength("ab 患者 c") == alone
    text = np.asarray(draw_text("ab 患者 c", align="left"))
    assert (text[:, :15] == np.asarray(draw_text("ab", align="left"))[:, :15]).all()


@no_warning
def test_missing_letters_are_one_warning_in_words(
    only: None, capsys: pytest.CaptureFixture
) -> None:
    draw_codes_of((PATIENT, "b"), "学年")
    draw_text("再 " + PATIENT)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: pictures show boxes for letters that no installed font has")
    assert "(U+" in line
    assert "Noto Sans CJK" in line


@no_warning
@pytest.mark.parametrize("text", ["état ± 0.3 ↑ σ", "плохо", "new\nline", "a\u0301", "\u200b x"])
def test_letters_that_dejavu_has_need_no_other_font_and_no_warning(
    text: str, only: None, capsys: pytest.CaptureFixture
) -> None:
    assert [font for font, _ in fonts.load_font(13, False).split(text)] == [
        fonts.load_font(13, False).font
    ]
    draw_codes_of((text, "b"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["السلام عليكم", "नमस्ते abc", "שלום a"])
def test_joined_letters_are_drawn_without_an_error(text: str, only: None) -> None:
    picture = np.asarray(draw_text(text, 60))
    assert picture.min() < 60


@pytest.mark.parametrize("name", ["cost $x_$", r"$\n$", "a$b", "_hidden", "%d {0}", "x\ny"])
def test_name_is_drawn_whole_when_it_looks_like_a_formula_or_is_hidden(
    name: str, only: None
) -> None:
    widths = [draw_codes_of((name + "m" * more,), name).shape[1] for more in (0, 1, 2)]
    assert widths[2] - widths[1] == pytest.approx(widths[1] - widths[0], abs=1)
    assert widths[1] > widths[0]
