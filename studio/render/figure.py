"""Figures of matplotlib as pixels, the same whatever a user has set for other figures.

The same figures become the PDF and SVG files that a paper needs.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from studio.render.fonts import FAMILY, fallback_families
from studio.terminal import printable

__all__ = ["as_label", "keep_figures", "own_style", "save_vector", "to_picture"]

DPI = 100  # pixels of a picture per inch of paper
# Figures that `to_picture` has drawn, with the options of `savefig`, while `keep_figures` is open.
_kept: ContextVar[list[tuple[Figure, dict[str, Any]]] | None] = ContextVar("kept", default=None)


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
    kept = _kept.get()
    if kept is not None:
        kept.append((figure, options))
    picture = BytesIO()
    figure.savefig(picture, format="png", **options)
    return Image.open(picture).convert("RGB")


@contextmanager
def keep_figures() -> Iterator[list[tuple[Figure, dict[str, Any]]]]:
    """Yields a list that receives the figures which the block draws, for `save_vector`."""
    kept: list[tuple[Figure, dict[str, Any]]] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def save_vector(
    picture: Image.Image,
    kept: Sequence[tuple[Figure, dict[str, Any]]],
    path: Path,
    kind: str,
) -> None:
    """Writes a picture as PDF or SVG. The same picture gives the same bytes.

    A plot consists of lines and letters, and its title and caption are metadata of the file. A
    picture of images consists of its pixels, 100 to an inch, without loss.

    Args:
        picture: the picture, whose `info` has the title and the caption.
        kept: the figures from which it was drawn, from `keep_figures`. Empty for images.
        path: file to write.
        kind: pdf or svg.
    """
    figure, options = kept[0] if kept else (_as_figure(picture), {})
    title, caption = (str(picture.info.get(key, "")) for key in ("title", "caption"))
    about = {"pdf": "Subject", "svg": "Description"}[kind]
    date = {"pdf": "CreationDate", "svg": "Date"}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "studio", "image.composite_image": False}):
        figure.savefig(
            path, format=kind, metadata={"Title": title, about: caption, date: None}, **options
        )


def _as_figure(picture: Image.Image) -> Figure:
    """Returns a figure that consists of the pixels of a picture."""
    figure = Figure(figsize=(picture.width / DPI, picture.height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow(np.asarray(picture.convert("RGB")), interpolation="none", aspect="auto")
    return figure
