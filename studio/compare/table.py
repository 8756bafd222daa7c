"""A comparison as tables: in the terminal, and as Markdown, CSV and JSON, which hold the same numbers."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from studio.errors import StudioError, nearest
from studio.evaluate.probe_table import METRICS

__all__ = ["show_comparison", "shown_keys", "tables", "write_comparison"]

NOTHING = "-"
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
Lines = tuple[str, list[str], list[list[str]]]  # title, columns, cells


def tables(result: Mapping[str, Any], show: Sequence[str] = (), wide: bool = False) -> list[Lines]:
    """Lays a comparison out.

    Args:
        result: of `compare`.
        show: keys of further numbers.
        wide: also what is read from both codes together.

    Returns:
        tables of text, each a title, the columns and the cells: what is read, further numbers, what it took.
    """
    by = f"{result['protocol']}, {result['eval']}"
    read = _read(result["rows"], ("salient", "common", "whole") if wide else ("salient", "common"))
    wanted = [key for row in result["rows"] for key in [*_paper_numbers(row), *row["show"]]]
    further = list(_further(result["rows"], [*wanted, *show, *_reconstruction(result["rows"])]))
    head = ["row", "number", "mean ± sd", "best", "worst", "paper", "n"]
    cost = [
        [
            row["label"],
            *(str(_count(row, state)) for state in ("done", "failed")),
            str(_others(row)),
            _seen(row),
            _count_of(row["images_per_second"]),
            _count_of(row["parameters"]),
        ]
        for row in result["rows"]
    ]
    return [
        *([(f"{result['name']}: what is read from which code ({by})", *read)] if read[1] else []),
        *([(f"{result['name']}: further numbers", head, further)] if further else []),
        (
            f"{result['name']}: what it took",
            ["row", "done", "failed", "not complete", "images", "images/s", "parameters"],
            cost,
        ),
    ]


def shown_keys(result: Mapping[str, Any], show: Sequence[str]) -> list[str]:
    """Checks the keys that are to be shown; a key that no run has is refused only where a run has any.

    Raises:
        StudioError: no run has such a number; names the nearest.
    """
    known = {key for row in result["rows"] for key in row["numbers"]}
    unknown = [key for key in show if key not in known]
    if known and unknown:
        raise StudioError(
            f"--show {unknown[0]}: no run has such a number{nearest(unknown[0], sorted(known))}"
        )
    return list(show)


def show_comparison(result: Mapping[str, Any], laid_out: Sequence[Lines]) -> None:
    """Prints the tables, the failures and the notes; a name is never cut off, however narrow the terminal."""
    console = Console(
        soft_wrap=True, highlight=False, width=1_000
    )  # a table is as wide as its cells
    for title, columns, cells in laid_out:
        table = Table(
            title=title,
            box=box.SIMPLE_HEAD,
            padding=(0, 1),
            title_justify="left",
            title_style="bold",
        )
        for i, column in enumerate(columns):
            table.add_column(
                column, justify="left" if i < 2 and column != "done" else "right", no_wrap=True
            )
        for line in cells:
            table.add_row(*line)
        console.print(table)
    for line in _remarks(result):
        console.print(line, markup=False)


def write_comparison(result: Mapping[str, Any], laid_out: Sequence[Lines]) -> list[Path]:
    """Writes `compare.md`, `compare.csv` and `compare.json`, each whole or not at all, and returns their paths.

    Raises:
        StudioError: the folder cannot be written.
    """
    out = Path(result["out"])
    texts = {
        "compare.md": _markdown(result, laid_out),
        "compare.csv": _csv(result["rows"]),
        "compare.json": json.dumps(result, indent=2, allow_nan=False) + "\n",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / f".writing-{name}").write_text(text, encoding="utf-8", newline="")
            (out / f".writing-{name}").replace(out / name)
    except OSError as error:
        raise StudioError(f"{out}: cannot be written: {error.strerror}") from None
    return [out / name for name in texts]


def _read(
    rows: Sequence[Mapping[str, Any]], spaces: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Lays out a line per row and attribute; best, worst and paper only where some row has them."""
    names = dict.fromkeys(
        key.rpartition(".")[0] for row in rows for key in row["numbers"] if key.endswith(".salient")
    )
    names |= dict.fromkeys(name for row in rows for name in row["attributes"])
    spread = any(number["n"] > 1 for row in rows for number in row["numbers"].values())
    published = any(number["paper"] for row in rows for number in row["numbers"].values())
    parts = ["best", "worst"] * spread + ["paper"] * published
    columns = ["row", "attribute", "metric"]
    for space in spaces:
        columns += ["both" if space == "whole" else space, *parts]
    cells = []
    for row in rows:
        for name in names:
            known = row["attributes"].get(name, {})
            numbers = [row["numbers"].get(f"{name}.{space}", {}) for space in spaces]
            if not known and not any(numbers):
                continue
            line = [row["label"], name, METRICS.get(known.get("metric"), known.get("metric") or "")]
            for number in numbers:
                line += [
                    _mean(number),
                    *([_plain(number.get("best")), _plain(number.get("worst"))] if spread else []),
                ]
                line += [_paper(number)] if published else []
            cells.append([*line, str(max(number.get("n", 0) for number in numbers))])
    return [*columns, "n"], cells


