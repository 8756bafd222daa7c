"""A reader of HTML pages that insists on complete and self-contained documents."""

import re
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Reads a document, insists that its elements are closed in order, and keeps its content."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self) -> str:
        return " ".join(" ".join(words for where, words in self.words if where != "style").split())


def check_page(text: str) -> Page:
    """Insists that a page is complete, self-contained and accessible, and returns it."""
    read = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert read.all("html") == [{"lang": "en"}]
    assert len(read.all("h1")) == len(read.all("title")) == 1
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels)), "no level is left out"
    assert all(
        len(image["alt"]) > 20 and image["src"].startswith("data:image/")
        for image in read.all("img")
    )
    assert len(read.all("caption")) == len(read.all("table"))
    assert {tag for tag, _ in read.tags} & {
        "script",
        "iframe",
        "link",
        "object",
        "embed",
        "form",
        "base",
    } == set()
    for _, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    style = "".join(words for where, words in read.words if where == "style")
    assert style
    assert "url(" not in style
    assert "@import" not in style
    policy = next(
        meta["content"]
        for meta in read.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert {link["href"][1:] for link in read.all("a")} == {
        section["id"] for section in read.all("section")
    }
    return read
