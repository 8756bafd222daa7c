"""Scores as a table and as sentences."""

from typing import Any

from studio.terminal import open_console
from studio.text_table import Column, TextTable

__all__ = ["heading", "score_cells", "score_lines", "score_table", "show_scores"]

TEXT_COLUMNS = 2  # The other columns are numbers


def heading(entry: dict[str, Any]) -> str:
    """Returns a line with the model, the extractor and the settings of a score."""
    weights = "averaged weights" if entry["averaged"] else "last weights"
    return (
        f"{entry['method']} on {entry['dataset']}, checkpoint {entry['checkpoint']:,}, {weights}; "
        f"n {entry['n']:,}, extractor {entry['extractor']} ({entry['features']:,} features, "
        f"weights {entry['weights_sha256'][:12]}), resize {entry['resize']}, seed {entry['seed']}"
    )


def score_cells(entry: dict[str, Any]) -> list[list[str]]:
    """Returns the cells of a table, the column names first.

    The number in brackets is the floor, the score of the same number of real images.
    """
    rows = [["generated", "against", "FID ↓", "KID ↓", "IS ↑", "precision ↑", "recall ↑", "n"]]
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


def score_table(entry: dict[str, Any]) -> TextTable:
    """Returns a table with a row per group. Numbers in brackets are the floors."""
    head, *rows = score_cells(entry)
    columns = [
        Column(name, breaks=True) if i < TEXT_COLUMNS else Column(name, "right")
        for i, name in enumerate(head)
    ]
    return TextTable(heading(entry), columns, rows, bold=True)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def score_lines(entry: dict[str, Any]) -> list[str]:
    """Explains the columns, the accuracy of the extractor and missing values in sentences."""
    lines = [
        "Images generated from one half of the test images, or from the prior, are compared with "
        f"the other half, as 8-bit images ({entry['window']}). The number in brackets is the score "
        "of real images against real images, the best a model could reach. KID is the mean ± "
        f"standard deviation over {entry['kid_subsets']} subsets of {entry['kid_subset_size']:,} "
        f"images. Precision and recall use {entry['neighbours']} nearest neighbours. Computed with "
        f"torch-fidelity {entry['torch_fidelity']}."
    ]
    accuracy = [
        f"{found['attribute']} {found['value']:.3f} ({found['metric'].replace('_', ' ')}, "
        f"chance {found['chance']:.3f})"
        for found in entry["about"].get("accuracy", [])
    ]
    if accuracy:
        lines.append(f"Accuracy of the extractor on test images: {', '.join(accuracy)}.")
    by = {domain: name for domain, name in entry["about"].get("is_by", {}).items() if name}
    if by:
        names = ", ".join(f"{name} ({domain})" for domain, name in by.items())
        lines.append(f"IS uses the classes of {names}.")
    return lines + [f"Note: {note}." for note in entry["notes"]]


def show_scores(entries: list[dict[str, Any]]) -> None:
    """Prints a table per checkpoint, and the explanations once."""
    console = open_console()
    for entry in entries:
        console.print(score_table(entry))
    for line in score_lines(entries[-1]):
        console.print(line, markup=False)
