"""Statistics and tables of a comparison, on invented measurements."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from support.comparisons import BASE

from studio.compare.summary import collect_numbers, desired_direction, notes, summarise
from studio.compare.table import show_comparison, tables, write_comparison
from studio.compare.variant import Variant
from studio.config import resolve
from studio.evaluate.verdict import judge


def measured(
    salient: float,
    common: float,
    images: int = 64,
    nonlinear: tuple[float, float] | None = None,
    **more: object,
) -> dict:
    also: dict = {"nonlinear_note": "needs at least 50 training images"}
    if nonlinear is not None:
        also = {"salient_nonlinear_error": 0.01, "common_nonlinear_error": 0.01}
        also |= dict(zip(("salient_nonlinear", "common_nonlinear"), nonlinear, strict=True))
    row = {
        "attribute": "digit",
        "belongs": "salient",
        "metric": "balanced_accuracy",
        "chance": 0.1,
        "salient": salient,
        "common": common,
        "whole": None,
        "error": 0.01,
        "also": also,
    }
    texture = {**row, "attribute": "texture", "belongs": "common"}
    return {"images_seen": images, "rows": [row, texture], **more}


def summed(probes: dict[int, dict], assignments: tuple = ()) -> dict:
    config = resolve(yaml.safe_load(BASE), "base", "base", assignments)
    failed = {"state": "failed", "error": "not finite at iteration 7"}
    runs = [
        {
            "row": "a",
            "seed": s,
            "run": f"out/a-seed{s}",
            "state": "done",
            "images_seen": 64,
            "images": 64,
            "error": None,
        }
        | (failed if s not in probes else {})
        for s in range(3)
    ]
    return summarise(
        Variant("a", "a", "base.yaml", assignments, config, 3),
        runs,
        probes,
        {"parameters": 12345, "images_per_second": 321.5},
    )


def whole(*rows: dict) -> dict:
    result = {
        "name": "n",
        "out": "out",
        "protocol": "held-out",
        "eval": "clean",
        "stopped": "",
        "rows": list(rows),
    }
    return {**result, "notes": notes(result)}


def test_summarise_orders_best_and_worst_by_where_an_attribute_belongs() -> None:
    row = summed({0: measured(0.5, 0.2), 1: measured(0.9, 0.6), 2: measured(0.7, 0.1)})
    read = {key: (n["best"], n["worst"]) for key, n in row["numbers"].items()}
    assert read["digit.salient"] == (0.9, 0.5)
    assert read["digit.common"] == (0.1, 0.6)
    assert read["texture.salient"] == (0.5, 0.9)
    assert read["texture.common"] == (0.6, 0.1)
    number = row["numbers"]["digit.salient"]
    assert number["mean"] == pytest.approx(0.7)
    assert number["sd"] == pytest.approx(0.2)  # of a sample of three
    assert "digit.whole" not in row["numbers"]  # not measured is not zero
    assert summed({0: measured(0.5, 0.2)})["numbers"]["digit.salient"]["sd"] is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("digit.salient", "higher"),
        ("digit.common", "lower"),
        ("digit.whole", "higher"),
        ("digit.salient_nonlinear", "higher"),
        ("texture.salient_nonlinear", "lower"),
        ("texture.common", "higher"),
        ("texture.mae_common", "lower"),
        ("texture.mae_salient", "higher"),
        ("digit.mae_salient", "lower"),
        ("digit.balanced_accuracy_common", "lower"),
        ("digit.other_salient", None),
        ("reconstruction.target", "lower"),
        ("separation.w2_common", "lower"),
        ("separation.attributes.digit.silhouette_salient", "higher"),
        ("separation.attributes.digit.silhouette_common", "lower"),
        ("separation.attributes.texture.tsne.clustering_accuracy_salient", "lower"),
        ("disentangle.factorvae", "higher"),
        ("separation.w2_floor", None),
        ("disentangle.votes_train", None),
    ],
)
def test_desired_direction_of_each_number(key: str, expected: str | None) -> None:
    assert desired_direction(key, {"digit": "salient", "texture": "common"}) == expected


def test_collect_numbers_has_a_key_for_every_finite_number() -> None:
    separation = {
        "w2_common": 1.5,
        "salient_variance_ratio": None,
        "attributes": {"digit": {"silhouette_salient": 0.25, "n": 7}},
    }
    found = collect_numbers(
        measured(
            0.5,
            float("nan"),
            separation=separation,
            reconstruction={"target": 0.125},
            note="x",
            ok=True,
        )
    )
    assert found == {
        "digit.salient": 0.5,
        "texture.salient": 0.5,
        "separation.w2_common": 1.5,
        "reconstruction.target": 0.125,
        "separation.attributes.digit.silhouette_salient": 0.25,
        "separation.attributes.digit.n": 7,
    }


def test_collect_numbers_has_the_metrics_beside_the_headline() -> None:
    probed = measured(0.5, 0.25)
    probed["rows"][0] = {**probed["rows"][0], "also": {"mae_salient": 2.5, "auc_common": 0.75}}
    found = collect_numbers(probed)
    assert (found["digit.mae_salient"], found["digit.auc_common"]) == (2.5, 0.75)
    assert "digit.mae_common" not in found


def test_tables_csv_and_json_hold_the_same_numbers(capsys: pytest.CaptureFixture) -> None:
    more = {"reconstruction": {"target": 0.125}, "disentangle": {"factorvae": 0.5, "mig": 0.25}}
    result = whole(summed({0: measured(0.5, 0.2, **more), 1: measured(0.7, 0.4, **more)}))
    laid_out = tables(result, ["disentangle.mig"], wide=True)
    write_comparison(result, laid_out)
    show_comparison(result, laid_out)
    screen, markdown = capsys.readouterr().out, Path("out/compare.md").read_text()
    lines = list(csv.DictReader(Path("out/compare.csv").read_text().splitlines()))
    assert json.loads(Path("out/compare.json").read_text()) == result
    by_key = {line["key"]: line for line in lines}
    for key, number in result["rows"][0]["numbers"].items():
        assert float(by_key[key]["mean"]) == number["mean"]
        assert [by_key[key][f"seed{s}"] for s in range(3)] == [
            *map(str, number["values"].values()),
            "",
        ]
    assert by_key["digit.salient"]["paper_average"] == "0.8"
    assert by_key["parameters"]["mean"] == "12345"
    assert (
        "| a | digit | balanced accuracy | 0.600 ± 0.141 ↑ | 0.700 | 0.500 | 0.800 (0.900, 0.700) |"
        in markdown
    )
    for text in (screen, markdown):
        for part in (
            "0.600 ± 0.141 ↑",
            "0.800 (0.900, 0.700)",
            "disentangle.mig",
            "reconstruction.target",
            "12,345",
            "322",
            "a-seed2: failed: not finite at iteration 7",
        ):
            assert part in text
        assert "disentangle.factorvae" not in text  # not asked for
    columns = {
        len(line)
        for title, names, cells in laid_out
        for line in [names, *cells]
        if title.endswith("(held-out, clean)")
    }
    assert len(columns) == 1


def test_tables_show_the_nonlinear_reader_and_the_verdict_that_rests_on_it() -> None:
    # By the linear reader alone the digit would be in neither code.
    probes = {
        0: measured(0.11, 0.1, nonlinear=(0.9, 0.1)),
        1: measured(0.11, 0.1, nonlinear=(0.9, 0.5)),
    }
    result = whole(summed(probes))
    [(_, columns, [digit, texture]), *_] = tables(result)
    shown = dict(zip(columns, digit, strict=True))
    assert shown["salient, non-linear"] == "0.900 ± 0.000 ↑"
    assert shown["common, non-linear"] == "0.300 ± 0.283 ↓"
    assert shown["chance"] == "0.100"
    assert shown["verdict"] == "1 x separated, 1 x leaks"
    assert texture[-1] == "wrong code"
    [row] = result["rows"]
    for seed, probed in probes.items():
        for one in probed["rows"]:
            assert row["verdicts"][one["attribute"]][str(seed)] == judge(one).kind
    assert row["numbers"]["digit.salient_nonlinear"]["best"] == 0.9
    write_comparison(result, tables(result))
    assert "digit.salient_nonlinear" in Path("out/compare.csv").read_text()
    assert "| 1 x separated, 1 x leaks |" in Path("out/compare.md").read_text()


def test_notes_name_a_run_that_has_the_linear_reader_alone() -> None:
    old = measured(0.5, 0.2)
    for row in old["rows"]:
        row["also"] = {}
    text = "\n".join(whole(summed({0: old, 1: measured(0.5, 0.2)}, ("paper=null",)))["notes"])
    assert "a, seed 0: measured by an older studio without the non-linear reader" in text
    assert "delete out/a-seed0/probe.json" in text
    assert "seed 1" not in text


def test_tables_show_the_papers_value_of_a_row_without_runs() -> None:
    result = whole(summed({}))
    cells = tables(result)[0][2]
    assert cells == [["a", "digit", "", "-", "0.800 (0.900, 0.700)", "-", "-", "-", "0", "-"]]
    assert result["rows"][0]["numbers"]["digit.salient"]["mean"] is None


def test_notes_state_differences_between_rows() -> None:
    a = summed({0: measured(0.5, 0.2, images=64), 1: measured(0.5, 0.2, images=96)})
    b = summed(
        {0: measured(0.5, 0.2)}, ("train.images=128", "paper.attributes={colour: {common: 0.5}}")
    )
    text = "\n".join(whole(a, b)["notes"])
    assert "a: measured at 64, 96 images, its budget is 64" in text
    assert "budgets differ: 64, 128 images" in text
    assert "the paper measured by carton, this table by held-out: --protocol carton" in text
    assert "the paper measured by authors, this table by clean: --eval authors" in text
    assert "the paper trained on 1,000 images, this comparison on 64" in text
    assert "paper.attributes.colour: not measured here" in text
    assert tables(whole(a, b))[-1][2][0][4] == "64, 96 *"
    plain = summed({0: measured(0.5, 0.2)}, ("paper=null",))
    assert whole(plain)["notes"] == []
