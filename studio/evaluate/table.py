"""The probe's result as a table and as a sentence."""

from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["probe_table", "show", "verdict"]

METRICS = {"balanced_accuracy": "bal. acc.", "r2": "R2", "accuracy": "accuracy"}


def probe_table(result: dict[str, Any]) -> Table:
    """Returns the rows as a table; arrows say which way a column should go for the attribute."""
    title = f"{result['method']} on {result['dataset']}, {result['images_seen']:,} images, {result['protocol']}"
    if result.get("eval") == "authors":
        title += ", in the published regime (noise on, batch statistics)"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left", title_style="bold")
    columns: tuple[tuple[str, Literal["left", "right"]], ...] = (
        ("attribute", "left"), ("belongs", "left"), ("metric", "left"), ("salient", "right"), ("common", "right"),
        ("both", "right"), ("chance", "right"), ("s.e.", "right"), ("n", "right"),
    )  # fmt: skip
    for column, justify in columns:
        table.add_column(column, justify=justify, no_wrap=True)
    for row in result["rows"]:
        up = row["belongs"] == "salient"
        if row["salient"] is None:
            table.add_row(row["attribute"], row["belongs"], "", "-", "-", "-", "-", "-", f"{row['n']:,}")
            continue
        table.add_row(
            row["attribute"], row["belongs"], METRICS.get(row["metric"], row["metric"]),
            f"{row['salient']:.3f} {'↑' if up else '↓'}", f"{row['common']:.3f} {'↓' if up else '↑'}",
            f"{row['whole']:.3f}", f"{row['chance']:.3f}", f"{row['error']:.3f}", f"{row['n']:,}",
        )  # fmt: skip
    return table


def show(result: dict[str, Any], stderr: bool = False) -> None:
    """Prints the table, and a sentence per attribute; a name is never cut off, however narrow the terminal."""
    console = Console(stderr=stderr, soft_wrap=True, highlight=False)
    console.width = max(console.width, 100)
    console.print(probe_table(result))
    for row in result["rows"]:
        console.print(verdict(row), markup=False)


def verdict(row: dict[str, Any]) -> str:
    """Says in words how clean the split is for one attribute."""
    if row["salient"] is None:
        return f"{row['attribute']}: {row['also']['note']}"
    home, away = (row["salient"], row["common"]) if row["belongs"] == "salient" else (row["common"], row["salient"])
    other = "common" if row["belongs"] == "salient" else "salient"
    right = "in the right place" if home - away > 2 * row["error"] else "not separated"
    leak = f"leaks into {other} at" if away - row["chance"] > 2 * row["error"] else f"not readable from {other}:"
    return (
        f"{row['attribute']}: {right}; read from {row['belongs']} at {home:.3f} (chance {row['chance']:.3f}), {leak} {away:.3f}"
    )
