"""The probe table in the terminal."""

import pytest
from rich.console import Console

from studio.evaluate.probe_table import probe_table


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
