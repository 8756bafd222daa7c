"""The pieces of the app's page: their images, maps, tables and escaped names."""

import csv
import io
import re

import numpy as np
import torch
from support.gallery import read_images
from support.painting import SIDE

from studio.app.pictures import (
    CHANGE,
    paint_change,
    show_edited,
    show_fixed,
    show_strips,
    show_swaps,
    thumbnails,
    write_codes_csv,
)
from studio.app.state import Choice, Explorer, Session
from studio.method import Code
from studio.pixels import to_pixels


def test_pieces_show_the_images_that_they_name(session: Session, explorer: Explorer) -> None:
    result = explorer.result(session, [1.2, 0.3, -0.4])
    found = read_images(
        show_edited(session, result, explorer.salient_code(session, [1.2, 0.3, -0.4]))
        + show_fixed(session)
        + show_swaps(session)
    )
    shown = {
        "a": session.a.image,
        "rebuilt": session.reconstruction,
        "result": result,
        "b": session.b.image,
        "swapped": session.swapped,
        "healed": session.healed,
        "swap-01": session.swapped,
        "swap-10": session.decoded[1, 0],
        "swap-12": session.decoded[1, 2],
    }
    for name, image in shown.items():
        assert np.array_equal(found[name], to_pixels(image[None])[0, ..., 0]), name
    maps = {
        "change": (result, session.reconstruction),
        "removed": (session.reconstruction, session.healed),
        "swap-change-01": (session.swapped, session.reconstruction),
        "swap-change-12": (session.decoded[1, 1], session.decoded[1, 2]),  # the sign of "removed"
    }
    for name, (after, before) in maps.items():
        assert np.array_equal(found[name], paint_change(after, before)), name


def test_paint_change_is_white_red_if_brighter_and_blue_if_darker() -> None:
    before = torch.zeros(3, 1, 3)
    after = before.clone()
    after[1, 0, 1], after[2, 0, 2] = 0.8, -0.8
    none, brighter, darker = paint_change(after, before)[0].astype(int)
    assert none.min() > 240
    assert brighter[0] > brighter[2] + 50
    assert darker[2] > darker[0] + 50
    assert CHANGE.low == -CHANGE.high, "the same colours for every image"


def test_pieces_escape_names_of_files(explorer: Explorer) -> None:
    name = '<img src=x onerror="alert(1)">.png'
    choice = Choice(name, torch.zeros(1, SIDE, SIDE), Code(torch.zeros(1, 2), torch.zeros(1, 3)))
    session = explorer.look_at(choice, choice)
    values = explorer.stops(session.base)
    page = (
        show_edited(session, session.reconstruction, session.base)
        + show_fixed(session)
        + show_swaps(session)
    )
    assert "Removed reconstruction \u2212 healed" in re.sub("<[^>]+>", "", page), (
        "words that a line may end between"
    )
    page += show_strips(session, explorer.traverse(session, values))
    assert "<img src=x" not in page
    assert 'onerror="' not in page
    assert "&lt;img src=x" in page


def test_write_codes_csv_keeps_every_digit(session: Session) -> None:
    rows = list(
        csv.reader(io.StringIO(write_codes_csv([("a, b", session.a.code.z[0], session.base)])))
    )
    assert rows[0] == ["file", "z0", "z1", "s0", "s1", "s2"]
    assert rows[1][0] == "a, b"
    assert torch.equal(
        torch.tensor([float(v) for v in rows[1][1:]]),
        torch.cat([session.a.code.z[0], session.base]),
    )


def test_thumbnails_enlarge_tiny_images() -> None:
    images = torch.rand(2, 1, 32, 32) * 2 - 1
    for picture, image in zip(thumbnails(images), images, strict=True):
        assert picture.size == (96, 96)
        assert np.array_equal(np.asarray(picture)[::3, ::3, 0], to_pixels(image[None])[0, ..., 0])
