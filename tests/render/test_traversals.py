"""Isolated salient content, traversals and interpolations."""

import numpy as np
import pytest
from support.painting import BLANK, Painted, Painter, S, Z, codes_of, levels, read_codes

from studio.errors import StudioError
from studio.render import registry
from studio.render.grid import Grid
from studio.render.traversals import draw_interpolate, draw_isolate, draw_square, draw_traverse


def test_isolate_sets_z_to_zero_and_moves_s_from_blank_past_its_own(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    draw_isolate(painter, dataset, 3, 0)
    shares = [float(title.split()[0]) for title in drawn[0].rows[0][3:]]
    assert shares == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]
    for name, _, alone, *sweep in drawn[0].rows[1:]:
        own = dataset.code("target", [int(name.split()[1])]).s[0]
        assert read_codes(alone) == (levels([0.0] * Z), levels(own))
        for share, cell in zip(shares, sweep, strict=True):
            z, s = read_codes(cell)
            assert z == levels([0.0] * Z)
            assert s == pytest.approx(levels(BLANK + share * (own - BLANK)), abs=1)
        assert np.array_equal(sweep[shares.index(1)], alone)


def test_square_varies_the_two_strongest_coordinates_with_z_of_zero(
    painter: Painter, drawn: list[Grid]
) -> None:
    draw_square(painter, Painted(), 3, span=(-0.5, 0.5))
    # s[k] is painted into k + 1 pixels, so s[1] and s[2] change the image most.
    (corner, *columns), *rows = drawn[0].rows
    assert corner == "s[1] ↓ s[2] →"
    assert columns == [row[0] for row in rows] == ["-0.5", "0", "0.5"]
    for row in rows:
        for column, cell in zip(columns, row[1:], strict=True):
            expected = [BLANK, float(row[0]), float(column)]
            assert read_codes(cell) == (levels([0.0] * Z), levels(expected))


@pytest.mark.parametrize("span", [(1.0, -1.0), (0.0, np.inf)])
def test_square_refuses_a_range_that_is_none(painter: Painter, span: tuple) -> None:
    with pytest.raises(StudioError, match="expected two increasing numbers"):
        draw_square(painter, Painted(), span=span)


def test_traverse_orders_coordinates_by_their_effect(painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    draw_traverse(painter, dataset, None, 0)
    (name, image, _, rebuilt, *_), titles, *rows = drawn[0].rows
    assert np.array_equal(image, rebuilt)
    assert [float(title) for title in titles[1:]] == [-1.5, -1, -0.5, 0, 0.5, 1, 1.5]
    # s[k] is painted into k + 1 pixels, so the shares are 3 : 2 : 1
    assert [row[0] for row in rows] == ["s[2] 50.0%", "s[1] 33.3%", "s[0] 16.7%"]
    z, own = codes_of(name, dataset)
    for row, k in zip(rows, (2, 1, 0), strict=True):
        for title, cell in zip(titles[1:], row[1:], strict=True):
            expected = [*own[:k], levels([float(title)])[0], *own[k + 1 :]]
            assert read_codes(cell) == (z, expected)
    draw_traverse(painter, dataset, 2, 0)
    assert [row[0] for row in drawn[1].rows[2:]] == ["s[2] 50.0%", "s[1] 33.3%"]


def test_traverse_shares_add_up_to_one_for_any_number_of_rows(
    painter: Painter, drawn: list[Grid]
) -> None:
    registry.PICTURES["traverse"](painter, Painted())
    registry.PICTURES["traverse"](painter, Painted(), 1)
    shares = [float(row[0].split()[1].rstrip("%")) for row in drawn[0].rows[2:]]
    assert len(shares) == S
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert "not shown" not in drawn[0].caption
    assert "The 2 coordinates not shown account for 50.0% together." in drawn[1].caption


def test_traverse_covers_the_given_range(painter: Painter, drawn: list[Grid]) -> None:
    registry.PICTURES["traverse"](painter, Painted(), span=(-0.6, 0.3))
    titles = [float(title) for title in drawn[0].rows[1][1:]]
    assert titles == pytest.approx(np.linspace(-0.6, 0.3, 7), abs=1e-3)
    row = drawn[0].rows[2]
    assert [cell[3, 0, 0] for cell in row[1:]] == levels(np.linspace(-0.6, 0.3, 7)), (
        "s[2] is painted in row 3"
    )
    assert "from -0.6 to 0.3" in drawn[0].caption
    for span in ((1.0, 1.0), (2.0, -2.0), (0.0, float("inf"))):
        with pytest.raises(StudioError, match="expected two increasing numbers"):
            registry.PICTURES["traverse"](painter, Painted(), span=span)


def test_interpolate_keeps_z_and_moves_s_from_one_image_to_the_other(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    draw_interpolate(painter, dataset, 3, 0)
    assert len(drawn[0].rows) == 1 + 3
    for name1, image1, *between, image2, name2 in drawn[0].rows[1:]:
        (z, s1), (_, s2) = codes_of(name1, dataset), codes_of(name2, dataset)
        assert read_codes(image2) == codes_of(name2, dataset)
        assert np.array_equal(between[0], image1)
        assert read_codes(between[-1]) == (z, s2)
        assert read_codes(between[3]) == (z, pytest.approx((np.array(s1) + s2) / 2, abs=1))
