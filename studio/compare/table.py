"""Tables of a comparison: in the terminal, and with the same numbers as Markdown, CSV and JSON."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from studio.atomic import write_file
from studio.compare.summary import NONLINEAR
from studio.errors import StudioError, nearest
from studio.evaluate.probe_table import METRICS
from studio.terminal import open_console
from studio.text_table import Column, TextTable

__all__ = [
    "TableText",
    "check_keys",
    "remark_lines",
    "show_comparison",
    "tables",
    "write_comparison",
]

NOTHING = "-"
TEXTS = ("row", "attribute", "metric", "number")  # columns of words; the others are numbers
COLUMNS = (
    "row",
    "key",
    "better",
    "n",
    "mean",
    "sd",
    "best",
    "worst",
    "paper_average",
    "paper_sd",
    "paper_best",
    "paper_worst",
)
TableText = tuple[str, list[str], list[list[str]]]  # title, columns, cells


def tables(
    result: Mapping[str, Any], show: Sequence[str] = (), wide: bool = False
) -> list[TableText]:
    """Arranges a comparison in tables.

    Args:
        result: of `compare`.
        show: keys of further numbers.
        wide: also show the probes of both codes together.

    Returns:
        tables of text, each with a title, columns and cells: the probes, further numbers, the cost.
    """
    by = f"{result['protocol']}, {result['eval']}"
    probes = _probe_rows(
        result["rows"], ("salient", "common", "whole") if wide else ("salient", "common")
    )
    wanted = [key for row in result["rows"] for key in [*_paper_keys(row), *row["show"]]]
    further = list(
        _number_rows(result["rows"], [*wanted, *show, *_reconstruction_keys(result["rows"])])
    )
    head = ["row", "number", "mean ± sd", "best", "worst", "paper", "runs"]
    cost = [
        [
            row["label"],
            *(str(_count(row, state)) for state in ("done", "failed")),
            str(_count_incomplete(row)),
            _images_text(row),
            _integer_text(row["images_per_second"]),
            _integer_text(row["parameters"]),
        ]
        for row in result["rows"]
    ]
    return [
        *([(f"{result['name']}: probes of each code ({by})", *probes)] if probes[1] else []),
        *([(f"{result['name']}: further numbers", head, further)] if further else []),
        (
            f"{result['name']}: cost",
            ["row", "done", "failed", "not complete", "images", "images/s", "parameters"],
            cost,
        ),
    ]


def check_keys(result: Mapping[str, Any], show: Sequence[str]) -> list[str]:
    """Checks the keys given by `--show`. They are accepted unchecked while no run has any number.

    Raises:
        StudioError: no run has a number of this name. The message suggests the nearest.
    """
    known = {key for row in result["rows"] for key in row["numbers"]}
    unknown = [key for key in show if key not in known]
    if known and unknown:
        raise StudioError(
            f"--show {unknown[0]}: no run has such a number{nearest(unknown[0], sorted(known))}"
        )
    return list(show)


def show_comparison(result: Mapping[str, Any], shown: Sequence[TableText]) -> None:
    """Prints the tables, the failures and the notes. Names are never cut off."""
    console = open_console()
    for title, columns, cells in shown:
        shaped = [
            Column(column, breaks=True) if column in TEXTS else Column(column, "right")
            for column in columns
        ]
        console.print(TextTable(title, shaped, cells, bold=True))
    for line in remark_lines(result):
        console.print(line, markup=False)


def write_comparison(result: Mapping[str, Any], shown: Sequence[TableText]) -> list[Path]:
    """Writes `compare.md`, `compare.csv` and `compare.json` and returns their paths.

    Each file is written completely or not at all.

    Raises:
        StudioError: the folder cannot be written.
    """
    out = Path(result["out"])
    texts = {
        "compare.md": _markdown(result, shown),
        "compare.csv": _csv(result["rows"]),
        "compare.json": json.dumps(result, indent=2, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        write_file(out / name, partial(_write_as_is, text))
    return [out / name for name in texts]


def _write_as_is(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", newline="")  # the CSV has line ends of its own


def _probe_rows(
    rows: Sequence[Mapping[str, Any]], spaces: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Returns a line per row and attribute.

    Columns for best, worst, paper and the non-linear reader exist only if some row has such values.
    """
    names = dict.fromkeys(
        key.rpartition(".")[0] for row in rows for key in row["numbers"] if key.endswith(".salient")
    )
    names |= dict.fromkeys(name for row in rows for name in row["attributes"])
    numbers = [number for row in rows for number in row["numbers"].values()]
    spread = any(number["n"] > 1 for number in numbers)
    published = any(number["paper"] for number in numbers)
    nonlinear = [
        f"{code}{NONLINEAR}"
        for code in ("salient", "common")
        if any(f"{name}.{code}{NONLINEAR}" in row["numbers"] for row in rows for name in names)
    ]
    columns = ["row", "attribute", "metric"]
    for space in spaces:
        parts = ["best", "worst"] * spread + ["paper"] * published
        columns += ["both" if space == "whole" else space, *parts]
    columns += [f"{key.removesuffix(NONLINEAR)}, non-linear" for key in nonlinear]
    cells = []
    for row in rows:
        for name in names:
            known = row["attributes"].get(name, {})
            shown = [row["numbers"].get(f"{name}.{space}", {}) for space in spaces]
            if not known and not any(shown):
                continue
            line = [row["label"], name, METRICS.get(known.get("metric"), known.get("metric") or "")]
            for number in shown:
                line.append(_mean_text(number))
                if spread:
                    line += [_number_text(number.get(end)) for end in ("best", "worst")]
                line += [_paper_text(number)] * published
            line += [_mean_text(row["numbers"].get(f"{name}.{key}", {})) for key in nonlinear]
            n = str(max(number.get("n", 0) for number in shown))
            cells.append([*line, _number_text(known.get("chance")), n, _verdict_text(row, name)])
    return [*columns, "chance", "runs", "verdict"], cells


