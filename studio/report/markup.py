"""HTML as a tree: what comes from data can only be text or an attribute's value, so it is always escaped."""

import re
from base64 import b64encode
from io import BytesIO
from xml.etree import ElementTree

from PIL import Image

__all__ = ["Child", "el", "figure", "table", "text_of", "written"]

Element = ElementTree.Element
Child = Element | str | None
NOT_TEXT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]"
)  # no part of a document
LONGEST_WORD = 24  # letters of a word that is never broken in a cell
PLAIN = 150_000  # bytes up to which a picture stays a PNG, without loss
QUALITIES = (90, 75, 55, 35)  # of WebP beyond that, until it fits


def el(tag: str, *children: Child, **attributes: str) -> Element:
    """Makes an element; `class_` stands for the attribute `class`, and None among the children for nothing."""
    made = Element(
        tag,
        {
            name.rstrip("_").replace("_", "-"): NOT_TEXT.sub("�", value)
            for name, value in attributes.items()
        },
    )
    for child in children:
        if isinstance(child, str):
            _append(made, NOT_TEXT.sub("�", child))
        elif child is not None:
            made.append(child)
    return made


def _append(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def table(
    caption: str, head: list[str], rows: list[list[Child]], first_is_head: bool = True
) -> Element:
    """Makes a table that scrolls by itself where it is too wide; the first column names the rows."""
    body = [
        el(
            "tr",
            *(
                _cell("th", cell, scope="row") if i == 0 and first_is_head else _cell("td", cell)
                for i, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    heads = el("thead", el("tr", *(_cell("th", cell, scope="col") for cell in head)))
    return el("div", el("table", el("caption", caption), heads, el("tbody", *body)), class_="wide")


def _cell(tag: str, inside: Child, **attributes: str) -> Element:
    """Makes a cell; only where a word is so long that a page could not show it, such as a path, is it broken."""
    words = (
        inside if isinstance(inside, str) else "" if inside is None else " ".join(inside.itertext())
    )
    long = max(map(len, words.split()), default=0) > LONGEST_WORD
    return el(tag, inside, **attributes, **({"class_": "long"} if long else {}))


def figure(picture: Image.Image | bytes, caption: Child, alt: str, most: int) -> Element:
    """Makes a figure that carries its picture.

    Args:
        picture: an image, or a WebP file.
        caption: below it.
        alt: what a person who does not see it is told.
        most: bytes that the picture may take.
    """
    kind, file = ("webp", picture) if isinstance(picture, bytes) else _file(picture, most)
    with Image.open(BytesIO(file)) as opened:
        size = {"width": str(opened.width), "height": str(opened.height)}
    source = f"data:image/{kind};base64,{b64encode(file).decode()}"
    return el("figure", el("img", src=source, alt=alt, **size), el("figcaption", caption))


def _file(picture: Image.Image, most: int) -> tuple[str, bytes]:
    file = BytesIO()
    picture.save(file, "PNG")
    if file.tell() <= min(PLAIN, most):
        return "png", file.getvalue()
    for quality in QUALITIES:
        file = BytesIO()
        picture.save(file, "WEBP", quality=quality)
        if file.tell() <= most:
            break
    return "webp", file.getvalue()


def text_of(picture: Image.Image) -> tuple[str, str, Image.Image]:
    """Returns a drawn picture's title, caption and what is between them."""
    body = picture.crop(picture.info["body"]) if "body" in picture.info else picture
    return picture.info.get("title", ""), picture.info.get("caption", ""), body


def written(root: Element) -> str:
    """Returns the document."""
    return (
        "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
    )
