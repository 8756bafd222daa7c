"""Samples, reconstructions, healed images and swaps, on a method with known images."""

import numpy as np
import pytest
import torch
from support.painting import (
    BLANK,
    SIDE,
    Healable,
    Painted,
    Painter,
    S,
    Z,
    codes_of,
    levels,
    read_codes,
)

from studio.data.textured_digits import TexturedDigits
from studio.errors import StudioError
from studio.method import Code
from studio.methods import DoubleInfoGAN
from studio.render import registry
from studio.render.edits import draw_counterfactual, draw_heal, draw_reconstruct, draw_swap
from studio.render.grid import Grid
from studio.render.registry import PICTURES
from studio.render.samples import draw_grid


def test_grid_has_one_z_per_row_and_one_s_per_column_blank_first(
    painter: Painter, drawn: list[Grid]
) -> None:
    draw_grid(painter, Painted(), 3, 0)
    cells = [[read_codes(cell) for cell in row[1:]] for row in drawn[0].rows[1:]]
    assert len(cells) == 3
    for row in cells:
        assert [z for z, _ in row] == [row[0][0]] * len(row)
        assert [s for _, s in row] == [s for _, s in cells[0]]
    assert cells[0][0][1] == levels([BLANK] * S)
    assert len({tuple(s) for _, s in cells[0]}) == len(cells[0])
    assert len({tuple(row[0][0]) for row in cells}) == 3


def test_grid_refuses_more_than_500_rows(painter: Painter, digits: TexturedDigits) -> None:
    with pytest.raises(StudioError, match="n must be at most 500, found 501"):
        PICTURES["grid"](painter, digits, 501)


