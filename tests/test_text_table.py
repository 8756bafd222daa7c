"""Tables in terminals of any width and encoding: numbers stay whole, names are never cut off."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from studio.compare.table import show_comparison
from studio.evaluate.probe_table import show_probe
from studio.evaluate.score_table import show_scores
from studio.text_table import Column, TextTable
from studio.verbs.bench import _show as show_bench

NUMBERS = ("0.123 ↑", "-0.234 ↓", "123,456.789", "0.5678 ± 0.0012 (0.3456)")
WIDTHS = [20, 40, 80, 100, 200, 1000]


def shown(table: TextTable, width: int, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, soft_wrap=True, highlight=False).print(table)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def table_of(names: list[str]) -> TextTable:
    columns = [Column("name", breaks=True), *(Column(f"number {i}", "right") for i in range(4))]
    return TextTable("title", columns, [[name, *NUMBERS] for name in names])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["short", "x" * 300, "many words " * 20, "患者のグレード" * 9])
def test_table_shows_every_number_and_letter_at_any_width(width: int, name: str) -> None:
    text = shown(table_of([name, "second"]), width)
    for number in NUMBERS:
        assert text.count(number) == 2
    assert "…" not in text
    letters = re.sub(r"\s", "", name)
    for letter in set(letters) - set("name number second title"):
        assert text.count(letter) >= letters.count(letter)


def test_table_becomes_a_list_only_when_its_numbers_do_not_fit() -> None:
    table = table_of(["a name of several words"])
    assert "name  " in shown(table, 40)
    assert "number 0  number 1" not in shown(table, 40)
    wide = shown(table, 120).splitlines()
    assert all(number in line for line in wide if "a name of" in line for number in NUMBERS)


def test_table_takes_names_as_they_are_when_they_look_like_markup() -> None:
    text = shown(table_of(["[bold]a[/bold]", "new\nline", "\x1b[31mred"]), 120)
    assert "[bold]a[/bold]" in text
    assert "new\\nline" in text
    assert "\x1b" not in text


def test_table_aligns_plain_signs_when_the_encoding_has_no_arrows() -> None:
    text = shown(table_of(["état", "患者"]), 120, "cp1252")
    assert "0.123 ^" in text
    assert "\\u60a3\\u8005" in text
    ends = {line.index("0.123 ^") for line in text.splitlines() if "0.123 ^" in line}
    assert len(ends) == 1


LONG = "Histological grade (WHO 2021) at first surgery"
PROBE = {
    "method": "dig",
    "dataset": "folders",
    "images_seen": 9,
    "protocol": "held-out",
    "rows": [
        {
            **{"attribute": LONG, "belongs": "salient", "metric": "balanced_accuracy"},
            **{"salient": 0.234, "common": 0.345, "whole": 0.456, "chance": 0.567},
            **{"error": 0.078, "n": 12345, "also": {}},
        }
    ],
}
SCORE = {
    **{"averaged": True, "method": "dig", "dataset": "folders", "checkpoint": 9, "n": 2000},
    **{"extractor": "domain", "features": 64, "weights_sha256": "0" * 64, "resize": "none"},
    **{"seed": 0, "window": "[-1, 1]", "kid_subsets": 9, "kid_subset_size": 99, "neighbours": 3},
    **{"torch_fidelity": "0.3", "about": {}, "notes": []},
    "rows": [
        {
            **{"group": LONG, "against": "background", "n": 2000, "fid": 123.45, "floor": 12.34},
            **{"kid": 0.0123, "kid_error": 0.001, "floor_kid": 0.0045, "is": 1.23, "floor_is": 1.3},
            **{"precision": 0.512, "recall": 0.614},
            **{"floor_precision": 0.912, "floor_recall": 0.914},
        }
    ],
}
COST = {
    **{"seconds": 0.1234, "seconds_least": 0.1111, "processor_seconds": 0.2222},
    **{"images_per_second": 1234.5, "gflop_per_image": 0.4321, "gflop_per_second": 999.9},
    "share_of_ceiling": 0.42,
}
BENCH = {
    **{"shape": [1, 16, 16], "method": "dig", "dataset": "folders", "parameters": 1e6, "batch": 8},
    **{"device": "cpu", "threads": 1, "precision": "no", "ours": COST, "textbook": COST},
    **{"ceiling": {"side": 1024, "gflop_per_second": 99.0}, "speedup": 2.0, "fetch_seconds": 0.1},
    **{"first_seconds": 0.2, "peak_bytes": 1e9, "other_cores": 0.0, "clean": True},
    **{"authors": COST, "authors_speedup": 2.0, "authors_with_cr": None},
    **{"layers": {"seconds": 0.05, "share": 0.4}, "shares": {"other": 1.0}},
}
COMPARISON = (
    "name: probes",
    ["row", "attribute", "metric", "salient", "best", "worst", "common", "best", "worst", "n"],
    [["a", LONG, "R2", *(f"{i}.12{i} ± 0.00{i} ↑" for i in range(1, 7)), "3"]],
)
CALLS = {
    "probe": (
        lambda: show_probe(PROBE),
        ["0.234 ↑", "0.345 ↓", "0.456", "0.567", "0.078", "12,345"],
    ),
    "score": (
        lambda: show_scores([SCORE]),
        ["123.45 (12.34)", "0.0123 ± 0.001 (0.0045)", "1.23 (1.30)", "0.512 (0.912)", "2,000"],
    ),
    "bench": (lambda: show_bench(BENCH), ["0.1234", "0.1111", "0.2222", "1,234.5", "42%"]),
    "compare": (
        lambda: show_comparison({"notes": [], "rows": []}, [COMPARISON]),
        [f"{i}.12{i} ± 0.00{i} ↑" for i in range(1, 7)],
    ),
}


@pytest.mark.parametrize("columns", ["40", "80", "200", None])
@pytest.mark.parametrize("verb", CALLS)
def test_numbers_of_a_verb_stay_whole_when_the_terminal_is_narrow(
    verb: str, columns: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    call, numbers = CALLS[verb]
    call()
    text = capsys.readouterr().out
    lines = [line.rstrip() for line in text.splitlines()]
    for number in numbers:
        assert any(re.search(rf"(^|\s){re.escape(number)}($|\s)", line) for line in lines), number
    assert "…" not in text


def test_no_module_draws_a_table_of_its_own() -> None:
    studio = Path(__file__).resolve().parent.parent / "studio"
    assert not [
        path.name for path in studio.rglob("*.py") if "rich.table" in path.read_text("utf-8")
    ]
