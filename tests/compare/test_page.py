"""The page of a comparison: self-contained, with its tables, chart, remarks and pictures."""

from pathlib import Path

import pytest
from PIL import Image
from support.html_page import check_page

from studio.compare.curve import draw_curves, find_curves
from studio.compare.page import comparison_page, draw_probes
from studio.compare.table import tables


def number(*values: float) -> dict:
    return {
        "n": len(values),
        "mean": sum(values) / len(values),
        "sd": None,
        "best": max(values),
        "worst": min(values),
        "better": "higher",
        "values": {str(seed): value for seed, value in enumerate(values)},
        "paper": None,
    }


@pytest.fixture
def result() -> dict:
    runs = [
        {"row": "<dig>", "seed": seed, "run": f"out/dig-seed{seed}", "state": state}
        | {"images_seen": 64, "images": 64, "error": None, "data_note": None}
        for seed, state in enumerate(("done", "half"))
    ]
    row = {
        "label": "<dig>",
        "config": "dig",
        "set": [],
        "budget": 64,
        "images_seen": [64],
        "attributes": {"digit": {"belongs": "salient", "metric": "r2", "chance": 0.1}},
        "verdicts": {"digit": {"0": "separated"}},
        "numbers": {"digit.salient": number(0.9, 0.7), "digit.common": number(0.2, 0.3)},
        "images_per_second": 10.0,
        "parameters": 1_000,
        "show": [],
        "runs": runs,
        "paper": None,
    }
    head = {"name": "mine", "out": "out", "protocol": "held-out", "eval": "clean"}
    return {**head, "rows": [row], "notes": ["budgets differ"]}


def test_page_has_chart_tables_remarks_and_one_picture_per_row(result: dict) -> None:
    path = Path("out/dig-seed0/grids/heal.png")
    path.parent.mkdir(parents=True)
    Image.new("RGB", (40, 20), "red").save(path)
    page = comparison_page(result, tables(result))
    read = check_page(page)
    assert len(read.all("img")) == 2  # the chart and the picture
    said = read.text()
    for part in ("Comparison mine", "note: budgets differ", "0.800", "dig-seed1: not complete"):
        assert part in said
    assert "<dig>" not in page
    assert "&lt;dig&gt;" in page


def test_page_of_runs_without_pictures_and_numbers_has_only_tables(result: dict) -> None:
    result["rows"][0] |= {"attributes": {}, "numbers": {}, "verdicts": {}}
    assert check_page(comparison_page(result, tables(result))).all("img") == []


def test_page_draws_a_number_that_varies(result: dict) -> None:
    row = result["rows"][0]
    result["rows"] = [{**row, "set": [f"method.z={n}"]} for n in (4, 8, 16)]
    curves = draw_curves(find_curves(result["rows"]))
    read = check_page(comparison_page(result, tables(result), curves))
    assert len(read.all("img")) == 2  # both charts
    assert "Against a number of the config" in read.text()


def test_page_divides_the_chart_of_many_attributes_and_rows(result: dict) -> None:
    row = result["rows"][0]
    names = [f"factor{i}" for i in range(26)]
    known = dict.fromkeys(names, row["attributes"]["digit"])
    numbers = {f"{name}.salient": number(0.5) for name in names}
    result["rows"] = [{**row, "attributes": known, "numbers": numbers}] * 18
    images = check_page(comparison_page(result, tables(result))).all("img")
    assert len(images) == 3  # 11 attributes of 6.8 inches each in a chart


def test_chart_shows_a_mean_where_it_is(result: dict) -> None:
    low = draw_probes(result["rows"]).tobytes()
    assert low == draw_probes(result["rows"]).tobytes()
    result["rows"][0]["numbers"]["digit.common"] = number(0.2, 0.5)
    high = draw_probes(result["rows"]).tobytes()
    assert low != high
