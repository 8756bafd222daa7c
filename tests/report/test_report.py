"""The report: a complete, self-contained page with all measurements, in which data is escaped."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.experiments import tiny
from support.html_page import Page, check_page
from typer.testing import CliRunner

from studio import Run, cli
from studio.errors import StudioError
from studio.evaluate.verdict import judge, judge_distance
from studio.report import Facts, collect, facts, render_page
from studio.report.page import MOST_BYTES
from studio.training import session, summary

EVIL = "<script>alert(1)<b>&\"'\x00"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny training with grids, checkpoints, log, probe, pictures and report."""
    folder = tmp_path_factory.mktemp("a place") / "first run"
    session.train(
        tiny(images=96, log_every=16, grid_every=32, save_every=48), folder, finish=summary.finish
    )
    return folder


@pytest.fixture(scope="module")
def described(run: Path) -> Facts:
    opened = Run.open(run)
    return collect(run, opened.config, opened.method, opened.data, opened.images_seen)


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_training_ends_with_a_complete_report(run: Path, described: Facts) -> None:
    written = (run / "report.html").read_text(encoding="utf-8")
    read = Page(written)
    said = read.text()
    probe = json.loads((run / "probe.json").read_text())
    for row in probe["rows"]:
        assert judge(row).sentence in said
    assert judge_distance(probe["separation"]["salient_distance_auc"]).sentence in said
    assert "Robin Louiset, Pietro Gori. Double InfoGAN" in said
    assert "96 of 96, both sets together" in said
    assert "mixed_precision: 'no'" in said, "the resolved config"
    assert "studio train --cfg config.yaml" in said
    assert described.environment["torch"] in said
    assert "3 frames, grids that the training drew" in said
    assert len(read.all("figure")) == len(described.pictures) + 1 == 11
    for picture in described.pictures.values():
        assert picture.info["caption"] in said
    assert (run / "grids" / "training.webp").is_file()
    assert (run / "grids" / "curves.png").is_file()
    assert written == render_page([described]), "the verb writes the page that the training wrote"


def test_page_is_self_contained(described: Facts) -> None:
    text = render_page([described])
    check_page(text)
    assert len(text) < 6_000_000


def test_page_stays_small_with_large_pictures(described: Facts) -> None:
    large = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8))
    noisy = replace(described, pictures={"heal": large}, animation=None)
    assert large.width * large.height * 3 > MOST_BYTES, "more than there is room for"
    text = render_page([noisy, replace(noisy, pictures={}), replace(noisy, pictures={})])
    assert 500_000 < len(text) < 6_000_000


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_page_escapes_every_text_from_data(described: Facts) -> None:
    assert described.probe is not None
    rows = [
        {**described.probe["rows"][0], "attribute": EVIL},
        {**described.probe["rows"][1], "salient": None, "also": {"note": EVIL}},
    ]
    separation = {
        **described.probe["separation"],
        "attributes": {EVIL: {"n": 3, "note": EVIL}},
        "note": EVIL,
    }
    config = described.config.model_copy(
        update={"name": EVIL, "data": described.config.data.model_copy(update={"root": EVIL})}
    )
    picture = next(iter(described.pictures.values())).copy()
    picture.info = {"title": EVIL, "caption": EVIL}
    evil = replace(
        described,
        config=config,
        folder=Path(EVIL.replace("\0", "")),
        paper=EVIL,
        notes=[EVIL],
        environment={EVIL: EVIL, "command": EVIL},
        probe={
            **described.probe,
            "rows": rows,
            "separation": separation,
            "protocol": EVIL,
            "disentangle": {EVIL: {EVIL: EVIL}},
        },
        scores=[scored(96, extractor=EVIL, notes=[EVIL])],
        pictures={"heal": picture},
        animation=None,
        missing={"training": EVIL, "curves": EVIL},
    )
    for text in (render_page([evil]), render_page([evil, described])):
        read = check_page(text)
        assert not read.all("b") or all("style" in bar for bar in read.all("b")), (
            "only our bars' marks"
        )
        assert read.text().count("<script>alert(1)<b>&\"'�") > 15
        assert "\x00" not in text


def test_page_shows_several_runs_side_by_side(described: Facts) -> None:
    assert described.probe is not None
    worse = [
        {**row, "salient": row["chance"], "common": 0.99, "error": 0.001}
        for row in described.probe["rows"]
    ]
    config = described.config.model_copy(update={"seed": 7})
    second = replace(
        described,
        folder=Path("runs/second"),
        config=config,
        probe={**described.probe, "rows": worse},
    )
    third = replace(
        described,
        folder=Path("runs/third"),
        probe=None,
        pictures={},
        animation=None,
        missing={"probe": "not measured"},
    )
    read = check_page(render_page([described, second, third]))
    said = read.text()
    assert len(read.all("figure")) == 2 * (len(described.pictures) + 1)
    for facts_of in (described, second):
        for row in facts_of.probe["rows"]:
            assert judge(row).sentence in said
    assert "3 runs side by side" in said
    folded = [words for tag, words in read.words if tag == "summary"]
    assert [tags for tags in read.all("details") if "open" in tags] == []
    assert folded[:2] == ["first run: all measurements", "second: all measurements"]
    assert "Not measured: third" in said
    assert "Fields of the configs that differ" in said
    assert "field first run second third seed 0 7 0" in said
    same = replace(described, folder=Path("elsewhere/first run"))
    assert "elsewhere/first run" in render_page([described, same])


