"""Pieces of the app's page: images as data URIs in captioned figures, and codes as CSV.

All images are part of the page itself, so that no image of a person is written to the disk.
Downloads are links to the same data. The templates escape names, because these come from files.
"""

import csv
import io
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path, PurePath
from typing import Concatenate, NamedTuple, ParamSpec
from urllib.parse import quote

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from studio.app.state import STRIP, Coordinate, Session
from studio.codes_table import CodesWriter
from studio.data.vectors import VectorRule
from studio.pixels import strongest_difference, to_2d, to_pixels, visible_channels
from studio.planes import cut_at
from studio.render.grid import Scale, enlargement
from studio.templates import data_uri, load_templates

__all__ = [
    "CHANGE",
    "Feature",
    "paint_change",
    "show_about",
    "show_alert",
    "show_edited",
    "show_features",
    "show_fixed",
    "show_strips",
    "show_swaps",
    "thumbnails",
    "write_codes_csv",
]

Parameters = ParamSpec("Parameters")
# Half of the range of an image. It is the same for every image, so that maps can be compared.
CHANGE = Scale("difference", -1, 1, "RdBu_r")
FEATURES = 12  # rows of the table of features
COLUMNS = ("A", "Reconstruction", "Result", "Healed", "Swapped")  # vectors in that table


Show = Callable[Concatenate[Session, Parameters], str]


def _in_its_planes(show: Show[Parameters]) -> Show[Parameters]:
    """Returns a function that shows volumes in the planes of their session."""

    @wraps(show)
    def cut(session: Session, /, *given: Parameters.args, **named: Parameters.kwargs) -> str:
        with cut_at(session.planes, session.a.image.shape):
            return show(session, *given, **named)

    return cut


class Tile(NamedTuple):
    """An image of the page: its id, title, description and data URI."""

    name: str
    title: str
    words: str
    uri: str


class Source(NamedTuple):
    """A chosen image as the head of a row or column of the swap table."""

    letter: str
    words: str
    uri: str


class SwapRow(NamedTuple):
    """A row of the swap table: the image that keeps its common code, and the decoded images."""

    source: Source
    cells: Sequence[Tile]


class Strip(NamedTuple):
    """A row of the traversal: one coordinate over the range of its slider."""

    name: str
    title: str
    words: str
    uri: str
    share: str
    low: str
    high: str


class Feature(NamedTuple):
    """A row of the table of features: its name, its values in their unit, and its change.

    `change` is a share of the range of the feature, and `percent` that of the largest change shown.
    """

    name: str
    values: Sequence[str]
    change: float
    percent: float


class ColourKey(NamedTuple):
    """The colours of a map of change, and their meaning."""

    words: str
    uri: str
    low: str
    high: str
    less: str
    more: str


@_in_its_planes
def show_edited(session: Session, result: Tensor, s: Tensor) -> str:
    """Returns the first row: A, its reconstruction, the result of the sliders and the change."""
    result_uri = _uri(_pixels(result))
    code = write_codes_csv(
        [
            (session.a.label, session.a.code.z[0], session.a.code.s[0]),
            ("result", session.a.code.z[0], s),
        ]
    )
    change = _uri(paint_change(result, session.reconstruction))
    tiles = [
        Tile("a", "A", session.a.name, _uri(_pixels(session.a.image))),
        Tile("rebuilt", "Reconstruction", "z of A, s of A", _uri(_pixels(session.reconstruction))),
        Tile("result", "Result", "z of A, s of the sliders", result_uri),
        Tile("change", "Change", "result \u2212 reconstruction", change),
    ]
    table = f"data:text/csv;charset=utf-8,{quote(code)}"
    return _render("edited", tiles, _colour_key(session), _stem(session), result_uri, table)


@_in_its_planes
def show_fixed(session: Session) -> str:
    """Returns the second row: B, A swapped, A healed, and the removed content."""
    removed = _uri(paint_change(session.reconstruction, session.healed))
    tiles = [
        Tile("b", "B", session.b.name, _uri(_pixels(session.b.image))),
        Tile("swapped", "Swapped", "z of A, s of B", _uri(_pixels(session.swapped))),
        Tile("healed", "Healed", "z of A, nothing salient", _uri(_pixels(session.healed))),
        Tile("removed", "Removed", "reconstruction \u2212 healed", removed),
    ]
    return _render("tile_row", tiles)


@_in_its_planes
def show_swaps(session: Session) -> str:
    """Returns a table of both common codes with both salient codes and the blank one.

    Maps show the difference between each image and the reconstruction.
    """
    sources = [
        Source(letter, choice.name, _uri(_pixels(choice.image)))
        for letter, choice in zip("AB", (session.a, session.b), strict=True)
    ]
    rows = []
    for i, source in enumerate(sources):
        cells = []
        for j, other in enumerate(("A", "B", "nothing")):
            title = "healed" if other == "nothing" else f"swapped: s of {other}"
            cells.append(
                Tile(
                    f"swap-{i}{j}",
                    "reconstruction" if i == j else title,
                    f"z of {source.letter}, s of {other}",
                    _uri(_pixels(session.decoded[i, j])),
                )
            )
        own = session.decoded[i, i]
        # The sign of healed images is that of every other map: with the salient content - without.
        for j, words, after, before in (
            (1 - i, "swapped \u2212 reconstruction", session.decoded[i, 1 - i], own),
            (2, "reconstruction \u2212 healed", own, session.decoded[i, 2]),
        ):
            uri = _uri(paint_change(after, before))
            cells.append(Tile(f"swap-change-{i}{j}", words, words, uri))
        rows.append(SwapRow(source, cells))
    return _render("swap_table", sources, rows, _colour_key(session))