def _verdict_text(row: Mapping[str, Any], attribute: str) -> str:
    """Returns the verdict of the trainings of a row, with their numbers if they differ."""
    counts = Counter(row["verdicts"].get(attribute, {}).values())
    if len(counts) < 2:
        return next(iter(counts), NOTHING)
    return ", ".join(f"{n} x {kind}" for kind, n in counts.most_common())


def _number_rows(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Iterator[list[str]]:
    for row in rows:
        for key in dict.fromkeys(keys):
            number = row["numbers"].get(key)
            if number is not None:
                yield [
                    row["label"],
                    key,
                    _mean_text(number),
                    _number_text(number["best"]),
                    _number_text(number["worst"]),
                    _paper_text(number),
                    str(number["n"]),
                ]


def _paper_keys(row: Mapping[str, Any]) -> list[str]:
    return list((row["paper"] or {}).get("numbers", {}))


def _reconstruction_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    errors = ("reconstruction.background", "reconstruction.target")
    return [key for key in errors if any(key in row["numbers"] for row in rows)]


def _count(row: Mapping[str, Any], state: str) -> int:
    return sum(run["state"] == state for run in row["runs"])


def _count_incomplete(row: Mapping[str, Any]) -> int:
    return len(row["runs"]) - _count(row, "done") - _count(row, "failed")


def _integer_text(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _images_text(row: Mapping[str, Any]) -> str:
    """Returns the numbers of images at which a row was measured.

    A star marks a row that was not measured at its budget.
    """
    mark = "" if row["images_seen"] in ([], [row["budget"]]) else " *"
    return f"{', '.join(f'{n:,}' for n in row['images_seen']) or NOTHING}{mark}"


def _mean_text(number: Mapping[str, Any]) -> str:
    if number.get("mean") is None:
        return NOTHING
    arrow = {"higher": " ↑", "lower": " ↓"}.get(number["better"], "")
    spread = "" if number["sd"] is None else f" ± {_number_text(number['sd'])}"
    return f"{_number_text(number['mean'])}{spread}{arrow}"


def _paper_text(number: Mapping[str, Any]) -> str:
    """Returns the paper's average with its spread, or with the best and worst in brackets."""
    paper = number.get("paper")
    if not paper:
        return NOTHING
    text = _number_text(paper["average"]) if "average" in paper else ""
    if "sd" in paper:
        text += f" ± {_number_text(paper['sd'])}"
    ends = [_number_text(paper[end]) for end in ("best", "worst") if end in paper]
    return f"{text} ({', '.join(ends)})".strip() if ends else text


def _number_text(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def remark_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the notes of a comparison, and a line for each training that is not complete."""
    lines = [f"note: {note}" for note in result["notes"]]
    for row in result["rows"]:
        for run in row["runs"]:
            if run["state"] != "done":
                state = {"half": "not complete", "missing": "not trained"}.get(
                    run["state"], run["state"]
                )
                progress = f"{run['images_seen']:,} of {run['images']:,} images"
                lines.append(f"{Path(run['run']).name}: {state}: {run['error'] or progress}")
    return lines


def _markdown(result: Mapping[str, Any], shown: Sequence[TableText]) -> str:
    parts = [f"# {result['name']}"]
    for title, columns, cells in shown:
        lines = [columns, ["---"] * len(columns), *cells]
        table = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        parts.append(f"## {title.removeprefix(result['name'] + ': ')}\n\n{table}")
    remarks = remark_lines(result)
    if remarks:
        parts.append("\n".join(f"- {line}" for line in remarks))
    return "\n\n".join(parts) + "\n"


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a line per row and number, with the values of all trainings."""
    seeds = [str(seed) for seed in range(max(len(row["runs"]) for row in rows))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "images_seen", *(f"seed{seed}" for seed in seeds)])
    for row in rows:
        seen = " ".join(map(str, row["images_seen"]))
        for key, number in row["numbers"].items():
            paper = number["paper"] or {}
            own = [number[name] for name in ("better", "n", "mean", "sd", "best", "worst")]
            theirs = [paper.get(name) for name in ("average", "sd", "best", "worst")]
            writer.writerow(
                [
                    row["label"],
                    key,
                    *own,
                    *theirs,
                    seen,
                    *(number["values"].get(seed) for seed in seeds),
                ]
            )
        for key in ("images_per_second", "parameters"):
            writer.writerow(
                [row["label"], key, "", "", row[key], *[""] * 7, seen, *[""] * len(seeds)]
            )
    return text.getvalue()