def test_report_names_the_missing_parts(other: Path) -> None:
    (other / "log.jsonl").unlink()
    shutil.rmtree(other / "grids")
    shutil.rmtree(other / "checkpoints" / "00000048")
    (other / "probe.json").unlink()
    result = CliRunner().invoke(cli.app, ["report", str(other), "--no-probe", "--out", "page.html"])
    assert result.exit_code == 0, result.exception
    assert result.stdout == "page.html\n"
    said = check_page(Path("page.html").read_text(encoding="utf-8")).text()
    assert "log.jsonl: no such file" in said
    assert "No animation: " in said
    assert "found 0 grids of the training and 1 checkpoints" in said
    assert "Not measured: copy" in said
    assert "Not scored" in said
    assert "duration" not in said, "a row without a value is left out"
    assert not (other / "probe.json").exists(), "a report writes nothing but itself"


@pytest.mark.parametrize(
    "spoilt", ["none", "of another checkpoint", "no JSON", "no rows", "half a row"]
)
def test_collect_probes_the_codes_if_probe_json_cannot_be_used(
    spoilt: str, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = other / "probe.json"
    found = json.loads(path.read_text())
    fresh = json.loads(json.dumps({**found, "rows": [{**row, "n": 4242} for row in found["rows"]]}))
    monkeypatch.setattr("studio.evaluate.measure.measure", lambda method, dataset: fresh)
    for slow in ("draw_curves", "animate"):
        monkeypatch.setattr(
            facts,
            slow,
            lambda *given, **named: (_ for _ in ()).throw(StudioError("not drawn here")),
        )
    opened = Run.open(other)
    here = other, opened.config, opened.method, opened.data, opened.images_seen
    assert collect(*here, pictures={}).probe == found
    text = {
        "none": None,
        "of another checkpoint": json.dumps({**found, "images_seen": 48}),
        "no JSON": "{",
        "no rows": "{}",
        "half a row": json.dumps({**found, "rows": [{"attribute": "digit"}]}),
    }[spoilt]
    path.unlink() if text is None else path.write_text(text)
    assert collect(*here, pictures={}).probe == fresh
    unmeasured = collect(*here, pictures={}, with_probe=False)
    assert unmeasured.probe is None


def test_collect_probes_the_codes_if_an_older_studio_had_no_nonlinear_reader(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = other / "probe.json"
    found = json.loads(path.read_text())
    old = {**found, "rows": [{**row, "also": {}} for row in found["rows"]]}
    path.write_text(json.dumps(old))
    monkeypatch.setattr("studio.evaluate.measure.measure", lambda method, dataset: found)
    for slow in ("draw_curves", "animate"):
        monkeypatch.setattr(
            facts, slow, lambda *_, **__: (_ for _ in ()).throw(StudioError("not drawn here"))
        )
    opened = Run.open(other)
    here = other, opened.config, opened.method, opened.data, opened.images_seen
    fresh, kept = (collect(*here, pictures={}, with_probe=answer) for answer in (True, False))
    assert (fresh.probe, kept.probe) == (found, old)
    assert facts.LINEAR_ONLY in kept.notes
    assert facts.LINEAR_ONLY not in fresh.notes


def scored(checkpoint: int, **changed: object) -> dict:
    """Returns an entry of `score.json` with two groups."""
    shared = dict.fromkeys(("precision", "recall", "floor_precision", "floor_recall"), 0.25)
    row = {
        **shared,
        "group": "swaps",
        "against": "target",
        "fid": 100 / checkpoint,
        "floor": 0.5,
        "kid": 0.125,
        "kid_error": 0.01,
        "floor_kid": 0.001,
        "is": None,
        "is_error": None,
        "floor_is": None,
        "n": 2000,
        "key": "0123456789abcdef",
    }
    return {
        "method": "dig",
        "dataset": "digits",
        "checkpoint": checkpoint,
        "averaged": True,
        "n": 2000,
        "extractor": "domain",
        "features": 64,
        "weights_sha256": "fedcba9876543210",
        "resize": "none",
        "seed": 0,
        "window": "w",
        "kid_subsets": 20,
        "kid_subset_size": 1000,
        "neighbours": 3,
        "torch_fidelity": "0.4.0",
        "about": {},
        "notes": [],
        "rows": [row, {**row, "group": "healed targets", "against": "background"}],
        **changed,
    }


def test_page_shows_scores_of_one_checkpoint_and_a_curve_of_all(described: Facts) -> None:
    one = check_page(render_page([replace(described, scores=[scored(96)])]))
    said = one.text()
    assert (
        "checkpoint 96, averaged weights; n 2,000, extractor domain (64 features, weights "
        "fedcba987654)" in said
    )
    assert (
        "generated against FID ↓ KID ↓ IS ↑ precision ↑ recall ↑ n swaps target 1.04 (0.50) "
        "0.1250 ± 0.010 (0.0010) - (-)" in said
    )
    assert "0123456789abcdef" not in said, "what only the studio needs"
    assert len(one.all("figure")) == len(described.pictures) + 1
    several = check_page(
        render_page([replace(described, scores=[scored(seen) for seen in (48, 96, 144)])])
    )
    assert said.count("healed targets") == several.text().count("healed targets") == 1, (
        "one table, of the report's checkpoint"
    )
    assert "1.04 (0.50)" in several.text()
    assert "FID and KID by domain of 3 checkpoints" in several.text()
    assert len(several.all("figure")) == len(one.all("figure")) + 1
    apart = check_page(render_page([replace(described, scores=[scored(48, n=500), scored(96)])]))
    assert len(apart.all("figure")) == len(one.all("figure")), "numbers of another n are no curve"
    assert apart.text().count("healed targets") == 2


def test_read_valid_scores_skips_damaged_entries(
    other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, one = other / "score.json", scored(96)
    for written, many in (
        ({"scores": [one, scored(48)]}, 2),
        ({"scores": [one, {**one, "rows": [{"group": EVIL}]}]}, 1),
        ({"scores": [{**one, "n": EVIL}]}, 0),
        ({"scores": [one, 4]}, 0),
        ([one], 0),
        ({}, 0),
        ("x", 0),
        (3, 0),
    ):
        path.write_text(json.dumps(written))
        found = facts.read_valid_scores(other)
        assert len(found) == many
        assert ("left out of the report" in capsys.readouterr().err) == (many < 2), written
        assert not found or found[-1] == one
    path.write_text("{")
    assert facts.read_valid_scores(other) == []
    path.unlink()
    capsys.readouterr()
    assert facts.read_valid_scores(other) == []
    assert capsys.readouterr().err == ""


def test_measure_duration_adds_up_all_sessions() -> None:
    lines = [
        {"images_seen": 0, "started": {}},
        {"images_seen": 100, "images_per_second": 10.0},
        {"images_seen": 200, "images_per_second": 20.0},
        {"images_seen": 150, "started": {}},
        {"images_seen": 250, "images_per_second": 50.0, "other": 1},
        {"images_seen": 260, "probe/digit/salient": 0.5},
    ]
    assert facts.measure_duration(lines) == pytest.approx(200 / 20 + 100 / 50)
    assert facts.measure_duration(lines[:1]) is None


def test_interrupted_training_writes_no_report() -> None:
    session.train(tiny(images=9600), Path("run"), stop_after=0.0, finish=summary.finish)
    assert not Path("run/report.html").exists()


def test_failing_report_does_not_lose_the_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(summary, "measure", lambda method, dataset: {"protocol": "x", "rows": []})
    monkeypatch.setattr("studio.render.registry.draw_pictures", lambda method, dataset, seed: [])
    for error in (StudioError("the disk is odd"), OSError("the disk is odd")):
        monkeypatch.setattr(
            "studio.report.collect", lambda *a, error=error, **k: (_ for _ in ()).throw(error)
        )
        shutil.rmtree("run", ignore_errors=True)
        session.train(tiny(images=16), Path("run"), finish=summary.finish)
        assert json.loads(Path("run/probe.json").read_text())["images_seen"] == 16
        assert not Path("run/report.html").exists()
        assert "no report: the disk is odd; studio report run writes it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "nothing: no such run"),
        (["RUN", "nothing"], "nothing: no such run"),
        (["RUN", "--out", "page.png"], "--out page.png: expected a name that ends in .html"),
        (["RUN", "RUN", "--checkpoint", "48"], "--checkpoint 48: is for one run, found 2"),
        (["RUN", "--checkpoint", "47"], "no checkpoint 47; there are: 48, 96"),
    ],
)
def test_report_refuses_wrong_arguments_in_one_line(
    run: Path, arguments: list[str], words: str
) -> None:
    result = CliRunner().invoke(
        cli.app, ["report", *(str(run) if word == "RUN" else word for word in arguments)]
    )
    assert isinstance(result.exception, StudioError)
    assert words in str(result.exception)