@_in_its_planes
def show_strips(session: Session, strips: Sequence[tuple[Coordinate, Tensor]]) -> str:
    """Returns one strip of images per coordinate, with its range and its share of the change."""
    rows = []
    for coordinate, images in strips:
        # White columns, because they separate the images of a strip.
        frames = np.pad(_all_pixels(images), ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
        strip = rearrange(frames, "n h w c -> h (n w) c")[:, :-1]
        title, low, high = f"s[{coordinate.number}]", f"{coordinate.low:g}", f"{coordinate.high:g}"
        words = f"{title} from {low} to {high} in {STRIP} steps"
        share = f"{coordinate.share:.0%}"
        rows.append(
            Strip(f"strip-{coordinate.number}", title, words, _uri(strip), share, low, high)
        )
    return _render("strip_table", session.a.name, rows)


def show_features(session: Session, result: Tensor, rule: VectorRule | None) -> str:
    """Returns the table of the features that change most, and all as CSV. Images have none.

    These are those where the result differs most from the reconstruction, or, before a slider has
    been moved, those where the healed vector does.

    Args:
        session: the vectors.
        result: vector of the sliders, (F,).
        rule: names and ranges of the features. None: the items are no vectors.
    """
    if rule is None:
        return ""
    moved = not torch.equal(result, session.reconstruction)
    after, before = (
        (result, session.reconstruction) if moved else (session.reconstruction, session.healed)
    )
    # A range has the width 2, from -1 to 1.
    change = ((after - before) / 2).tolist()
    vectors = (session.a.image, session.reconstruction, result, session.healed, session.swapped)
    values = rule.restore(torch.stack(vectors).numpy()).T.tolist()
    order = sorted(range(len(change)), key=lambda i: -abs(change[i]))[:FEATURES]
    largest = max(abs(change[order[0]]), 1e-12)
    rows = [
        Feature(
            rule.features[i],
            [f"{value:.4g}" for value in values[i]],
            change[i],
            100 * abs(change[i]) / largest,
        )
        for i in order
    ]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["feature", *(name.lower() for name in COLUMNS)])
    table.writerows([name, *row] for name, row in zip(rule.features, values, strict=True))
    uri = f"data:text/csv;charset=utf-8,{quote(out.getvalue())}"
    what = "result \u2212 reconstruction" if moved else "reconstruction \u2212 healed"
    unit = f"log(1 + x) of counts scaled to {rule.total:,.0f}" if rule.total else "the data's unit"
    return _render("feature_table", rows, COLUMNS, what, unit, len(change), _stem(session), uri)


def show_about(words: str, problem: str) -> str:
    """Returns the description of a run, and the problem of its data set, if it has one."""
    return _render("about", words, problem)


def show_alert(words: str) -> str:
    """Returns a message in place of a piece of the page."""
    return _render("alert", words)


def thumbnails(images: Tensor) -> list[Image.Image]:
    """Returns small pictures to choose from. Tiny images are enlarged pixel by pixel."""
    if not len(images):
        return []
    frames = _all_pixels(images)
    zoom = enlargement(min(frames.shape[1:3]))
    frames = frames.repeat(zoom, axis=1).repeat(zoom, axis=2)
    return [Image.fromarray(np.broadcast_to(frame, (*frame.shape[:2], 3))) for frame in frames]


def paint_change(after: Tensor, before: Tensor) -> np.ndarray:
    """Colours after - before, both (C, *space), in the channel that differs most.

    Red means that after is brighter, blue that it is darker.
    """
    return to_2d(CHANGE.paint(strongest_difference(after[None], before[None]).numpy()))[0]


def write_codes_csv(rows: Sequence[tuple[str, Tensor, Tensor]]) -> str:
    """Returns rows (name, z (n,), s (m,)) as CSV with the columns file, z0, ..., s0, ..."""
    out = io.StringIO()
    _, z, s = rows[0]
    table = CodesWriter(out, len(z), len(s), lineterminator="\n")
    for name, z, s in rows:
        table.write([name], z.tolist(), s.tolist())
    return out.getvalue()


def _render(macro: str, *given: object) -> str:
    pieces = load_templates(Path(__file__).parent).get_template("pieces.html.jinja")
    return str(getattr(pieces.module, macro)(*given))


def _all_pixels(images: Tensor) -> np.ndarray:
    return to_2d(to_pixels(visible_channels(images)))


def _pixels(image: Tensor) -> np.ndarray:
    return _all_pixels(image[None])[0]


def _uri(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.save(file, "PNG", compress_level=1)
    return data_uri(file.getvalue(), "png")


def _stem(session: Session) -> str:
    """Returns the beginning of the names of downloads."""
    return PurePath(session.a.label).stem.replace(" ", "_")


def _colour_key(session: Session) -> ColourKey:
    vectors = session.a.image.ndim == 1
    less, more = ("lower", "higher") if vectors else ("darker", "brighter")
    strip = _uri(CHANGE.paint(np.linspace(CHANGE.low, CHANGE.high, 121))[None])
    words = (
        f"{less} by {-CHANGE.low:g} or more (blue) to {more} by {CHANGE.high:g} or more (red); "
        f"{'' if vectors else 'pixel '}values range from -1 to 1"
    )
    return ColourKey(words, strip, f"\u2212{-CHANGE.low:g}", f"+{CHANGE.high:g}", less, more)