def test_reconstruct_shows_the_error_of_each_pixel(
    painter: Painter, drawn: list[Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_reconstruct(painter, Painted(), 3, 0)
    for _, image, rebuilt, off, _, image2, rebuilt2, off2 in drawn[0].rows[1:]:
        assert np.array_equal(image, rebuilt)
        assert np.array_equal(image2, rebuilt2)
        assert len(np.unique(np.concatenate([off, off2]).reshape(-1, 3), axis=0)) == 1, (
            "no difference anywhere"
        )
    right, wrong = painter.decode, torch.zeros(SIDE, SIDE)
    wrong[-1, -1] = 0.2
    monkeypatch.setattr(painter, "decode", lambda code: right(code) + wrong)
    draw_reconstruct(painter, Painted(), 3, 0)
    scale = drawn[1].scales[0]
    assert scale.high == pytest.approx(0.2)
    for row in drawn[1].rows[1:]:
        assert np.array_equal(row[3], scale.paint(wrong.numpy()))
        assert np.array_equal(row[7], scale.paint(wrong.numpy()))
    assert "of the shown images: 0.006 (background) and 0.006 (target)" in drawn[1].caption


def test_reconstruct_blanks_the_salient_code_of_background_images(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    dataset.code = lambda domain, indices: Code(
        torch.zeros(len(indices), Z), torch.full((len(indices), S), 0.7)
    )
    draw_reconstruct(painter, dataset, 1, 0)
    row = drawn[0].rows[1]
    assert read_codes(row[2])[1] == levels([BLANK] * S)
    assert read_codes(row[6])[1] == levels([0.7] * S)


def test_swap_takes_z_from_the_row_and_s_from_the_column(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    draw_swap(painter, dataset, 2, 0)
    names, originals, *rows = drawn[0].rows
    assert [name.split()[0] for name in names[2:]] == ["background"] * 2 + ["target"] * 2
    assert [row[0] for row in rows] == names[2:]
    for name, original, *cells in rows:
        for column, cell in enumerate(cells, 2):
            assert read_codes(cell) == (
                codes_of(name, dataset)[0],
                codes_of(names[column], dataset)[1],
            )
            if names[column] == name:
                assert np.array_equal(cell, original)
                assert np.array_equal(cell, originals[column])


def test_heal_blanks_s_and_colours_only_the_pixels_of_s(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    draw_heal(painter, dataset, 4, 0)
    scale = drawn[0].scales[0]
    strongest = 0.0
    for name, image, rebuilt, healed, removed in drawn[0].rows[1:]:
        index = int(name.split()[1])
        assert np.array_equal(image, rebuilt)
        assert read_codes(healed) == (codes_of(name, dataset)[0], levels([BLANK] * S))
        s = dataset.code("target", [index]).s[0].numpy() - BLANK
        assert np.array_equal(removed[1 : 1 + S, 0], scale.paint(s)), (
            "red where s had made it brighter"
        )
        assert (removed[0] == scale.paint(np.zeros(SIDE))).all(), "z changes nothing"
        strongest = max(strongest, np.abs(s).max())
    assert (-scale.low, scale.high) == pytest.approx((strongest, strongest))


def test_heal_colours_a_tiny_difference_nearly_white(painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    dataset.code = lambda domain, indices: Code(
        torch.zeros(len(indices), Z), torch.full((len(indices), S), -0.499)
    )
    draw_heal(painter, dataset, 1, 0)
    assert np.asarray(drawn[0].rows[1][4]).min() > 240, "white, not full colour"


@pytest.mark.parametrize("kind", [Painted, Healable])
def test_counterfactual_shows_map_mask_and_known_healthy_images(
    kind: type[Painted], painter: Painter, drawn: list[Grid]
) -> None:
    dataset = kind()
    draw_counterfactual(painter, dataset, 4, 0)
    titles, *rows = drawn[0].rows
    truly = ["truly healthy"] if kind is Healable else []
    assert titles == ["", "original", "reconstruction", "healed", *truly, "difference", "mask"]
    scale = drawn[0].scales[0]
    for name, image, rebuilt, healed, *truth, found, mask in rows:
        z, _ = codes_of(name, dataset)
        assert np.array_equal(image, rebuilt)
        assert read_codes(healed) == (z, levels([BLANK] * S))
        assert all(np.array_equal(healed, true) for true in truth)
        removed = np.abs(dataset.code("target", [int(name.split()[1])]).s[0].numpy() - BLANK)
        assert np.array_equal(found[1 : 1 + S, 0], scale.paint(removed))
        assert (found[0] == scale.paint(np.zeros(SIDE))).all()
        assert np.array_equal(mask[..., 0] == 255, dataset.masks("test", [0])[0].numpy())
    assert ("truly" in str(titles)) == ("Truly healthy:" in drawn[0].caption)
    assert "0.000 outside" in drawn[0].caption


def test_counterfactual_refuses_data_without_masks(
    gan: DoubleInfoGAN, digits: TexturedDigits
) -> None:
    with pytest.raises(StudioError, match="'textured_digits' has no masks"):
        draw_counterfactual(gan, digits)


def test_overview_shows_all_edits_in_one_row(painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    registry.PICTURES["overview"](painter, dataset, 3)
    colours = drawn[0].scales[0]
    for row in drawn[0].rows[1:]:
        target, original, rebuilt, healed, removed, background, other, plain, swapped, added = row
        y, x = (
            dataset.code(name.split()[0], [int(name.split()[1])]) for name in (target, background)
        )
        assert np.array_equal(original, rebuilt)
        assert np.array_equal(other, plain), (
            "background has a blank salient code, and its reconstruction too"
        )
        assert [cell[0, :Z, 0].tolist() for cell in (healed, swapped)] == [
            levels(y.z[0]),
            levels(x.z[0]),
        ]
        assert [cell[1 : 1 + S, 0, 0].tolist() for cell in (healed, swapped)] == [
            levels([BLANK] * S),
            levels(y.s[0]),
        ]
        assert np.array_equal(removed[1 : 1 + S, 0], colours.paint(y.s[0].numpy() - BLANK))
        assert np.array_equal(added, removed), "what is taken from the one is given to the other"
