"""Scatter plots of codes, and the planes behind them."""

import sys

import numpy as np
import pytest
import torch
from support.painting import Painted, Painter, S, Z
from support.warned import no_warning

from studio.data import Attribute
from studio.errors import StudioError
from studio.method import Code
from studio.projection import project
from studio.render import codes as pictures
from studio.render import scatter
from studio.render.codes import draw_codes
from studio.render.grid import Grid
from studio.render.registry import PICTURES


def test_codes_colour_each_point_by_its_own_value(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    panels = pictures.draw_panels
    monkeypatch.setattr(
        pictures, "draw_panels", lambda *given: seen.append(given) or panels(*given)
    )
    dataset = Painted(30)
    first = dataset.code("target", range(30)).z[:, 0].numpy()
    dataset.attributes, dataset.known = {"first": Attribute("common", (), True)}, {"first": first}
    draw_codes(painter, dataset, None, 0)
    planes, colourings = seen[0]
    target, values = colourings["background or target"][1] == 1, colourings["first"][1]
    assert np.ptp(planes["s"].points[~target], axis=0) == pytest.approx([0, 0], abs=1e-6), (
        "all background is blank"
    )
    assert (np.ptp(planes["s"].points[target], axis=0) > 0.5).all()
    assert np.isnan(values).tolist() == (~target).tolist()
    fit, *_ = np.linalg.lstsq(
        np.column_stack([planes["z"].points, np.ones(60)])[target], values[target], rcond=None
    )
    rest = np.column_stack([planes["z"].points, np.ones(60)])[target] @ fit - values[target]
    assert np.abs(rest).max() < 1e-5, (
        "z has two coordinates, so its plane holds the first of them exactly"
    )


def test_project_separates_two_clusters_along_the_first_component() -> None:
    direction = np.random.default_rng(0).normal(size=5)
    code = (
        np.random.default_rng(1).normal(size=(200, 5)) * 0.01
        + np.repeat([-1, 1], 100)[:, None] * direction
    )
    plane = project(code)
    assert plane.axes[0] in ("component 1 (99% of variance)", "component 1 (100% of variance)")
    signs = np.sign(plane.points[:, 0])
    assert np.array_equal(signs, np.repeat([signs[0], -signs[0]], 100))


def test_collect_colourings_picks_the_values_of_the_shown_points() -> None:
    dataset = Painted(
        6,
        {"kind": Attribute("salient", ("a", "b"), True), "age": Attribute("common")},
        {
            "kind": np.array([0, 1, 0, 1, -1, 0]),
            "age": np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]),
        },
    )
    found = scatter.collect_colourings(
        dataset, {"background": np.array([5, 0]), "target": np.array([1, 4, 2])}
    )
    nan = np.nan
    expected = {
        "background or target": [0, 0, 1, 1, 1],
        "kind": [nan, nan, 1, nan, 0],
        "age": [6, 1, 2, 5, nan],
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name][1], values)


def test_codes_give_every_named_class_its_own_colour_and_marker(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    colour = scatter.colour_by_class
    monkeypatch.setattr(
        scatter, "colour_by_class", lambda *given: keys.append(colour(*given)) or keys[-1]
    )
    classes = tuple(
        f"a class with a long name, the same as others but for number {i}" for i in range(30)
    )
    labels = {
        "kind": np.arange(40) % 30,
        "age": np.linspace(0, 1, 40),
        "never": np.full(40, np.nan),
    }
    attributes = {
        "kind": Attribute("salient", classes),
        "age": Attribute("common"),
        "never": Attribute("common"),
    }
    picture = draw_codes(painter, Painted(40, attributes, labels), None, 0)
    assert len(keys) == 2, (
        "the domain and the classes; numbers have a bar, and what is never known no panel"
    )
    looks = {(key.get_color(), key.get_marker()) for key in keys[1]}
    names = [key.get_label() for key in keys[1]]
    assert len(looks) == len(names) == len(set(names)) == scatter.MOST_CLASSES + 1
    assert names[-1] == "other or none"
    assert max(map(len, names)) <= scatter.LONGEST_NAME + 1
    plain = draw_codes(painter, Painted(40), None, 0)
    assert picture.height > 2.5 * plain.height
    assert picture.width > plain.width, "room for the names"


@no_warning
def test_codes_are_drawn_without_attributes_or_variance(painter: Painter) -> None:
    dataset = Painted(5)
    dataset.code = lambda domain, indices: Code(
        torch.zeros(len(indices), Z), torch.ones(len(indices), S)
    )
    assert draw_codes(painter, dataset, None, 0)
    plane = project(np.arange(5.0)[:, None])
    assert plane.axes == ("component 1 (100% of variance)", "no second dimension: spread at random")
    assert plane.points.shape == (5, 2)
    assert np.ptp(plane.points[:, 0]) == pytest.approx(4)
    with pytest.raises(StudioError, match="not finite"):
        project(np.array([[1.0, np.nan], [0.0, 1.0]]))


def test_codes_show_some_of_many_attributes_of_both_codes(
    painter: Painter, drawn: list[Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{home} {i}" for home in ("common", "salient") for i in range(20)]
    values = np.arange(40) % 2
    data = Painted(
        40,
        {
            name: Attribute("salient" if name.startswith("s") else "common", ("a", "b"))
            for name in names
        },
        dict.fromkeys(names, values),
    )
    shown: list[list[str]] = []

    def panels(planes: object, coloured: dict) -> np.ndarray:
        shown.append(list(coloured))
        return np.zeros((9, 9, 3), np.uint8)

    monkeypatch.setattr(pictures, "draw_panels", panels)
    PICTURES["codes"](painter, data)
    assert shown[-1] == [
        "background or target",
        *(f"common {i}" for i in range(3)),
        *(f"salient {i}" for i in range(4)),
    ]
    assert "33 more attributes are not shown; --attribute NAME" in drawn[-1].caption
    PICTURES["codes"](painter, data, attributes=["salient 19", "common 7"])
    assert shown[-1] == ["salient 19", "common 7"]
    assert "not shown" not in drawn[-1].caption
    with pytest.raises(
        StudioError, match=r"--attribute salient19: no such attribute .*did you mean 'salient 19'"
    ):
        PICTURES["codes"](painter, data, attributes=["salient19"])


def test_tsne_keeps_neighbours_together_and_accepts_constant_codes() -> None:
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


def test_project_refuses_unknown_planes_and_too_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
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
