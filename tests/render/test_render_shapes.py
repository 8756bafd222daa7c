"""Pictures of volumes and vectors, of every method, and the options that one kind of picture has."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.experiments import VARIANTS, tiny
from support.painting import BLANK, Painted, Painter, S, Z, levels
from support.shapes import Blobs
from typer.testing import CliRunner

from studio import cli
from studio.build import build_method
from studio.errors import StudioError
from studio.projection import project
from studio.render import kinds, selection
from studio.render.grid import Grid, Scale, flat, to_pixels
from studio.training.engine import Engine


def test_a_volume_is_shown_in_the_three_planes_through_its_middle() -> None:
    volume = torch.full((2, 1, 4, 6, 8), -1.0)
    marked = {
        (2, 1, 7): 0.2,
        (0, 3, 5): 0.4,
        (3, 5, 4): 0.6,
        (1, 1, 1): 1.0,
    }  # one in each plane, and one in none
    for place, value in marked.items():
        volume[1, 0, *place] = value
    first, second = flat(to_pixels(volume))
    assert second.shape == (6 + 1 + 4, 8 + 1 + 4, 1)
    assert second[1, 7, 0] == levels([0.2])[0], "across depth, at the top left: (height, width)"
    assert second[7 + 0, 5, 0] == levels([0.4])[0], "across height, below: (depth, width)"
    assert second[5, 9 + 3, 0] == levels([0.6])[0], "across width, beside: (height, depth)"
    assert np.isin([*np.unique(second)], [0, 255, *levels([0.2, 0.4, 0.6])]).all()
    assert (
        np.count_nonzero(second[:6, :8])
        == np.count_nonzero(second[7:, :8])
        == np.count_nonzero(second[:6, 9:])
        == 1
    )
    assert (second[7:, 9:] == 255).all(), "white where nothing is"
    assert (first[:6, :8] == 0).all()


def test_differences_of_volumes_lie_where_their_voxels_are_shown() -> None:
    a, b = torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 3, 4, 4, 4)
    a[0, 1, 2, 3, 0] = 0.5
    found = selection.difference(a, b)
    colours = Scale("", -1, 1, "RdBu_r")
    (cell,) = selection.paint(colours, found)
    assert np.array_equal(cell[3, 0], colours.paint(np.array([0.5]))[0])
    assert np.array_equal(cell[0, 0], colours.paint(np.array([0.0]))[0])
    assert cell.shape == selection.frames(a)[0].shape


def test_a_vector_fills_a_tile_row_by_row() -> None:
    vector = torch.linspace(-1, 1, 7)[None]
    (tile,) = selection.frames(vector)
    assert tile.shape == (3, 3, 1)
    assert tile.ravel()[:7].tolist() == levels(vector[0])
    assert tile.ravel()[7:].tolist() == [255, 255]
    (painted,) = selection.paint(Scale("", -1, 1, "RdBu_r"), vector)
    assert painted.shape == (3, 3, 3)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(
    "shape", [(1, 8, 8, 8), (20,), (3, 12, 12)], ids=["volume", "vector", "colour"]
)
def test_every_method_has_every_picture_of_few_images_of_any_shape(
    name: str,
    shape: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
    drawn: list[Grid],
) -> None:
    dataset = Blobs(shape)
    monkeypatch.setattr(dataset, "size", lambda split, domain: 3 if split == "test" else 40)
    if name == "cpca":
        engine = Engine(tiny(name, images=80), dataset)
        for _ in engine.iterations(80):
            pass
        method = engine.ema.method.eval()
    else:
        method = build_method(tiny(name), shape).eval()
    for kind, draw in kinds.kinds(dataset).items():
        if kind != "codes" or (
            name == "cpca" and shape == (20,)
        ):  # codes take long and have no shape of their own
            assert draw(method, dataset).size > (50, 50), kind
    words = {4: "in three planes", 1: "Vectors of 20 numbers", 3: "seed 0"}[len(shape)]
    assert all(words in made.caption for made in drawn if made.title != "Codes in two dimensions")


def test_shares_of_all_coordinates_add_up_to_one_whatever_is_shown(
    painter: Painter, drawn: list[Grid]
) -> None:
    kinds.traverse(painter, Painted())
    kinds.traverse(painter, Painted(), 1)
    shares = [float(row[0].split()[1].rstrip("%")) for row in drawn[0].rows[2:]]
    assert len(shares) == S
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert "not shown" not in drawn[0].caption
    assert "The 2 not shown have 50.0% of it together." in drawn[1].caption


def test_a_traversal_goes_as_far_as_it_is_told(painter: Painter, drawn: list[Grid]) -> None:
    kinds.traverse(painter, Painted(), span=(-0.6, 0.3))
    titles = [float(title) for title in drawn[0].rows[1][1:]]
    assert titles == pytest.approx(np.linspace(-0.6, 0.3, 7), abs=1e-3)
    row = drawn[0].rows[2]
    assert [cell[3, 0, 0] for cell in row[1:]] == levels(np.linspace(-0.6, 0.3, 7)), (
        "s[2] is painted in row 3"
    )
    assert "from -0.6 to 0.3" in drawn[0].caption
    for span in ((1.0, 1.0), (2.0, -2.0), (0.0, float("inf"))):
        with pytest.raises(StudioError, match="expected two numbers that rise"):
            kinds.traverse(painter, Painted(), span=span)


def test_overview_has_everything_in_one_row(painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    kinds.overview(painter, dataset, 3)
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


def test_tsne_keeps_neighbours_together_and_constant_codes_whole() -> None:
    rng = np.random.default_rng(0)
    code = np.concatenate([rng.normal(size=(20, 5)), rng.normal(size=(20, 5)) + 30])
    points, axes = project(code, "tsne")
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag(
        np.full(40, np.inf)
    )
    assert (distances.argmin(1) // 20 == np.repeat([0, 1], 20)).all()
    assert axes == ("t-SNE 1", "t-SNE 2")
    assert np.array_equal(points, project(code, "tsne").points)
    assert project(np.ones((12, 3)), "tsne").points.shape == (12, 2)


def test_planes_that_cannot_be_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudioError, match="--plane tsn: no such plane; did you mean 'tsne'"):
        project(np.eye(9), "tsn")
    with pytest.raises(StudioError, match="needs at least 6 images, found 5"):
        project(np.eye(5), "tsne")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(StudioError, match="pip install umap-learn"):
        project(np.eye(9), "umap")


@pytest.mark.slow
def test_umap_keeps_neighbours_together() -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed")
    rng = np.random.default_rng(0)
    code = np.concatenate([rng.normal(size=(40, 5)), rng.normal(size=(40, 5)) + 30])
    points, _ = project(code, "umap")
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag(
        np.full(80, np.inf)
    )
    assert (distances.argmin(1) // 40 == np.repeat([0, 1], 40)).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["overviw"], "render overviw: no such picture; did you mean 'overview'?"),
        (["heal", "--range", "-1", "1"], "render heal: --range is for traverse"),
        (["traverse", "--plane", "tsne"], "render traverse: --plane is for codes"),
        (["training", "--out", "x.png"], "--out x.png: an animation is written as .webp"),
        (
            ["traverse", "--range", "1", "-1"],
            "range: found 1 to -1, expected two numbers that rise",
        ),
        (["codes", "--plane", "tsn"], "--plane tsn: no such plane; did you mean 'tsne'?"),
        (["curves"], "no term was logged"),
        (
            ["training"],
            "an animation needs two frames, found 0 grids of the training and 1 checkpoints",
        ),
    ],
)
def test_options_are_checked(arguments: list[str], words: str, trained: Path) -> None:
    result = CliRunner().invoke(cli.app, ["render", str(trained), *arguments])
    assert isinstance(result.exception, StudioError), result.output
    assert words in str(result.exception)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from studio.training.session import train

    folder = tmp_path_factory.mktemp("run") / "r"
    train(tiny(images=16), folder)
    return folder


def test_what_one_test_image_is_too_few_for_is_left_out_and_said(
    capsys: pytest.CaptureFixture,
) -> None:
    made = dict(kinds.every_picture(Painter().eval(), Painted(1), 0))
    assert {"overview", "grid", "swap", "heal", "traverse"} <= set(made)
    assert "interpolate" not in made
    assert "warning: no picture interpolate: data set" in capsys.readouterr().err
    assert set(dict(kinds.every_picture(Painter().eval(), Painted(2), 0))) == set(
        kinds.kinds(Painted(2))
    )
    assert "no picture" not in capsys.readouterr().err
