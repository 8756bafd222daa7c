"""Figures of matplotlib as pixels, the same whatever a user has set for other figures."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from PIL import Image

from studio.render.fonts import FAMILY, fallback_families
from studio.terminal import printable

__all__ = ["as_label", "own_style", "to_picture"]


@contextmanager
def own_style(texts: Iterable[str]) -> Iterator[None]:
    """Draws the figures of a block in matplotlib's own style, not that of a `matplotlibrc`.

    Args:
        texts: names in the figure, which may need a font for their letters.
    """
    families = [FAMILY, *fallback_families(texts)]
    with (
        matplotlib.style.context("default"),
        matplotlib.rc_context({"font.family": families}),
        warnings.catch_warnings(),
    ):
        # `fallback_families` has said it in words.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def as_label(name: str) -> str:
    """Returns a name as matplotlib must get it to show it as it is, without formulas."""
    return printable(name).replace("$", r"\$")


def to_picture(figure: Figure, **options: Any) -> Image.Image:  # noqa: ANN401 - of `savefig`
    """Returns a figure as a picture in RGB."""
    picture = BytesIO()
    figure.savefig(picture, format="png", **options)
    return Image.open(picture).convert("RGB")
