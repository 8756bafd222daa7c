"""The registry of pictures: kinds, seeds, names, counts and shapes of every picture."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from support.experiments import VARIANTS, tiny
from support.painting import (
    SIDE,
    Painted,
    Painter,
    codes_of,
    read_codes,
)
from support.shapes import Blobs

from studio.build import build_method
from studio.data.textured_digits import TexturedDigits
from studio.errors import StudioError
from studio.methods import DoubleInfoGAN
from studio.render import registry
from studio.render.grid import Grid
from studio.render.preview import preview
from studio.render.registry import ON_DEMAND, PICTURES, pictures_of
from studio.training.engine import Engine

OF_IMAGES = [kind for kind in PICTURES if kind not in ("grid", "codes", *ON_DEMAND)]


def test_pictures_of_lists_counterfactual_only_for_masked_data(
    digits: TexturedDigits,
) -> None:
    everywhere = [
        "overview",
        "grid",
        "reconstruct",
        "swap",
        "heal",
        "isolate",
        "traverse",
        "interpolate",
        "codes",
    ]
    assert list(pictures_of(Painted())) == [*everywhere, "counterfactual"]
    assert {*PICTURES} == {*pictures_of(Painted()), *ON_DEMAND}
    assert list(pictures_of(digits)) == everywhere


@pytest.mark.parametrize("kind", sorted({*PICTURES} - {*ON_DEMAND}))
def test_picture_depends_on_its_seed_alone(
    kind: str, painter: Painter, gan: DoubleInfoGAN, digits: TexturedDigits, drawn: list[Grid]
) -> None:
    subject = (gan, digits, 2)
    if kind in (
        "codes",
        "counterfactual",
    ):  # a panel per attribute takes long, and digits have no masks
        subject = (painter, Painted(), 20 if kind == "codes" else 2)
    first = PICTURES[kind](*subject, 3)
    assert first.mode == "RGB"
    assert first.tobytes() == PICTURES[kind](*subject, 3).tobytes()
    assert PICTURES[kind](*subject, 4)
    once, again, other = (
        [c.tobytes() for row in g.rows for c in row if isinstance(c, np.ndarray)] for g in drawn
    )
    assert once == again
    assert once != other, "other images, not just another caption"
    assert not np.asarray(first)[0].min() < 255, "white at its edge"


@pytest.mark.parametrize("kind", OF_IMAGES)
def test_picture_names_the_test_images_that_it_shows(
    kind: str, painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    PICTURES[kind](painter, dataset, 2, 0)
    found = 0
    for line in (*drawn[0].rows, *zip(*drawn[0].rows, strict=True)):
        for name, image in pairwise(line):
            if (
                isinstance(name, str)
                and name.startswith(("target ", "background "))
                and isinstance(image, np.ndarray)
            ):
                assert read_codes(image) == codes_of(name, dataset)
                found += 1
    assert found >= (1 if kind == "traverse" else 2)


# In a traverse n counts coordinates, of which it shows at most as many as there are.
@pytest.mark.parametrize("kind", sorted({*OF_IMAGES, "codes"} - {"traverse"}))
def test_picture_refuses_more_rows_than_test_images(kind: str, painter: Painter) -> None:
    per_row = 2 if kind == "interpolate" else 1
    dataset = Painted(size=4)
    assert PICTURES[kind](painter, dataset, 4 // per_row, 0)
    with pytest.raises(StudioError, match=f"has 4 .* test split, this needs {4 + per_row}"):
        PICTURES[kind](painter, dataset, 4 // per_row + 1, 0)


@pytest.mark.parametrize("kind", PICTURES)
def test_picture_shows_a_small_test_split_whole(kind: str, painter: Painter) -> None:
    assert PICTURES[kind](painter, Painted(size=2), None, 0)
    with pytest.raises(StudioError, match="at least 1, found 0"):
        PICTURES[kind](painter, Painted(size=2), 0, 0)


@pytest.mark.parametrize("kind", [*OF_IMAGES, "codes"])
def test_picture_refuses_an_empty_test_split(kind: str, painter: Painter) -> None:
    with pytest.raises(StudioError, match=r"has 0 .* images in its test split"):
        PICTURES[kind](painter, Painted(size=0), None, 0)


@pytest.mark.parametrize("kind", OF_IMAGES)
def test_picture_shows_the_first_of_two_channels(kind: str, drawn: list[Grid]) -> None:
    dataset = Painted()
    dataset.shape = (2, SIDE, SIDE)
    PICTURES[kind](Painter(channels=2).eval(), dataset, 1, 0)
    assert "first of 2 channels" in drawn[0].caption
    assert {
        cell.shape[2] for row in drawn[0].rows for cell in row if isinstance(cell, np.ndarray)
    } <= {1, 3}
    PICTURES[kind](Painter().eval(), Painted(), 1, 0)
    assert "channel" not in drawn[1].caption


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(
    "shape", [(1, 8, 8, 8), (20,), (3, 12, 12)], ids=["volume", "vector", "colour"]
)
def test_picture_is_drawn_for_every_method_and_shape(
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
    for kind, draw in registry.pictures_of(dataset).items():
        if kind != "codes" or (
            name == "cpca" and shape == (20,)
        ):  # codes take long and have no shape of their own
            assert draw(method, dataset).size > (50, 50), kind
    words = {4: "in three planes", 1: "Vectors of 20 numbers", 3: "seed 0"}[len(shape)]
    assert all(words in made.caption for made in drawn if made.title != "Codes in two dimensions")


def test_draw_pictures_skips_with_a_warning_if_images_are_too_few(
    capsys: pytest.CaptureFixture,
) -> None:
    made = dict(registry.draw_pictures(Painter().eval(), Painted(1), 0))
    assert {"overview", "grid", "swap", "heal", "traverse"} <= set(made)
    assert "interpolate" not in made
    assert "warning: no picture interpolate: data set" in capsys.readouterr().err
    assert set(dict(registry.draw_pictures(Painter().eval(), Painted(2), 0))) == set(
        registry.pictures_of(Painted(2))
    )
    assert "no picture" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["reconstruct", "swap", "heal", "codes", "preview"])
def test_picture_blames_the_data_set_when_real_images_are_not_finite(
    kind: str, gan: DoubleInfoGAN, digits: TexturedDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = digits.images
    monkeypatch.setattr(digits, "images", lambda *place: read(*place) * torch.nan)
    draw = {"preview": lambda: preview(digits, 2, 0)}.get(
        kind, lambda: PICTURES[kind](gan, digits, n=2, seed=0)
    )
    with pytest.raises(StudioError, match="not finite: the data set has them, it is not the model"):
        draw()


@pytest.mark.parametrize("kind", ["grid", "reconstruct", "codes"])
def test_picture_asks_about_the_training_when_generated_images_are_not_finite(
    kind: str, gan: DoubleInfoGAN, digits: TexturedDigits
) -> None:
    diverged = copy.deepcopy(gan)
    with torch.no_grad():
        for parameter in diverged.parameters():
            parameter.mul_(torch.nan)
    with pytest.raises(StudioError, match="has training diverged"):
        PICTURES[kind](diverged, digits, n=2, seed=0)
