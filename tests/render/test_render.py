"""The pictures: what they show, checked on a method whose images are known, and how they fail."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.painting import BLANK, SIDE, Healable, Painted, Painter, S, Z, levels

from studio.data import Attribute
from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.errors import StudioError
from studio.method import Code
from studio.methods import DoubleInfoGAN
from studio.methods.double_infogan import DoubleInfoGANConfig
from studio.projection import project
from studio.render import codes as pictures
from studio.render import scatter, selection
from studio.render.grid import Grid
from studio.render.kinds import (
    KINDS,
    counterfactual,
    grid,
    heal,
    interpolate,
    isolate,
    kinds,
    reconstruct,
    swap,
    traverse,
)
from studio.render.kinds import codes as draw_codes
from studio.schema import NetsConfig
from studio.verbs.render import _save

torch.set_num_threads(1)
OF_IMAGES = [kind for kind in KINDS if kind not in ("grid", "codes")]


@pytest.fixture(scope="module")
def digits() -> TexturedDigits:
    return TexturedDigits(TexturedDigitsConfig())


@pytest.fixture(scope="module")
def gan() -> DoubleInfoGAN:
    torch.manual_seed(0)
    return DoubleInfoGAN(DoubleInfoGANConfig(z=4, s=3), NetsConfig(width=4), (1, 32, 32)).eval()


def read(cell: np.ndarray) -> tuple[list[int], list[int]]:
    """Returns the levels of z and s in a picture's cell."""
    return cell[0, :Z, 0].tolist(), cell[1 : 1 + S, 0, 0].tolist()


def code_of(name: str, dataset: Painted) -> tuple[list[int], list[int]]:
    """Returns the levels of the codes of an image called `target 12`."""
    domain, index = name.split()
    code = dataset.code(domain, [int(index)])
    return levels(code.z[0]), levels(code.s[0])


