"""The probe table in the terminal."""

import pytest
from rich.console import Console

from studio.evaluate.probe_table import metric_lines, probe_table


@pytest.mark.parametrize("letters", [5, 46, 80, 300])
@pytest.mark.parametrize("width", [100, 140])
def test_probe_table_shows_every_number_whole_beside_a_long_name(letters: int, width: int) -> None:
    row = {
        "attribute": "x" * letters,
        "belongs": "salient",
        "metric": "balanced_accuracy",
        "salient": 0.234,
        "common": 0.345,
        "whole": 0.456,
        "chance": 0.567,
        "error": 0.078,
        "n": 12345,
        "also": {},
    }
    head = {"method": "dig", "dataset": "folders", "images_seen": 9, "protocol": "held-out"}
    console = Console(width=width, soft_wrap=True, highlight=False)
    with console.capture() as capture:
        console.print(probe_table({**head, "rows": [row]}))
    text = capture.get()
    for number in ("0.234 ↑", "0.345 ↓", "0.456", "0.567", "0.078", "12,345"):
        assert number in text
    assert text.count("x") == letters
    assert "…" not in text


def test_metric_lines_state_errors_of_numbers_and_balanced_accuracies() -> None:
    scores = {"mae_salient": 7.984, "mae_common": 4.5, "balanced_accuracy_salient": 0.5}
    scores |= {"balanced_accuracy_common": 0.625}
    parts = {key: {k: v for k, v in scores.items() if k.startswith(key)} for key in ("mae", "bal")}
    rows = [
        {"attribute": "age", "metric": "r2", "also": parts["mae"]},
        {"attribute": "site", "metric": "accuracy", "also": parts["bal"]},
        {"attribute": "target", "metric": "auc", "also": parts["bal"]},
        {"attribute": "sans", "metric": "r2", "also": {"note": "not probed"}},
    ]
    assert metric_lines(rows) == [
        "mean absolute error of age: salient 7.98, common 4.5",
        "balanced accuracy of site: salient 0.5, common 0.625",
    ]
