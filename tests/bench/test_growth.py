"""`studio bench --growth`: a process per value, the expected line, and the picture."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from studio.bench import growth
from studio.bench.growth import measure_growth
from studio.cli import app
from studio.errors import StudioError

SMALL = ["nets.width=4", "train.threads=1", "train.mixed_precision=no"]


def pretend(monkeypatch: pytest.MonkeyPatch, costs: dict[int, tuple[float, float]]) -> list[str]:
    """Replaces the processes: batch -> (seconds of an iteration, GFLOP per image)."""
    called: list[str] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        called.append(" ".join(command[3:]))
        batch = int(next(word for word in command if word.startswith("train.batch=")).split("=")[1])
        seconds, gflop = costs[batch]
        result = {
            "ours": {"seconds": seconds, "gflop_per_image": gflop},
            "batch": batch,
            "peak_bytes": 10**9,
            "clean": True,
        }
        return SimpleNamespace(returncode=0, stdout=json.dumps(result), stderr="")

    monkeypatch.setattr(growth.subprocess, "run", run)
    return called


def test_measure_growth_expects_what_the_operations_say(monkeypatch: pytest.MonkeyPatch) -> None:
    called = pretend(monkeypatch, {8: (4.0, 2.0), 16: (10.0, 6.0)})
    rows = measure_growth("digits_dig", ["nets.width=4"], "train.batch", [8, 16], 3)
    assert [row["seconds_per_image"] for row in rows] == [0.5, 0.625]
    assert [row["expected"] for row in rows] == [0.5, 1.5]
    assert called[1] == (
        "bench --cfg digits_dig --set nets.width=4 --set train.batch=16 --no-naive --json "
        "--iterations 3"
    )


def test_measure_growth_measures_in_processes() -> None:
    rows = measure_growth("digits_dig", [*SMALL, "train.batch=8"], "data.resolution", [32, 64], 1)
    assert [row["value"] for row in rows] == [32, 64]
    assert all(row["seconds_per_image"] > 0 and row["bytes"] > 10**8 for row in rows)
    assert rows[1]["gflop_per_image"] > 4 * rows[0]["gflop_per_image"]


def test_measure_growth_refuses_a_single_value() -> None:
    with pytest.raises(StudioError, match=r"train\.batch: found 1 value, expected at least"):
        measure_growth("digits_dig", [], "train.batch", [8], 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--growth", "train.batch=8,3"], "--growth train.batch=3: train.batch: found 3, expected"),
        (["--growth", "train.bach=8,16"], "--growth train.bach=8: train.bach: no such field; did"),
        (
            ["--growth", "train.batch=8,16", "--out", "x.txt"],
            "--out x.txt: expected a name that ends in .png",
        ),
        (["--out", "x.png"], "--out: draws the growth, so it needs --growth a.b=v1,v2"),
    ],
)
def test_bench_refuses_a_growth_that_cannot_be_measured(
    monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    if words[1] == "train.batch=8,3":  # the first value is measured
        run = growth._bench
        pretended = {"ours": {"seconds": 1, "gflop_per_image": 1}, "batch": 8, "peak_bytes": 1}
        monkeypatch.setattr(
            growth,
            "_bench",
            lambda cfg, settings, n: (
                {**pretended, "clean": True}
                if settings[-1] == "train.batch=8"
                else run(cfg, settings, n)
            ),
        )
    found = CliRunner().invoke(app, ["bench", "--cfg", "digits_dig", *words])
    assert found.exit_code != 0
    assert message in (found.stderr + str(found.exception or ""))
    assert not Path("x.png").exists()


def test_bench_prints_and_draws_the_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {8: (4.0, 2.0), 16: (10.0, 6.0)})
    words = ["bench", "--growth", "train.batch=8,16", "--out", "growth.png"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "0.625" in shown.stdout
    assert "train.batch" in shown.stdout
    with Image.open("growth.png") as picture:
        assert picture.size[0] > 600
    as_json = json.loads(CliRunner().invoke(app, [*words[:-2], "--json"]).stdout)
    assert [row["expected"] for row in as_json["growth"]["train.batch"]] == [0.5, 1.5]
