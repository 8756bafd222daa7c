"""`studio app` without a browser: what sliders, swaps, samples and strips mean, what the page is given, how it answers a port.

Checked on a method whose images are known: the Painter writes every number of a code into pixels of its own.
"""

import base64
import csv
import io
import re
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.experiments import tiny
from support.painting import BLANK, SIDE, Painted, Painter
from support.shapes import SHAPES, Blobs
from torch import Tensor
from typer.testing import CliRunner

from studio import Run, cli, sampling
from studio.app import server, state
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
from studio.app.state import STRIP, Choice, Explorer, Session, Shelf
from studio.data import Attribute
from studio.errors import StudioError
from studio.method import Code
from studio.pixels import to_pixels
from studio.training.engine import Engine
from studio.training.session import train


class Gallery(Painted):
    """Painted images, of training too; `reach` makes their salient codes longer."""

    def __init__(self, size: int = 40, reach: float = 1.0, **known: Any) -> None:
        super().__init__(size, **known)
        self.reach = reach

    def size(self, split: str, domain: str) -> int:
        return self.n

    def images(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        code = self.code(domain, indices)
        return Painter().decode(Code(code.z, code.s * self.reach)).detach()


def opened(dataset: Painted | None = None, method: Any = None) -> Run:
    """Returns a run of the Painter that has this data set, or none that can be opened."""
    method = method or Painter().eval()
    shape = tuple(sampling.sample(method, 1, "target", 0).shape[1:])
    run = Run(Path("painted"), SimpleNamespace(), method, 64, shape)
    if dataset is not None:
        run.__dict__["data"] = dataset
    return run


@pytest.fixture
def explorer() -> Explorer:
    return Explorer("painted", opened(Gallery()))


@pytest.fixture
def session(explorer: Explorer) -> Session:
    return explorer.look_at(explorer.choose("target", 3), explorer.choose("target", 4))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of contrastive PCA, whose training takes no time and whose images show every code."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        train(tiny("cpca"), place / name)
    return [place / "one", place / "two"]


def numbers(image: Tensor) -> tuple[list[float], list[float]]:
    """Reads what the Painter has painted."""
    code = Painter().encode(image[None])
    return [round(v, 5) for v in code.z[0].tolist()], [round(v, 5) for v in code.s[0].tolist()]


def rounded(values: Tensor) -> list[float]:
    return [round(v, 5) for v in values.flatten().tolist()]


def pictures(html: str) -> dict[str, np.ndarray]:
    """Decodes the images of a piece of the page, by their ids."""
    found = re.findall(r'<img id="img-([\w-]+)"[^>]* src="data:image/png;base64,([^"]+)"', html)
    return {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found
    }


def test_sliders_come_in_the_order_of_their_effect(explorer: Explorer) -> None:
    # The Painter shows s[k] in k + 1 pixels, and all sliders have the same range here.
    assert [c.number for c in explorer.coordinates] == [2, 1, 0]
    assert [c.share for c in explorer.coordinates] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert {(c.low, c.high, c.step) for c in explorer.coordinates} == {(-1.5, 1.5, 0.01)}


def test_sliders_reach_as_far_as_training_codes() -> None:
    far = Explorer("far", opened(Gallery(reach=20.0)))
    codes = Gallery().code("target", range(40)).s * 20
    for coordinate in far.coordinates:
        low, high = torch.quantile(codes[:, coordinate.number], torch.tensor([0.01, 0.99])).tolist()
        assert low - coordinate.step <= coordinate.low <= low < -10
        assert 10 < high <= coordinate.high <= high + coordinate.step
        assert coordinate.step == 0.1, "a few hundred stops, in round numbers"


def test_a_session_holds_both_common_codes_with_every_salient_one(
    explorer: Explorer, session: Session
) -> None:
    a, b = (Gallery().code("target", [i]) for i in (3, 4))
    for i, z in enumerate((a.z, b.z)):
        for j, s in enumerate((a.s, b.s, torch.full((1, 3), BLANK))):
            assert numbers(session.decoded[i, j]) == (rounded(z), rounded(s)), (i, j)
    assert torch.equal(session.reconstruction, session.decoded[0, 0])
    assert numbers(session.swapped) == (rounded(a.z), rounded(b.s))
    assert numbers(session.healed)[1] == [BLANK] * 3
    assert explorer.stops(session.base) == pytest.approx(
        [round(v, 2) for v in a.s[0, [2, 1, 0]].tolist()]
    )


def test_a_slider_that_was_not_moved_means_the_exact_number(
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


def test_a_moved_slider_changes_its_coordinate_and_no_other(
    explorer: Explorer, session: Session
) -> None:
    stops = explorer.stops(session.base)
    moved = explorer.salient_code(session, [0.87, *stops[1:]])
    assert moved[2].item() == pytest.approx(0.87)
    assert torch.equal(moved[:2], session.base[:2])
    assert numbers(explorer.result(session, [0.87, *stops[1:]])) == (
        rounded(session.a.code.z),
        rounded(moved),
    )
    assert not torch.equal(
        explorer.salient_code(session, [stops[0] + 0.01, *stops[1:]]), session.base
    ), "one stop further"


def test_heal_and_swap_put_the_sliders_elsewhere_exactly(
    explorer: Explorer, session: Session
) -> None:
    healed = session.at(explorer.blank())
    assert torch.equal(explorer.result(healed, explorer.stops(healed.base)), session.healed)
    taken = session.at(session.b.code.s[0])
    assert torch.equal(explorer.result(taken, explorer.stops(taken.base)), session.swapped)
    assert not torch.equal(session.healed, session.reconstruction)


def test_strips_go_from_end_to_end_and_leave_the_rest(explorer: Explorer, session: Session) -> None:
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
    assert len(pictures(show_strips(session, made))) == 3
    assert pictures(show_strips(session, made))["strip-2"].shape[:2] == (
        SIDE,
        STRIP * (SIDE + 1) - 1,
    )


def test_new_images_follow_the_seed_and_keep_the_code_that_was_drawn(explorer: Explorer) -> None:
    made, again, other = (explorer.sample("target", 4, seed) for seed in (1, 1, 2))
    assert all(
        torch.equal(x.image, y.image) and x.name == y.name for x, y in zip(made, again, strict=True)
    )
    assert not any(torch.equal(x.image, y.image) for x, y in zip(made, other, strict=True))
    for choice in made:
        assert numbers(choice.image) == (rounded(choice.code.z), rounded(choice.code.s))
    assert all(
        numbers(choice.image)[1] == [BLANK] * 3 for choice in explorer.sample("background", 3, 0)
    )


def test_offered_images_are_turned_over_page_by_page() -> None:
    explorer = Explorer("few", opened(Gallery(10)))
    first, second, third = (explorer.offered("target", page, 4) for page in range(3))
    assert sorted([*first, *second, *third[:2]]) == list(range(10)), (
        "each once, then from the beginning"
    )
    assert third[2:].tolist() == first[:2].tolist()
    assert len(explorer.offered("target", 0, 50)) == 10
    assert first.tolist() != explorer.offered("background", 0, 4).tolist()


def test_a_session_begins_with_two_kinds_where_the_data_set_knows_them() -> None:
    kinds = {"kind": np.array([0] * 40), "place": np.arange(40) % 2}
    first = Explorer("few", opened(Gallery())).offered("target", 0, 18)
    kinds["kind"][first[7]] = 1
    known = {
        "kind": Attribute("salient", ("one", "two")),
        "place": Attribute("common", ("left", "right")),
    }
    session = Explorer("kinds", opened(Gallery(attributes=known, labels=kinds))).begin()
    assert (
        session.a.name
        == f"target {first[0]} · kind one · place {'left' if first[0] % 2 == 0 else 'right'}"
    )
    assert session.b.name.startswith(f"target {first[7]} · kind two")


def test_without_its_data_set_a_run_still_takes_uploads_and_makes_images(tmp_path: Path) -> None:
    class Gone(Run):
        @property
        def data(self) -> Any:
            raise StudioError("data.root: no folder")

    explorer = Explorer(
        "gone", Gone(Path("gone"), SimpleNamespace(), Painter().eval(), 64, (1, SIDE, SIDE))
    )
    assert explorer.problem == "data.root: no folder"
    assert explorer.begin().a.name == "generated target 1 (seed 0)"
    assert len(explorer.offered("target", 0, 4)) == 0
    assert thumbnails(explorer.images("target", explorer.offered("target", 0, 4))) == []
    Image.fromarray(np.full((6, 6), 255, np.uint8)).save(tmp_path / "white.png")
    assert numbers(explorer.upload(tmp_path / "white.png").image) == ([1.0, 1.0], [1.0, 1.0, 1.0])


def test_the_page_gets_the_images_it_says(session: Session, explorer: Explorer) -> None:
    result = explorer.result(session, [1.2, 0.3, -0.4])
    found = pictures(
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
        "swap-change-12": (session.decoded[1, 2], session.decoded[1, 1]),
    }
    for name, (after, before) in maps.items():
        assert np.array_equal(found[name], paint_change(after, before)), name


def test_a_map_of_change_is_white_where_nothing_changes_red_where_brighter_and_blue_where_darker() -> (
    None
):
    before = torch.zeros(3, 1, 3)
    after = before.clone()
    after[1, 0, 1], after[2, 0, 2] = 0.8, -0.8
    none, brighter, darker = paint_change(after, before)[0].astype(int)
    assert none.min() > 240
    assert brighter[0] > brighter[2] + 50
    assert darker[2] > darker[0] + 50
    assert CHANGE.low == -CHANGE.high, "the same colours for every image"


def test_names_of_files_are_escaped(explorer: Explorer) -> None:
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


def test_codes_can_be_downloaded_as_a_table(session: Session) -> None:
    rows = list(
        csv.reader(io.StringIO(write_codes_csv([("a, b", session.a.code.z[0], session.base)])))
    )
    assert rows[0] == ["file", "z0", "z1", "s0", "s1", "s2"]
    assert rows[1][0] == "a, b"
    assert torch.equal(
        torch.tensor([float(v) for v in rows[1][1:]]),
        torch.cat([session.a.code.z[0], session.base]),
    )


def test_thumbnails_are_large_enough_to_be_seen() -> None:
    images = torch.rand(2, 1, 32, 32) * 2 - 1
    for picture, image in zip(thumbnails(images), images, strict=True):
        assert picture.size == (96, 96)
        assert np.array_equal(np.asarray(picture)[::3, ::3, 0], to_pixels(image[None])[0, ..., 0])


def test_runs_are_opened_when_asked_for_and_few_stay_open(
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


def test_runs_of_the_same_name_are_told_apart(runs: list[Path]) -> None:
    assert Shelf([runs[0], runs[0].parent / "two" / ".." / "one"]).names == [
        str(runs[0]),
        f"{runs[0].parent}/two/../one",
    ]


@pytest.mark.parametrize("kind", ["volume", "vector"])
def test_what_is_no_image_is_refused_with_its_shape(kind: str) -> None:
    engine = Engine(tiny("vae", images=16), Blobs(SHAPES[kind]))
    shape = re.escape(str(SHAPES[kind]))
    with pytest.raises(
        StudioError, match=f"blobs: holds {kind}s of shape {shape}; the app shows images"
    ):
        Explorer("blobs", opened(method=engine.ema.method.eval()))


@pytest.mark.parametrize("device", ["cpuu", "cuda:99", "cpu:x"])
def test_a_device_that_does_not_exist_is_refused(runs: list[Path], device: str) -> None:
    with pytest.raises(StudioError, match=f"--device {device}: not a device of this machine"):
        Shelf(runs, device)


@pytest.fixture
def taken() -> Any:
    """A port in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named_with_the_next_free_one(taken: int) -> None:
    line = rf"^--port {taken}: in use on 127\.0\.0\.1; the next free one is --port \d+$"
    with pytest.raises(StudioError, match=line) as refused:
        server.free_port("127.0.0.1", taken)
    free = int(str(refused.value).split()[-1])
    assert taken < free
    assert server.free_port("127.0.0.1", free) == free
    assert server.free_port("127.0.0.1", 0) not in (0, taken)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(StudioError, match=f"--host {host}: not an address of this machine"):
        server.free_port(host, 7860)


def invoke(*words: object) -> str:
    result = CliRunner().invoke(cli.app, ["app", *map(str, words)])
    assert isinstance(result.exception, StudioError), result.output
    return str(result.exception)


def test_without_gradio_the_verb_says_how_to_get_it(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert invoke(runs[0]).endswith("pip install 'contrastive-studio[app]'")
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(__version__="3.50.2"))
    assert "found 3.50.2: pip install 'contrastive-studio[app]'" in invoke(runs[0])


def test_a_run_without_checkpoints_and_a_port_in_use_stop_it_before_it_answers(
    runs: list[Path], taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "check_gradio", lambda: None)
    monkeypatch.setattr(server, "serve", lambda *_: pytest.fail("it must not answer"))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.yaml").write_text(
        (runs[0] / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    assert "empty: no checkpoint yet" in invoke(empty, "--port", 0)
    assert "empty: no checkpoint yet" in invoke(runs[0], empty, "--port", 0), "nor a second one"
    assert "nowhere: no such run" in invoke(tmp_path / "nowhere", "--port", 0)
    assert f"--port {taken}: in use" in invoke(runs[0], "--port", taken)


@pytest.mark.parametrize(
    ("host", "shown", "warned"),
    [
        ("127.0.0.1",) * 2 + (False,),
        ("::1", "[::1]", False),
        ("localhost",) * 2 + (False,),
        ("0.0.0.0", "localhost", True),
    ],
)
def test_it_answers_this_machine_alone_unless_asked_and_never_shares(
    host: str,
    shown: str,
    warned: bool,
    runs: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from studio.app import page

    launched: dict[str, Any] = {}
    fake = SimpleNamespace(
        launch=lambda **options: launched.update(options), close=lambda **_: None
    )
    monkeypatch.setattr(page, "build_page", lambda shelf: fake)
    monkeypatch.setattr(
        server, "stop_signals", lambda: nullcontext(SimpleNamespace(get=lambda timeout: None))
    )
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    server.check_gradio()
    server.serve(Shelf(runs[:1]), host, 7860)
    said = capsys.readouterr()
    assert ("everyone who can reach this machine" in said.err) is warned
    assert f"open http://{shown}:7860/" in said.out
    assert launched["server_name"] == (shown if host == "::1" else host)
    assert (launched["share"], launched["max_file_size"]) == (False, 10 * 2**20)


def test_nothing_of_the_page_can_be_called_as_an_api(runs: list[Path]) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from studio.app.page import build_page

    blocks = build_page(Shelf(runs, "cpu"))
    assert len(blocks.fns) > 10
    assert not blocks.get_api_info()["named_endpoints"]
    assert {fn.api_visibility for fn in blocks.fns.values()} == {"private"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_another_thread_is_given_ends_it_too(number: signal.Signals) -> None:
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    assert other.ident
    timer = threading.Timer(0.3, signal.pthread_kill, [other.ident, number])
    try:
        with server.stop_signals() as signals:
            timer.start()
            server.wait_for_signal(signals)
    finally:
        ended.set()
    assert timer.finished.is_set()
