"""Scores as a table and as sentences."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["heading", "score_cells", "score_lines", "score_table", "show_scores"]

WORDS = 2  # columns that are words


def heading(entry: dict[str, Any]) -> str:
    """Says of what, by what and how a score was computed: everything without which its numbers mean nothing."""
    weights = "averaged weights" if entry["averaged"] else "last weights"
    return (
        f"{entry['method']} on {entry['dataset']}, checkpoint {entry['checkpoint']:,}, {weights}; n {entry['n']:,}, extractor "
        f"{entry['extractor']} ({entry['features']:,} features, weights {entry['weights_sha256'][:12]}), resize "
        f"{entry['resize']}, seed {entry['seed']}"
    )


def score_cells(entry: dict[str, Any]) -> list[list[str]]:
    """Returns the words of a table, its head first; in brackets what as many real images score, the floor."""
    rows = [["made", "against", "FID ↓", "KID ↓", "IS ↑", "precision ↑", "recall ↑", "n"]]
    for row in entry["rows"]:
        spread = _number(row["kid_error"], 3)
        rows.append(
            [
                row["group"],
                row["against"],
                f"{_number(row['fid'], 2)} ({_number(row['floor'], 2)})",
                f"{_number(row['kid'], 4)} ± {spread} ({_number(row['floor_kid'], 4)})",
                *(
                    f"{_number(row[name], digits)} ({_number(row[f'floor_{name}'], digits)})"
                    for name, digits in (("is", 2), ("precision", 3), ("recall", 3))
                ),
                f"{row['n']:,}",
            ]
        )
    return rows


def score_table(entry: dict[str, Any]) -> Table:
    """Returns a row per group; in brackets what as many real images score against the same real ones, the floor."""
    table = Table(
        title=heading(entry),
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        title_justify="left",
        title_style="bold",
    )
    head, *rows = score_cells(entry)
    for i, column in enumerate(head):
        table.add_column(column, no_wrap=True, justify="left" if i < WORDS else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def score_lines(entry: dict[str, Any]) -> list[str]:
    """Says what the columns are, how good the extractor is at its own task, and what could not be measured."""
    lines = [
        f"Images made of one half of the test images (or of the prior) against the other half, window {entry['window']}. In "
        "brackets the floor: the first half itself against the other, which a perfect model would reach. KID: mean ± s.d. of "
        f"{entry['kid_subsets']} subsets of {entry['kid_subset_size']:,}; precision and recall by {entry['neighbours']} nearest "
        f"neighbours; torch-fidelity {entry['torch_fidelity']}."
    ]
    accuracy = [
        f"{found['attribute']} {found['value']:.3f} ({found['metric'].replace('_', ' ')}, chance {found['chance']:.3f})"
        for found in entry["about"].get("accuracy", [])
    ]
    if accuracy:
        lines.append(f"The extractor's own reading of test images: {', '.join(accuracy)}.")
    by = {domain: name for domain, name in entry["about"].get("is_by", {}).items() if name}
    if by:
        lines.append(
            f"IS by the classes of {', '.join(f'{name} ({domain})' for domain, name in by.items())}."
        )
    return lines + [f"Note: {note}." for note in entry["notes"]]


def show_scores(entries: list[dict[str, Any]]) -> None:
    """Prints a table per checkpoint, and what holds for all of them once."""
    console = Console(soft_wrap=True, highlight=False)
    console.width = max(
        console.width, 140
    )  # a number is never cut off, however narrow the terminal
    for entry in entries:
        console.print(score_table(entry))
    for line in score_lines(entries[-1]):
        console.print(line, markup=False)
