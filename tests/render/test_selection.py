"""The selection of test images, and cells made from tensors."""

import numpy as np
import torch
from support.painting import Painted, levels

from studio.data import Attribute
from studio.data.textured_digits import TexturedDigits
from studio.methods import DoubleInfoGAN
from studio.pixels import strongest_difference
from studio.render import selection
from studio.render.edits import draw_heal, draw_reconstruct
from studio.render.grid import Grid, Scale


def test_pick_varied_takes_classes_in_turn(
    gan: DoubleInfoGAN, digits: TexturedDigits, drawn: list[Grid]
) -> None:
    draw_heal(gan, digits, 20, 0)
    indices = [int(row[0].split()[1]) for row in drawn[0].rows[1:]]
    labels = digits.labels("test", "target")
    assert sorted(labels["digit"][indices[:10]]) == list(range(10))
    assert sorted(labels["digit"][indices]) == sorted([*range(10)] * 2)
    assert sorted(labels["texture"][indices[:4]]) == list(range(4))
    assert len(set(indices)) == 20
    draw_reconstruct(gan, digits, 4, 0)
    indices = [int(row[0].split()[1]) for row in drawn[1].rows[1:]]
    assert sorted(digits.labels("test", "background")["texture"][indices]) == list(range(4))


def test_pick_varied_varies_the_attributes_of_one_code_first() -> None:
    attributes = {
        "place": Attribute("common", tuple("abcde")),
        "kind": Attribute("salient", tuple("abcd")),
    }
    # Kinds 1 to 3 occur only at place 4. So four images cannot have four different kinds and four
    # different places at once.
    place, kind = (
        np.repeat([0, 1, 2, 3, 4], 9),
        np.repeat([0, 0, 0, 0, 1, 2, 3], [9, 9, 9, 9, 3, 3, 3]),
    )
    dataset = Painted(45, attributes, {"place": place, "kind": kind})
    salient = [
        int(name.split()[1])
        for name in selection.pick_varied(dataset, "target", 4, 0, "salient").names
    ]
    common = [
        int(name.split()[1])
        for name in selection.pick_varied(dataset, "target", 4, 0, "common").names
    ]
    assert (len(set(kind[salient])), len(set(place[salient]))) == (4, 2)
    assert len(set(place[common])) == 4
    assert len(set(kind[common])) <= 2


def test_pictures_show_every_condition_of_the_target_set() -> None:
    attributes = {
        "grade": Attribute("salient", tuple("ab")),
        "disease": Attribute("salient", tuple("abcdefgh"), target_only=True),
    }
    disease = np.repeat(np.arange(8), [33, 1, 1, 1, 1, 1, 1, 1])
    dataset = Painted(40, attributes, {"grade": np.arange(40) % 2, "disease": disease})
    assert len(selection.pick_targets(dataset, None, 6, 0).indices) == 6
    dataset.condition = "disease"
    assert sorted(disease[selection.pick_targets(dataset, None, 6, 0).indices]) == [*range(8)]
    assert len(selection.pick_targets(dataset, 3, 6, 0).indices) == 3
    pairs = selection.pick_targets(dataset, None, 3, 0, per_row=2).indices
    assert sorted(disease[pairs]) == [*range(8)]


def test_coloured_cells_lie_where_cells_of_a_volume_lie() -> None:
    a, b = torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 3, 4, 4, 4)
    a[0, 1, 2, 3, 0] = 0.5
    found = strongest_difference(a, b)
    colours = Scale("", -1, 1, "RdBu_r")
    (cell,) = selection.to_coloured_cells(colours, found)
    assert np.array_equal(cell[4 + 1 + 3, 0], colours.paint(np.array([0.5]))[0])
    assert np.array_equal(cell[0, 0], colours.paint(np.array([0.0]))[0])
    assert cell.shape == selection.to_cells(a)[0].shape


def test_to_cells_fills_a_tile_with_a_vector_row_by_row() -> None:
    vector = torch.linspace(-1, 1, 7)[None]
    (tile,) = selection.to_cells(vector)
    assert tile.shape == (3, 3, 1)
    assert tile.ravel()[:7].tolist() == levels(vector[0])
    assert tile.ravel()[7:].tolist() == [255, 255]
    (painted,) = selection.to_coloured_cells(Scale("", -1, 1, "RdBu_r"), vector)
    assert painted.shape == (3, 3, 3)
