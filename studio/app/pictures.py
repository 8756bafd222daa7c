"""Pieces of the explorer's page: images as data URIs in captioned figures, and codes as CSV.

Everything goes into the page itself, so that nothing a person looks at is written to the disk; what is downloaded is a link
to the same data. Names come from files and are escaped.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import PurePath
from urllib.parse import quote

import numpy as np
from einops import rearrange
from PIL import Image
from torch import Tensor

from studio.app.state import STRIP, Choice, Coordinate, Session
from studio.codes_table import CodesWriter
from studio.pixels import to_pixels
from studio.render.grid import READABLE, Scale

__all__ = ["CHANGE", "change", "codes_csv", "live", "still", "strips", "swaps", "thumbnails"]

CHANGE = Scale(
    "difference", -1, 1, "RdBu_r"
)  # half of an image's range; the same for every image, so that maps compare


def live(session: Session, result: Tensor, s: Tensor) -> str:
    """Returns the first row of the page: a, its reconstruction, what the sliders make of it, and what they changed."""
    made = _uri(_pixels(result))
    code = codes_csv(
        [
            (session.a.name, session.a.code.z[0], session.a.code.s[0]),
            ("result", session.a.code.z[0], s),
        ]
    )
    stem = PurePath(session.a.name.split(" · ")[0]).stem.replace(" ", "_")
    return _tiles(
        _tile("a", "A", session.a.name, _uri(_pixels(session.a.image))),
        _tile("rebuilt", "Reconstruction", "z of A, s of A", _uri(_pixels(session.rebuilt))),
        _tile("result", "Result", "z of A, s of the sliders", made),
        _tile(
            "change",
            "Change",
            "result \u2212 reconstruction",
            _uri(change(result, session.rebuilt)),
        ),
    ) + (
        f'<p class="foot">{_key()}<span>{_link(made, f"{stem}_result.png", "Result (PNG)")}'
        f"{_link(f'data:text/csv;charset=utf-8,{quote(code)}', f'{stem}_codes.csv', 'Codes (CSV)')}</span></p>"
    )


def still(session: Session) -> str:
    """Returns the second row: b, a swapped, a healed, and what healing removed."""
    return _tiles(
        _tile("b", "B", session.b.name, _uri(_pixels(session.b.image))),
        _tile("swapped", "Swapped", "z of A, s of B", _uri(_pixels(session.swapped))),
        _tile("healed", "Healed", "z of A, nothing salient", _uri(_pixels(session.healed))),
        _tile(
            "removed",
            "Removed",
            "reconstruction \u2212 healed",
            _uri(change(session.rebuilt, session.healed)),
        ),
    )


def swaps(session: Session) -> str:
    """Returns a table: both common codes with both salient codes and none, and how far each is from the reconstruction."""
    choices, own = (session.a, session.b), (0, 1)
    head = "".join(
        _cell(f"s of {letter}", choice) for letter, choice in zip("AB", choices, strict=True)
    )
    rows = []
    for i, letter in enumerate("AB"):
        cells = []
        for j, source in enumerate(("A", "B", "nothing")):
            what = (
                "reconstruction"
                if own[i] == j
                else "healed"
                if source == "nothing"
                else f"swapped: s of {source}"
            )
            uri = _uri(_pixels(session.made[i, j]))
            cells.append(
                f"<td>{_figure(f'swap-{i}{j}', f'z of {letter}, s of {source}', uri)}<small>{what}</small></td>"
            )
        maps = []
        for j in (1 - i, 2):
            uri = _uri(change(session.made[i, j], session.made[i, i]))
            words = f"{'healed' if j == 2 else 'swapped'} \u2212 reconstruction"
            maps.append(
                f"<td>{_figure(f'swap-change-{i}{j}', words, uri)}<small>{words}</small></td>"
            )
        rows.append(
            f"<tr>{_cell(f'z of {letter}', choices[i], 'row')}{''.join(cells)}{''.join(maps)}</tr>"
        )
    titles = '<th scope="col">nothing salient</th><th scope="colgroup" colspan="2">change</th>'
    return (
        '<div class="wide"><table class="swaps"><caption>Rows keep the common code z, columns bring the salient code s.</caption>'
        f"<thead><tr><td></td>{head}{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="foot">{_key()}</p>'
    )


def strips(session: Session, made: Sequence[tuple[Coordinate, Tensor]]) -> str:
    """Returns one strip of images per coordinate, with its range and its share of the change."""
    rows = []
    for coordinate, images in made:
        frames = np.pad(
            _all_pixels(images), ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255
        )  # a line between two
        strip = rearrange(frames, "n h w c -> h (n w) c")[:, :-1]
        name = f"s[{coordinate.number}]"
        words = f"{name} from {coordinate.low:g} to {coordinate.high:g} in {STRIP} steps"
        rows.append(
            f'<tr><th scope="row">{name}<small>{coordinate.share:.0%} of the change</small></th>'
            f"<td>{coordinate.low:g}</td><td>{_figure(f'strip-{coordinate.number}', words, _uri(strip))}</td>"
            f"<td>{coordinate.high:g}</td></tr>"
        )
    caption = (
        f"Each row moves one salient coordinate of A ({escape(session.a.name)}) through its slider's range and leaves the rest "
        "of the code where the sliders are; the coordinates with the largest effect come first."
    )
    return (
        f'<table class="strips"><caption>{caption}</caption><tbody>{"".join(rows)}</tbody></table>'
    )


def thumbnails(images: Tensor) -> list[Image.Image]:
    """Returns small pictures to choose from, enlarged pixel by pixel where they are tiny."""
    if not len(images):
        return []
    zoom = -(-READABLE // images.shape[-1])
    frames = _all_pixels(images).repeat(zoom, axis=1).repeat(zoom, axis=2)
    return [Image.fromarray(np.broadcast_to(frame, (*frame.shape[:2], 3))) for frame in frames]


def change(after: Tensor, before: Tensor) -> np.ndarray:
    """Paints after - before, (C, H, W) each: red where after is brighter, blue where darker; the channel that differs most."""
    difference = _shown(after - before)
    most = difference.gather(0, difference.abs().argmax(0, keepdim=True))[0]
    return CHANGE.paint(most.numpy())


def codes_csv(rows: Sequence[tuple[str, Tensor, Tensor]]) -> str:
    """Writes (name, z (n,), s (m,)) as a table with the columns file, z0, ..., s0, ..."""
    out = io.StringIO()
    _, z, s = rows[0]
    table = CodesWriter(out, len(z), len(s), lineterminator="\n")
    for name, z, s in rows:
        table.write([name], z.tolist(), s.tolist())
    return out.getvalue()


def _shown(image: Tensor) -> Tensor:
    """Returns gray and RGB images (..., C, H, W) as they are, and the first channel of others."""
    return image if image.shape[-3] in (1, 3) else image[..., :1, :, :]


def _all_pixels(images: Tensor) -> np.ndarray:
    return to_pixels(_shown(images))


def _pixels(image: Tensor) -> np.ndarray:
    return _all_pixels(image[None])[0]


def _uri(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        file, "PNG", compress_level=1
    )
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _figure(name: str, words: str, uri: str) -> str:
    return f'<img id="img-{name}" class="pixels" alt="{escape(words)}" src="{uri}">'


def _tile(name: str, title: str, words: str, uri: str) -> str:
    image = _figure(name, f"{title}: {words}", uri)
    return f'<figure class="tile">{image}<figcaption><b>{title}</b> <span>{escape(words)}</span></figcaption></figure>'


def _tiles(*tiles: str) -> str:
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _cell(title: str, choice: Choice, scope: str = "col") -> str:
    image = _figure(f"{scope}-{title[-1].lower()}", choice.name, _uri(_pixels(choice.image)))
    return f'<th scope="{scope}">{title}{image}</th>'


def _key() -> str:
    """Returns the colours of a map of change, and what they mean."""
    strip = _uri(CHANGE.paint(np.linspace(CHANGE.low, CHANGE.high, 121))[None])
    words = f"darker by {-CHANGE.low:g} or more (blue) to brighter by {CHANGE.high:g} or more (red); images run from -1 to 1"
    return f'<span>darker <img alt="{words}" title="{words}" src="{strip}"> brighter</span>'


def _link(uri: str, name: str, words: str) -> str:
    return f'<a class="download" download="{escape(name)}" href="{uri}">&#8595; {words}</a>'
