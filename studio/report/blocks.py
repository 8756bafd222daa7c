"""The parts that the template of a report lays out: tables, and figures with their picture."""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from studio.templates import data_uri

__all__ = ["Figure", "Table", "body_of", "embed"]

LOSSLESS = 150_000  # bytes up to which a picture is stored as PNG
QUALITIES = (90, 75, 55, 35)  # of WebP, tried in turn for larger pictures


class Table(NamedTuple):
    """A table of texts. The first column names the rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Figure(NamedTuple):
    """A picture inside a page.

    Attributes:
        uri: the picture as a data URI.
        width: in pixels.
        height: in pixels.
        alt: a description for readers who do not see the picture.
        caption: the text below it.
        name: name of the run, at the beginning of the caption. Empty for a single run.
    """

    uri: str
    width: int
    height: int
    alt: str
    caption: str
    name: str = ""


def embed(
    picture: Image.Image | bytes, most: int, alt: str, caption: str, name: str = ""
) -> Figure:
    """Returns a figure.

    Args:
        picture: an image, or the content of a WebP file.
        most: bytes that the picture may take.
        alt: see `Figure`.
        caption: see `Figure`.
        name: see `Figure`.
    """
    kind, file = ("webp", picture) if isinstance(picture, bytes) else _encode(picture, most)
    with Image.open(BytesIO(file)) as opened:
        width, height = opened.size
    return Figure(data_uri(file, kind), width, height, alt, caption, name)


def _encode(picture: Image.Image, most: int) -> tuple[str, bytes]:
    file = BytesIO()
    picture.save(file, "PNG")
    if file.tell() <= min(LOSSLESS, most):
        return "png", file.getvalue()
    for quality in QUALITIES:
        file = BytesIO()
        picture.save(file, "WEBP", quality=quality)
        if file.tell() <= most:
            break
    return "webp", file.getvalue()


def body_of(picture: Image.Image) -> tuple[str, str, Image.Image]:
    """Returns the title and the caption of a drawn picture, and the picture without them."""
    body = picture.crop(picture.info["body"]) if "body" in picture.info else picture
    return picture.info.get("title", ""), picture.info.get("caption", ""), body
