"""Terminal, report, model card and comparison state one verdict for a row of the probe."""

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.comparisons import BASE

from studio.compare.summary import summarise
from studio.compare.table import tables
from studio.compare.variant import Variant
from studio.config import resolve
from studio.evaluate.probe_table import show_probe
from studio.evaluate.probes import OWN_CLASSIFIER, TWO_LAYERS
from studio.evaluate.verdict import judge
from studio.export.model_card import describe_probe
from studio.report.findings import find


def row(attribute: str, linear: tuple[float, float], nonlinear: tuple[float, float]) -> dict:
    """Returns a row by both readers. A linear model alone would come to another verdict."""
    return {
        "attribute": attribute,
        "belongs": "salient",
        "metric": "balanced_accuracy",
        "salient": linear[0],
        "common": linear[1],
        "whole": linear[0],
        "chance": 0.5,
        "error": 0.01,
        "n": 100,
        "also": {
            "salient_nonlinear": nonlinear[0],
            "salient_nonlinear_error": 0.01,
            "common_nonlinear": nonlinear[1],
            "common_nonlinear_error": 0.01,
        },
    }


@pytest.fixture
def probe() -> dict[str, Any]:
    return {
        "method": "dig",
        "dataset": "folders",
        "images_seen": 64,
        "protocol": "held-out",
        "eval": "clean",
        "n_train": 100,
        "n_test": 100,
        "rows": [
            row("subtype", (0.59, 0.50), (0.68, 0.67)),
            row("target", (0.51, 0.50), (0.90, 0.50)),
            row("age", (0.90, 0.50), (0.80, 0.53)),
        ],
    }


def test_terminal_report_card_and_comparison_state_one_verdict(
    probe: dict, capsys: pytest.CaptureFixture
) -> None:
    expected = {r["attribute"]: judge(r) for r in probe["rows"]}
    assert [verdict.kind for verdict in expected.values()] == [
        "not separated",
        "separated",
        "nearly separated",
    ]
    show_probe(probe)
    terminal, card = capsys.readouterr().out, describe_probe(probe, 64)
    [found] = [find([SimpleNamespace(probe=probe)], ["run"])]
    assert list(found.verdicts) == list(expected.values())
    config = resolve(yaml.safe_load(BASE), "base", "base", ())
    compared = summarise(Variant("a", "a", "base.yaml", (), config, 1), [], {0: probe}, {})
    result = {
        "name": "n", "protocol": "held-out", "eval": "clean",
        "rows": [{**compared, "parameters": 1, "images_per_second": None}],
    }  # fmt: skip
    cells = {line[1]: line for line in tables(result)[0][2]}
    for name, verdict in expected.items():
        assert f"{verdict.kind}: {verdict.sentence}" in terminal
        assert f"- {verdict.kind}: {verdict.sentence}" in card
        assert compared["verdicts"][name] == {"0": verdict.kind}
        assert cells[name][-1] == verdict.kind


@pytest.mark.parametrize("reader", [OWN_CLASSIFIER, TWO_LAYERS])
def test_terminal_names_the_reader_of_the_salient_code_under_louiset(
    probe: dict, capsys: pytest.CaptureFixture, reader: str
) -> None:
    show_probe(probe)
    assert "read by" not in capsys.readouterr().out
    probe["rows"][1]["also"]["salient_read_by"] = reader
    show_probe(probe)
    assert f"salient code in the row target: read by {reader}\n" in capsys.readouterr().out


def test_model_card_says_when_the_linear_reader_is_alone(probe: dict) -> None:
    words = "An older studio measured them without the non-linear probes."
    assert words not in describe_probe(probe, 64)
    probe["rows"][0]["also"] = {}
    assert words in describe_probe(probe, 64)