def test_there_are_the_kinds_of_the_design_and_one_more_where_masks_are_known(
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
    assert list(KINDS) == list(kinds(Painted())) == [*everywhere, "counterfactual"]
    assert list(kinds(digits)) == everywhere


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_pixels_another_seed_others(
    kind: str, painter: Painter, gan: DoubleInfoGAN, digits: TexturedDigits, drawn: list[Grid]
) -> None:
    subject = (gan, digits, 2)
    if kind in (
        "codes",
        "counterfactual",
    ):  # a panel per attribute takes long, and digits have no masks
        subject = (painter, Painted(), 20 if kind == "codes" else 2)
    first = KINDS[kind](*subject, 3)
    assert first.mode == "RGB"
    assert first.tobytes() == KINDS[kind](*subject, 3).tobytes()
    assert KINDS[kind](*subject, 4)
    once, again, other = (
        [c.tobytes() for row in g.rows for c in row if isinstance(c, np.ndarray)] for g in drawn
    )
    assert once == again
    assert once != other, "other images, not just another caption"
    assert not np.asarray(first)[0].min() < 255, "white at its edge"


@pytest.mark.parametrize("kind", OF_IMAGES)
def test_names_lead_back_to_the_test_images(kind: str, painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    KINDS[kind](painter, dataset, 2, 0)
    found = 0
    for line in (*drawn[0].rows, *zip(*drawn[0].rows, strict=True)):
        for name, image in pairwise(line):
            if (
                isinstance(name, str)
                and name.startswith(("target ", "background "))
                and isinstance(image, np.ndarray)
            ):
                assert read(image) == code_of(name, dataset)
                found += 1
    assert found >= (1 if kind == "traverse" else 2)


def test_grid_has_one_z_per_row_and_one_s_per_column_blank_first(
    painter: Painter, drawn: list[Grid]
) -> None:
    grid(painter, Painted(), 3, 0)
    cells = [[read(cell) for cell in row[1:]] for row in drawn[0].rows[1:]]
    assert len(cells) == 3
    for row in cells:
        assert [z for z, _ in row] == [row[0][0]] * len(row)
        assert [s for _, s in row] == [s for _, s in cells[0]]
    assert cells[0][0][1] == levels([BLANK] * S)
    assert len({tuple(s) for _, s in cells[0]}) == len(cells[0])
    assert len({tuple(row[0][0]) for row in cells}) == 3


def test_reconstruct_shows_what_is_lost(
    painter: Painter, drawn: list[Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    reconstruct(painter, Painted(), 3, 0)
    for _, image, rebuilt, off, _, image2, rebuilt2, off2 in drawn[0].rows[1:]:
        assert np.array_equal(image, rebuilt)
        assert np.array_equal(image2, rebuilt2)
        assert len(np.unique(np.concatenate([off, off2]).reshape(-1, 3), axis=0)) == 1, (
            "no difference anywhere"
        )
    right, wrong = painter.decode, torch.zeros(SIDE, SIDE)
    wrong[-1, -1] = 0.2
    monkeypatch.setattr(painter, "decode", lambda code: right(code) + wrong)
    reconstruct(painter, Painted(), 3, 0)
    scale = drawn[1].scales[0]
    assert scale.high == pytest.approx(0.2)
    for row in drawn[1].rows[1:]:
        assert np.array_equal(row[3], scale.paint(wrong.numpy()))
        assert np.array_equal(row[7], scale.paint(wrong.numpy()))
    assert "mean difference: 0.006 (background) and 0.006 (target)" in drawn[1].caption


def test_background_images_are_reconstructed_with_a_blank_salient_code(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    dataset.code = lambda domain, indices: Code(
        torch.zeros(len(indices), Z), torch.full((len(indices), S), 0.7)
    )
    reconstruct(painter, dataset, 1, 0)
    row = drawn[0].rows[1]
    assert read(row[2])[1] == levels([BLANK] * S)
    assert read(row[6])[1] == levels([0.7] * S)


def test_swap_takes_z_from_the_row_and_s_from_the_column(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    swap(painter, dataset, 2, 0)
    names, originals, *rows = drawn[0].rows
    assert [name.split()[0] for name in names[2:]] == ["background"] * 2 + ["target"] * 2
    assert [row[0] for row in rows] == names[2:]
    for name, original, *cells in rows:
        for column, cell in enumerate(cells, 2):
            assert read(cell) == (code_of(name, dataset)[0], code_of(names[column], dataset)[1])
            if names[column] == name:
                assert np.array_equal(cell, original)
                assert np.array_equal(cell, originals[column])


def test_heal_blanks_s_and_colours_only_where_s_was(painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    heal(painter, dataset, 4, 0)
    scale = drawn[0].scales[0]
    strongest = 0.0
    for name, image, rebuilt, healed, removed in drawn[0].rows[1:]:
        index = int(name.split()[1])
        assert np.array_equal(image, rebuilt)
        assert read(healed) == (code_of(name, dataset)[0], levels([BLANK] * S))
        s = dataset.code("target", [index]).s[0].numpy() - BLANK
        assert np.array_equal(removed[1 : 1 + S, 0], scale.paint(s)), (
            "red where s had made it brighter"
        )
        assert (removed[0] == scale.paint(np.zeros(SIDE))).all(), "z changes nothing"
        strongest = max(strongest, np.abs(s).max())
    assert (-scale.low, scale.high) == pytest.approx((strongest, strongest))


def test_no_effect_looks_like_none(painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    dataset.code = lambda domain, indices: Code(
        torch.zeros(len(indices), Z), torch.full((len(indices), S), -0.499)
    )
    heal(painter, dataset, 1, 0)
    assert np.asarray(drawn[0].rows[1][4]).min() > 240, "white, not full colour"


def test_the_difference_of_rgb_images_is_that_of_the_channel_where_it_is_largest() -> None:
    a, b = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    a[0, :, 0, 0] = torch.tensor([0.5, -0.5, 0.25])  # a change of hue alone must not cancel out
    a[0, :, 0, 1] = torch.tensor([0.1, -0.9, 0.2])
    assert selection.difference(a, b).tolist() == [[[0.5, pytest.approx(-0.9)]]]


@pytest.mark.parametrize("kind", [Painted, Healable])
def test_counterfactual_shows_map_and_mask_and_the_truth_where_it_is_known(
    kind: type[Painted], painter: Painter, drawn: list[Grid]
) -> None:
    dataset = kind()
    counterfactual(painter, dataset, 4, 0)
    titles, *rows = drawn[0].rows
    truly = ["truly healthy"] if kind is Healable else []
    assert titles == ["", "original", "reconstruction", "healed", *truly, "difference", "mask"]
    scale = drawn[0].scales[0]
    for name, image, rebuilt, healed, *truth, found, mask in rows:
        z, _ = code_of(name, dataset)
        assert np.array_equal(image, rebuilt)
        assert read(healed) == (z, levels([BLANK] * S))
        assert all(np.array_equal(healed, true) for true in truth)
        removed = np.abs(dataset.code("target", [int(name.split()[1])]).s[0].numpy() - BLANK)
        assert np.array_equal(found[1 : 1 + S, 0], scale.paint(removed))
        assert (found[0] == scale.paint(np.zeros(SIDE))).all()
        assert np.array_equal(mask[..., 0] == 255, dataset.masks("test", [0])[0].numpy())
    assert ("truly" in str(titles)) == ("what they would look like" in drawn[0].caption)
    assert "0.000 outside" in drawn[0].caption


def test_counterfactual_needs_masks_and_says_so(gan: DoubleInfoGAN, digits: TexturedDigits) -> None:
    with pytest.raises(StudioError, match="'textured_digits' has no masks"):
        counterfactual(gan, digits)


def test_isolate_sets_z_to_zero_and_sweeps_s_from_blank_through_its_own(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    isolate(painter, dataset, 3, 0)
    shares = [float(title.split()[0]) for title in drawn[0].rows[0][3:]]
    assert shares == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]
    for name, _, alone, *sweep in drawn[0].rows[1:]:
        own = dataset.code("target", [int(name.split()[1])]).s[0]
        assert read(alone) == (levels([0.0] * Z), levels(own))
        for share, cell in zip(shares, sweep, strict=True):
            z, s = read(cell)
            assert z == levels([0.0] * Z)
            assert s == pytest.approx(levels(BLANK + share * (own - BLANK)), abs=1)
        assert np.array_equal(sweep[shares.index(1)], alone)


def test_traverse_orders_coordinates_by_their_effect(painter: Painter, drawn: list[Grid]) -> None:
    dataset = Painted()
    traverse(painter, dataset, None, 0)
    (name, image, _, rebuilt, *_), titles, *rows = drawn[0].rows
    assert np.array_equal(image, rebuilt)
    assert [float(title) for title in titles[1:]] == [-1.5, -1, -0.5, 0, 0.5, 1, 1.5]
    # s[k] is painted into k + 1 pixels, so the shares are 3 : 2 : 1
    assert [row[0] for row in rows] == ["s[2] 50.0%", "s[1] 33.3%", "s[0] 16.7%"]
    z, own = code_of(name, dataset)
    for row, k in zip(rows, (2, 1, 0), strict=True):
        for title, cell in zip(titles[1:], row[1:], strict=True):
            expected = [*own[:k], levels([float(title)])[0], *own[k + 1 :]]
            assert read(cell) == (z, expected)
    traverse(painter, dataset, 2, 0)
    assert [row[0] for row in drawn[1].rows[2:]] == ["s[2] 50.0%", "s[1] 33.3%"]


def test_interpolate_keeps_z_and_moves_s_from_one_image_to_the_other(
    painter: Painter, drawn: list[Grid]
) -> None:
    dataset = Painted()
    interpolate(painter, dataset, 3, 0)
    assert len(drawn[0].rows) == 1 + 3
    for name1, image1, *between, image2, name2 in drawn[0].rows[1:]:
        (z, s1), (_, s2) = code_of(name1, dataset), code_of(name2, dataset)
        assert read(image2) == code_of(name2, dataset)
        assert np.array_equal(between[0], image1)
        assert read(between[-1]) == (z, s2)
        assert read(between[3]) == (z, pytest.approx((np.array(s1) + s2) / 2, abs=1))


def test_shown_images_take_the_classes_in_turn(
    gan: DoubleInfoGAN, digits: TexturedDigits, drawn: list[Grid]
) -> None:
    heal(gan, digits, 20, 0)
    indices = [int(row[0].split()[1]) for row in drawn[0].rows[1:]]
    labels = digits.labels("test", "target")
    assert sorted(labels["digit"][indices[:10]]) == list(range(10))
    assert sorted(labels["digit"][indices]) == sorted([*range(10)] * 2)
    assert sorted(labels["texture"][indices[:4]]) == list(range(4))
    assert len(set(indices)) == 20
    reconstruct(gan, digits, 4, 0)
    indices = [int(row[0].split()[1]) for row in drawn[1].rows[1:]]
    assert sorted(digits.labels("test", "background")["texture"][indices]) == list(range(4))


# In a traverse n counts coordinates, of which it shows at most as many as there are.
@pytest.mark.parametrize("kind", sorted({*OF_IMAGES, "codes"} - {"traverse"}))
def test_more_than_there_is_is_refused_with_the_number(kind: str, painter: Painter) -> None:
    per_row = 2 if kind == "interpolate" else 1
    dataset = Painted(size=4)
    assert KINDS[kind](painter, dataset, 4 // per_row, 0)
    with pytest.raises(StudioError, match=f"has 4 .* test split, this needs {4 + per_row}"):
        KINDS[kind](painter, dataset, 4 // per_row + 1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_number_small_sets_are_shown_whole(kind: str, painter: Painter) -> None:
    assert KINDS[kind](painter, Painted(size=2), None, 0)
    with pytest.raises(StudioError, match="at least 1, found 0"):
        KINDS[kind](painter, Painted(size=2), 0, 0)


@pytest.mark.parametrize("kind", [*OF_IMAGES, "codes"])
def test_an_empty_set_is_refused(kind: str, painter: Painter) -> None:
    with pytest.raises(StudioError, match=r"has 0 .* images in its test split"):
        KINDS[kind](painter, Painted(size=0), None, 0)


@pytest.mark.parametrize("kind", OF_IMAGES)
def test_two_channels_show_the_first_and_say_so(kind: str, drawn: list[Grid]) -> None:
    dataset = Painted()
    dataset.shape = (2, SIDE, SIDE)
    KINDS[kind](Painter(channels=2).eval(), dataset, 1, 0)
    assert "first of 2 channels" in drawn[0].caption
    assert {
        cell.shape[2] for row in drawn[0].rows for cell in row if isinstance(cell, np.ndarray)
    } <= {1, 3}
    KINDS[kind](Painter().eval(), Painted(), 1, 0)
    assert "channel" not in drawn[1].caption


def test_targets_vary_first_in_what_belongs_in_the_salient_code() -> None:
    attributes = {
        "place": Attribute("common", tuple("abcde")),
        "kind": Attribute("salient", tuple("abcd")),
    }
    # Kinds 1 to 3 occur at place 4 alone, so four different kinds and four different places exclude each other.
    place, kind = (
        np.repeat([0, 1, 2, 3, 4], 9),
        np.repeat([0, 0, 0, 0, 1, 2, 3], [9, 9, 9, 9, 3, 3, 3]),
    )
    dataset = Painted(45, attributes, {"place": place, "kind": kind})
    salient = [
        int(name.split()[1]) for name in selection.pick(dataset, "target", 4, 0, "salient").names
    ]
    common = [
        int(name.split()[1]) for name in selection.pick(dataset, "target", 4, 0, "common").names
    ]
    assert (len(set(kind[salient])), len(set(place[salient]))) == (4, 2)
    assert len(set(place[common])) == 4
    assert len(set(kind[common])) <= 2


def test_each_point_of_the_codes_has_its_own_colour(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    panels = pictures.panels
    monkeypatch.setattr(pictures, "panels", lambda *given: seen.append(given) or panels(*given))
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


def test_codes_separate_what_the_codes_separate() -> None:
    direction = np.random.default_rng(0).normal(size=5)
    code = (
        np.random.default_rng(1).normal(size=(200, 5)) * 0.01
        + np.repeat([-1, 1], 100)[:, None] * direction
    )
    plane = project(code)
    assert plane.axes[0] in ("component 1 (99% of variance)", "component 1 (100% of variance)")
    signs = np.sign(plane.points[:, 0])
    assert np.array_equal(signs, np.repeat([signs[0], -signs[0]], 100))


def test_codes_are_coloured_by_what_belongs_to_each_point() -> None:
    dataset = Painted(
        6,
        {"kind": Attribute("salient", ("a", "b"), True), "age": Attribute("common")},
        {
            "kind": np.array([0, 1, 0, 1, -1, 0]),
            "age": np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]),
        },
    )
    found = scatter.colourings(
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


def test_codes_give_every_named_class_a_look_of_its_own(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    colour = scatter._colour_by_class
    monkeypatch.setattr(
        scatter, "_colour_by_class", lambda *given: keys.append(colour(*given)) or keys[-1]
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


@pytest.mark.filterwarnings("error")
def test_codes_without_attributes_of_one_dimension_or_without_variance(painter: Painter) -> None:
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


def test_a_grid_of_samples_has_an_end(painter: Painter, digits: TexturedDigits) -> None:
    with pytest.raises(StudioError, match="n must be at most 500, found 501"):
        KINDS["grid"](painter, digits, 501)


def test_a_picture_that_its_kind_of_file_cannot_hold_is_refused_in_a_line(tmp_path: Path) -> None:
    files = [
        ("a.webp", 16_384, False),
        ("a.webp", 16_383, True),
        ("a.jpg", 65_501, False),
        ("a.png", 65_501, True),
    ]
    for name, size, fits in files:
        path = tmp_path / str(size) / name
        if fits:
            _save(Image.new("RGB", (2, size)), path)
            assert path.is_file()
        else:
            with pytest.raises(
                StudioError, match=f"is 2 x {size} pixels, and .* takes at most {size - 1}"
            ):
                _save(Image.new("RGB", (2, size)), path)
            assert not path.parent.exists()


def test_codes_of_many_attributes_show_some_of_both_codes_and_say_so(
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

    monkeypatch.setattr(pictures, "panels", panels)
    KINDS["codes"](painter, data)
    assert shown[-1] == [
        "background or target",
        *(f"common {i}" for i in range(3)),
        *(f"salient {i}" for i in range(4)),
    ]
    assert "33 more attributes are not shown; --attribute NAME" in drawn[-1].caption
    KINDS["codes"](painter, data, attributes=["salient 19", "common 7"])
    assert shown[-1] == ["salient 19", "common 7"]
    assert "not shown" not in drawn[-1].caption
    with pytest.raises(
        StudioError, match=r"--attribute salient19: no such attribute .*did you mean 'salient 19'"
    ):
        KINDS["codes"](painter, data, attributes=["salient19"])