def _further(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Iterator[list[str]]:
    for row in rows:
        for key in dict.fromkeys(keys):
            number = row["numbers"].get(key)
            if number is not None:
                yield [
                    row["label"],
                    key,
                    _mean(number),
                    _plain(number["best"]),
                    _plain(number["worst"]),
                    _paper(number),
                    str(number["n"]),
                ]


def _paper_numbers(row: Mapping[str, Any]) -> list[str]:
    return list((row["paper"] or {}).get("numbers", {}))


def _reconstruction(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    errors = ("reconstruction.background", "reconstruction.target")
    return [key for key in errors if any(key in row["numbers"] for row in rows)]


def _count(row: Mapping[str, Any], state: str) -> int:
    return sum(run["state"] == state for run in row["runs"])


def _others(row: Mapping[str, Any]) -> int:
    return len(row["runs"]) - _count(row, "done") - _count(row, "failed")


def _count_of(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _seen(row: Mapping[str, Any]) -> str:
    """Writes at how many images a row was measured, marked where that is not its budget."""
    mark = "" if row["images_seen"] in ([], [row["budget"]]) else " *"
    return f"{', '.join(f'{n:,}' for n in row['images_seen']) or NOTHING}{mark}"


def _mean(number: Mapping[str, Any]) -> str:
    if number.get("mean") is None:
        return NOTHING
    arrow = {"higher": " ↑", "lower": " ↓"}.get(number["better"], "")
    spread = "" if number["sd"] is None else f" ± {_plain(number['sd'])}"
    return f"{_plain(number['mean'])}{spread}{arrow}"


def _paper(number: Mapping[str, Any]) -> str:
    """Writes the paper's value: the average with its spread, or with the best and the worst training in brackets."""
    paper = number.get("paper")
    if not paper:
        return NOTHING
    text = _plain(paper["average"]) if "average" in paper else ""
    if "sd" in paper:
        text += f" ± {_plain(paper['sd'])}"
    ends = [_plain(paper[end]) for end in ("best", "worst") if end in paper]
    return f"{text} ({', '.join(ends)})".strip() if ends else text


def _plain(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _remarks(result: Mapping[str, Any]) -> list[str]:
    said = [f"note: {note}" for note in result["notes"]]
    for row in result["rows"]:
        for run in row["runs"]:
            if run["state"] != "done":
                state = {"half": "not complete", "missing": "not trained"}.get(
                    run["state"], run["state"]
                )
                progress = f"{run['images_seen']:,} of {run['images']:,} images"
                said.append(f"{Path(run['run']).name}: {state}: {run['error'] or progress}")
    return said


def _markdown(result: Mapping[str, Any], laid_out: Sequence[Lines]) -> str:
    parts = [f"# {result['name']}"]
    for title, columns, cells in laid_out:
        lines = [columns, ["---"] * len(columns), *cells]
        table = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        parts.append(f"## {title.removeprefix(result['name'] + ': ')}\n\n{table}")
    remarks = _remarks(result)
    if remarks:
        parts.append("\n".join(f"- {line}" for line in remarks))
    return "\n\n".join(parts) + "\n"


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes a line per row and number, with every training's value."""
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
