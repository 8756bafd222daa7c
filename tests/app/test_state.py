"""The state of the app, on a method with known images."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.gallery import Gallery, open_run, read_codes, read_images, rounded
from support.painting import BLANK, SIDE, Painter

from studio import Run
from studio.app import state
from studio.app.pictures import (
    show_strips,
    thumbnails,
)
from studio.app.state import STRIP, Explorer, Session, Shelf
from studio.data import Attribute
from studio.errors import StudioError


def test_explorer_orders_sliders_by_their_effect(explorer: Explorer) -> None:
    # The Painter shows s[k] in k + 1 pixels, and all sliders have the same range here.
    assert [c.number for c in explorer.coordinates] == [2, 1, 0]
    assert [c.share for c in explorer.coordinates] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert {(c.low, c.high, c.step) for c in explorer.coordinates} == {(-1.5, 1.5, 0.01)}


def test_explorer_widens_sliders_to_the_training_codes() -> None:
    far = Explorer("far", open_run(Gallery(reach=20.0)))
    codes = Gallery().code("target", range(40)).s * 20
    for coordinate in far.coordinates:
        low, high = torch.quantile(codes[:, coordinate.number], torch.tensor([0.01, 0.99])).tolist()
        assert low - coordinate.step <= coordinate.low <= low < -10
        assert 10 < high <= coordinate.high <= high + coordinate.step
        assert coordinate.step == 0.1, "a few hundred stops, in round numbers"


def test_session_decodes_both_common_codes_with_every_salient_code(
    explorer: Explorer, session: Session
) -> None:
    a, b = (Gallery().code("target", [i]) for i in (3, 4))
    for i, z in enumerate((a.z, b.z)):
        for j, s in enumerate((a.s, b.s, torch.full((1, 3), BLANK))):
            assert read_codes(session.decoded[i, j]) == (rounded(z), rounded(s)), (i, j)
    assert torch.equal(session.reconstruction, session.decoded[0, 0])
    assert read_codes(session.swapped) == (rounded(a.z), rounded(b.s))
    assert read_codes(session.healed)[1] == [BLANK] * 3
    assert explorer.stops(session.base) == pytest.approx(
        [round(v, 2) for v in a.s[0, [2, 1, 0]].tolist()]
    )


def test_salient_code_is_exact_for_sliders_that_were_not_moved(
    explorer: Explorer, session: Session
) -> None:
    stops = explorer.stops(session.base)
    assert any(
        abs(stop - value) > 1e-4
        for stop, value in zip(stops, session.base[[2, 1, 0]].tolist(), strict=True)
    )
    assert torch.equal(explorer.salient_code(session, stops), session.base)
    assert torch.equal(explorer.result(session, stops), session.reconstruction)
    assert torch.equal(explorer.salient_code(session, ()), session.base)


def test_salient_code_changes_only_the_moved_coordinate(
    explorer: Explorer, session: Session
) -> None:
    stops = explorer.stops(session.base)
    moved = explorer.salient_code(session, [0.87, *stops[1:]])
    assert moved[2].item() == pytest.approx(0.87)
    assert torch.equal(moved[:2], session.base[:2])
    assert read_codes(explorer.result(session, [0.87, *stops[1:]])) == (
        rounded(session.a.code.z),
        rounded(moved),
    )
    assert not torch.equal(
        explorer.salient_code(session, [stops[0] + 0.01, *stops[1:]]), session.base
    ), "one stop further"


def test_result_is_exact_after_heal_and_swap(explorer: Explorer, session: Session) -> None:
    healed = session.at(explorer.blank())
    assert torch.equal(explorer.result(healed, explorer.stops(healed.base)), session.healed)
    taken = session.at(session.b.code.s[0])
    assert torch.equal(explorer.result(taken, explorer.stops(taken.base)), session.swapped)
    assert not torch.equal(session.healed, session.reconstruction)


def test_traverse_moves_one_coordinate_from_end_to_end(
    explorer: Explorer, session: Session
) -> None:
    stops = explorer.stops(session.base)
    made = explorer.traverse(session, [*stops[:2], 1.11])
    assert [coordinate.number for coordinate, _ in made] == [2, 1, 0]
    for coordinate, images in made:
        codes = Painter().encode(images)
        assert codes.s[:, coordinate.number].tolist() == pytest.approx(
            np.linspace(-1.5, 1.5, STRIP).tolist()
        )
        rest = [k for k in range(3) if k != coordinate.number]
        assert (codes.s[:, rest] == codes.s[:1, rest]).all()
        assert (codes.z == session.a.code.z).all()
        if coordinate.number != 0:
            assert codes.s[0, 0].item() == pytest.approx(1.11), (
                "a slider that was moved stays where it is"
            )
    assert len(read_images(show_strips(session, made))) == 3
    assert read_images(show_strips(session, made))["strip-2"].shape[:2] == (
        SIDE,
        STRIP * (SIDE + 1) - 1,
    )


def test_sample_depends_on_the_seed_and_keeps_the_drawn_code(explorer: Explorer) -> None:
    made, again, other = (explorer.sample("target", 4, seed) for seed in (1, 1, 2))
    assert all(
        torch.equal(x.image, y.image) and x.name == y.name for x, y in zip(made, again, strict=True)
    )
    assert not any(torch.equal(x.image, y.image) for x, y in zip(made, other, strict=True))
    for choice in made:
        assert read_codes(choice.image) == (rounded(choice.code.z), rounded(choice.code.s))
    assert all(
        read_codes(choice.image)[1] == [BLANK] * 3 for choice in explorer.sample("background", 3, 0)
    )


def test_offered_pages_through_all_test_images() -> None:
    explorer = Explorer("few", open_run(Gallery(10)))
    first, second, third = (explorer.offered("target", page, 4) for page in range(3))
    assert sorted([*first, *second, *third[:2]]) == list(range(10)), (
        "each once, then from the beginning"
    )
    assert third[2:].tolist() == first[:2].tolist()
    assert len(explorer.offered("target", 0, 50)) == 10
    assert first.tolist() != explorer.offered("background", 0, 4).tolist()


def test_begin_picks_two_targets_of_different_classes() -> None:
    kinds = {"kind": np.array([0] * 40), "place": np.arange(40) % 2}
    first = Explorer("few", open_run(Gallery())).offered("target", 0, 18)
    kinds["kind"][first[7]] = 1
    known = {
        "kind": Attribute("salient", ("one", "two")),
        "place": Attribute("common", ("left", "right")),
    }
    session = Explorer("kinds", open_run(Gallery(attributes=known, labels=kinds))).begin()
    assert (
        session.a.name
        == f"target {first[0]} · kind one · place {'left' if first[0] % 2 == 0 else 'right'}"
    )
    assert session.b.name.startswith(f"target {first[7]} · kind two")


def test_begin_keeps_a_and_b_of_another_run_with_images_of_the_same_shape() -> None:
    one, other = (Explorer(name, open_run(Gallery())) for name in ("one", "other"))
    uploaded = replace(one.choose("background", 5), name="uploaded.png")
    before = one.look_at(uploaded, one.choose("target", 3))
    after = other.begin(before)
    assert (after.run, after.a.name, after.b.name) == ("other", before.a.name, before.b.name)
    assert torch.equal(after.a.image, uploaded.image)
    small = replace(uploaded, image=uploaded.image[:, :2, :2])
    assert other.begin(replace(before, a=small, b=small)).a.name == other.begin().a.name


def test_explorer_works_without_its_data_set(tmp_path: Path) -> None:
    class Gone(Run):
        @property
        def data(self) -> Any:
            raise StudioError("data.root: no folder")

    explorer = Explorer(
        "gone",
        Gone(Path("gone"), SimpleNamespace(data=None), Painter().eval(), 64, (1, SIDE, SIDE)),
    )
    assert explorer.problem == "data.root: no folder"
    assert explorer.begin().a.name == "generated target 1 (seed 0)"
    assert len(explorer.offered("target", 0, 4)) == 0
    assert thumbnails(explorer.images("target", explorer.offered("target", 0, 4))) == []
    Image.fromarray(np.full((6, 6), 255, np.uint8)).save(tmp_path / "white.png")
    assert read_codes(explorer.upload(tmp_path / "white.png").image) == (
        [1.0, 1.0],
        [1.0, 1.0, 1.0],
    )


def test_shelf_opens_runs_on_demand_and_keeps_few_open(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "KEPT", 1)
    shelf = Shelf(runs, "cpu")
    assert (shelf.names, shelf.salient) == (["one", "two"], 3)
    one = shelf.open("one")
    assert shelf.open("one") is one
    shelf.open("two")
    assert shelf.open("one") is not one, "it was closed for the other"
    with pytest.raises(StudioError, match="did you mean 'two'"):
        shelf.open("twoo")


def test_shelf_names_runs_by_path_if_their_names_are_equal(runs: list[Path]) -> None:
    assert Shelf([runs[0], runs[0].parent / "two" / ".." / "one"]).names == [
        str(runs[0]),
        f"{runs[0].parent}/two/../one",
    ]


@pytest.mark.parametrize("device", ["cpuu", "cuda:99", "cpu:x"])
def test_shelf_refuses_an_unknown_device(runs: list[Path], device: str) -> None:
    with pytest.raises(StudioError, match=f"--device {device}: not a device of this machine"):
        Shelf(runs, device)
