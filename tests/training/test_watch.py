"""`train.stop_when` ends a training where its rule says, also over interruptions."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from support.plain_nets import plain
from support.runs import digest, studio

from studio import Run
from studio.compare.compare import plan
from studio.compare.sweep import resolve_variants
from studio.config import Config, dump, resolve
from studio.errors import StudioError
from studio.evaluate import probes
from studio.render.selection import describe_data
from studio.report import collect, render_page
from studio.runs import checkpoint
from studio.training.session import train

TERM = "vae/kl_s.target"
BATCH = 16


def config_of(term: str = TERM, patience: int | None = 2, **fields: object) -> Config:
    raw = plain("vae", **{"images": 480, "log_every": BATCH, **fields}).model_dump(mode="json")
    raw["train"]["stop_when"] = patience and {"term": term, "patience": patience}
    return resolve(raw, "tiny", "tiny")


def lines(folder: str) -> list[dict]:
    return [json.loads(line) for line in Path(folder, "log.jsonl").read_text().splitlines()]


def end_of(values: list[float], patience: int) -> int | None:
    """Returns after which look the rule ends a training, counted slowly."""
    for n in range(len(values)):
        first = values.index(min(values[: n + 1]))
        if n - first >= patience:
            return n
    return None


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_train_ends_at_the_look_that_the_rule_names(patience: int) -> None:
    train(config_of(patience=None), Path("whole"))
    looks = [(line["images_seen"], line[TERM]) for line in lines("whole") if TERM in line]
    assert len(looks) == 30
    end = end_of([value for _, value in looks], patience)
    assert end is not None
    assert any(a < b for a, b in pairwise(value for _, value in looks[: end + 1]))
    session = train(config_of(patience=patience), Path("early"))
    assert session.engine.images_seen == looks[end][0] < 480
    assert not session.stopped
    reason = session.engine.watch.describe()
    assert lines("early")[-1] == {"images_seen": looks[end][0], "ended": reason}
    newest = checkpoint.newest(Path("early"))
    assert newest is not None
    ended = newest.verify()["ended"]
    best = min(value for _, value in looks[: end + 1])
    assert ended["best"] == pytest.approx(best, rel=1e-6)
    assert (ended["term"], ended["patience"], ended["reason"]) == (TERM, patience, reason)


@pytest.mark.parametrize("first", [16, 64, 80])
def test_resume_ends_at_the_same_image_as_an_uninterrupted_training(first: int) -> None:
    fields = {"log_every": 48, "save_every": 16, "keep": 99}  # most stops lie between two looks
    whole = train(config_of(patience=1, **fields), Path("whole")).engine.images_seen
    assert first < whole < 480
    train(config_of(patience=1, **{**fields, "images": first}), Path("parts"))
    assert train(config_of(patience=1, **fields), Path("parts"), resume=True).engine.watch.ended
    ends = [checkpoint.newest(Path(run)) for run in ("whole", "parts")]
    assert [end and end.images_seen for end in ends] == [whole, whole]
    assert digest(Path("parts"), whole) == digest(Path("whole"), whole)
    watches = [end and end.training()["watch"] for end in ends]
    assert watches[0] == watches[1]
    assert watches[0]


def test_resume_goes_on_after_the_end_only_with_more_patience() -> None:
    ended = train(config_of(patience=1), Path("run")).engine.images_seen
    finished = []
    again = train(config_of(patience=1), Path("run"), resume=True, finish=finished.append)
    assert (again.engine.images_seen, len(finished)) == (ended, 1)
    assert train(config_of(patience=None), Path("run"), resume=True).engine.images_seen == 480


def test_train_refuses_a_term_that_nothing_logs() -> None:
    with pytest.raises(StudioError, match=r"stop_when.term: no such term 'vae/kl_x'; did you mean"):
        train(config_of("vae/kl_x"), Path("a"))
    wrong = "probe/digits/salient"
    with pytest.raises(StudioError, match="did you mean 'probe/digit/salient'"):
        train(config_of(wrong, probe_every=16), Path("b"))
    with pytest.raises(StudioError, match=r"only with train\.probe_every, which is 0"):
        train(config_of("probe/digit/salient"), Path("b"))
    assert not Path("b").exists()
    for value in ("{patience: 2}", "{term: x, patience: 0}", "{term: x, patience: 1, look: 2}"):
        setting = f"train.stop_when={value}"
        assert (
            "train.stop_when."
            in studio("train", "--cfg", "digits_vae", "--set", setting, code=2)[1]
        )


@pytest.mark.parametrize(
    ("space", "values", "looks"),
    [
        ("salient", [0.5, 0.6, 0.6, 0.55, 0.9], 4),  # an attribute of s should be read from s
        ("common", [0.5, 0.6, 0.6, 0.55, 0.9], 3),  # and not from z
    ],
)
def test_a_probe_should_rise_only_where_the_attribute_belongs(
    space: str, values: list[float], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(values)

    def planted(*_: object, **__: object) -> dict:
        value = next(left)
        return {"rows": [{"attribute": "digit", "salient": value, "common": value}]}

    monkeypatch.setattr(probes, "probe_codes", planted)
    config = config_of(f"probe/digit/{space}", 2, probe_every=32)
    assert train(config, Path("run")).engine.images_seen == looks * 32


def test_an_ended_run_is_complete_for_a_comparison_and_its_report_says_why() -> None:
    Path("short.yaml").write_text(dump(config_of(patience=1)))
    variants = {
        n: resolve_variants(["short.yaml"], [f"train.stop_when.patience={n}"], 1, None)
        for n in (1, 9)
    }
    run = Path("all/short-seed0")
    seen = train(variants[1][0].at(0), run).engine.images_seen
    assert seen < 480
    assert plan(variants[1], Path("all"))[0].state == "half"  # not yet probed
    (run / "probe.json").write_text(json.dumps({"rows": [], "images_seen": seen}))
    assert plan(variants[1], Path("all"))[0].state == "done"
    assert plan(variants[9], Path("all"))[0].state == "half"
    opened = Run.open(run)
    facts = collect(run, opened.config, opened.method, describe_data(opened), seen, False)
    assert "; ended by train.stop_when" in render_page([facts])
