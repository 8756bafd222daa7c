"""Training curves: every logged number has its panel, and events are marked."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from support.experiments import tiny

from studio.errors import StudioError
from studio.render.curves import draw_curves, find_events, group_curves
from studio.runs.log import read_log

LINES = [
    {"images_seen": 0, "started": {"torch": "2"}},
    {
        "images_seen": 16,
        "D/adv.background": 1.0,
        "D/adv.target": 2.0,
        "D/info_real": 0.5,
        "images_per_second": 100.0,
    },
    {"images_seen": 16, "rollback": "a loss is not finite", "lr": 1e-4},
    {"images_seen": 24, "out_of_memory": "the step", "parts": 2},
    {
        "images_seen": 32,
        "D/adv.background": 0.05,
        "D/adv.target": 0.2,
        "D/info_real": -0.5,
        "images_per_second": 120.0,
    },
    {"images_seen": 32, "probe/digit/salient": 0.9, "probe/digit/common": 0.4},
    {"images_seen": 32, "started": {"torch": "2"}},
]


def test_group_curves_puts_both_domains_into_one_panel() -> None:
    panels = group_curves(LINES, lr=2e-4)
    assert {(panel, label) for panel, lines in panels.items() for label in lines} == {
        ("D/adv", "background"),
        ("D/adv", "target"),
        ("D/info_real", ""),
        ("probe/digit", "salient"),
        ("probe/digit", "common"),
        ("learning rate", ""),
        ("images per second", ""),
    }
    assert [*panels][-2:] == ["learning rate", "images per second"]
    assert panels["D/adv"]["target"].images.tolist() == [16, 32]
    assert panels["D/adv"]["target"].values.tolist() == [2.0, 0.2]
    rate = panels["learning rate"][""]
    assert [*zip(rate.images, rate.values, strict=True)] == [(0, 2e-4), (16, 1e-4), (32, 1e-4)]


def test_find_events_omits_the_first_start() -> None:
    assert find_events(LINES) == [(16, "roll-back"), (24, "out of memory"), (32, "resumed")]


def test_draw_curves_chooses_scales_and_marks_events(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, tuple[int, str]] = {}
    marks: list[float] = []
    title, line, scale = Axes.set_title, Axes.axvline, Axes.set_yscale
    names: dict[int, str] = {}
    monkeypatch.setattr(
        Axes,
        "set_title",
        lambda axes, text, **k: (names.update({id(axes): text}), title(axes, text, **k))[1],
    )
    monkeypatch.setattr(
        Axes, "axvline", lambda axes, at, **k: (marks.append(at), line(axes, at, **k))[1]
    )
    monkeypatch.setattr(
        Axes,
        "set_yscale",
        lambda axes, kind: (drawn.update({names[id(axes)]: (1, kind)}), scale(axes, kind))[1],
    )
    Path("log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in LINES))
    picture = draw_curves(Path(), tiny(lr=2e-4))
    assert set(names.values()) == set(group_curves(LINES, 2e-4))
    assert drawn == {"D/adv": (1, "log")}, (
        "the only one that is positive and changes more than tenfold"
    )
    assert marks == [16, 24, 32] * len(names)
    caption = picture.info["caption"]
    for words in ("roll-back (dotted)", "out of memory (dashed)", "resumed (solid, light blue)"):
        assert words in caption
    assert np.asarray(picture).std() > 10


def test_read_log_skips_incomplete_lines() -> None:
    whole = [
        '{"images_seen": 16, "D/x": NaN}',
        "[1]",
        '{"images_seen": "x"}',
        '{"images_seen": 32, "D/x": 1.0}',
    ]
    Path("log.jsonl").write_text("\n".join(whole) + '\n{"im')
    lines = read_log(Path())
    assert [line["images_seen"] for line in lines] == [16, 32]
    assert draw_curves(Path(), tiny()), "what is not finite is a gap"


@pytest.mark.parametrize("text", ["", '{"images_seen": 0, "started": {}}\n'])
def test_draw_curves_explains_that_no_term_was_logged(text: str) -> None:
    Path("log.jsonl").write_text(text)
    with pytest.raises(
        StudioError,
        match=r"no term was logged; a line is written every 2,000 images \(train.log_every\)",
    ):
        draw_curves(Path(), tiny())


def test_draw_curves_refuses_a_log_of_speeds_alone() -> None:
    lines = [
        {"images_seen": 0, "started": {}},
        {"images_seen": 20_032, "images_per_second": 7350.1},
    ]
    Path("log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    with pytest.raises(StudioError, match="methods in closed form have no terms"):
        draw_curves(Path(), tiny("cpca"))
    with Path("log.jsonl").open("a") as log:
        log.write(json.dumps({"images_seen": 20_032, "probe/digit/salient": 0.9}) + "\n")
    assert draw_curves(Path(), tiny("cpca"))


def test_read_log_names_a_missing_or_unreadable_file() -> None:
    with pytest.raises(StudioError, match=r"log\.jsonl: no such file"):
        read_log(Path("run"))
    Path("log.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudioError, match=r"log\.jsonl: cannot be read"):
        read_log(Path())
