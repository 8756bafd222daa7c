"""What was measured as tables and as sentences."""

from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = [
    "METRICS",
    "counterfactual_lines",
    "probe_table",
    "separation_lines",
    "separation_table",
    "show",
    "verdict",
]

METRICS = {"balanced_accuracy": "bal. acc.", "r2": "R2", "accuracy": "accuracy", "auc": "AUC"}


def probe_table(result: dict[str, Any]) -> Table:
    """Returns the rows as a table; arrows say which way a column should go for the attribute."""
    title = f"{result['method']} on {result['dataset']}, {result['images_seen']:,} images, {result['protocol']}"
    if result.get("eval") == "authors":
        title += ", in the published regime (noise on, batch statistics)"
    table = Table(
        title=title, box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left", title_style="bold"
    )
    columns: tuple[tuple[str, Literal["left", "right"]], ...] = (
        ("attribute", "left"),
        ("belongs", "left"),
        ("metric", "left"),
        ("salient", "right"),
        ("common", "right"),
        ("both", "right"),
        ("chance", "right"),
        ("s.e.", "right"),
        ("n", "right"),
    )
    for column, justify in columns:
        table.add_column(column, justify=justify, no_wrap=True)
    for row in result["rows"]:
        up = row["belongs"] == "salient"
        if row["salient"] is None:
            table.add_row(
                row["attribute"], row["belongs"], "", "-", "-", "-", "-", "-", f"{row['n']:,}"
            )
            continue
        table.add_row(
            row["attribute"],
            row["belongs"],
            METRICS.get(row["metric"], row["metric"]),
            f"{row['salient']:.3f} {'↑' if up else '↓'}",
            f"{row['common']:.3f} {'↓' if up else '↑'}",
            f"{row['whole']:.3f}",
            f"{row['chance']:.3f}",
            f"{row['error']:.3f}",
            f"{row['n']:,}",
        )
    return table


def separation_table(result: dict[str, Any]) -> Table:
    """Returns how the classes lie in each space, a row per attribute and measure; arrows as in the probe's table."""
    table = Table(
        title="classes of target images in each space",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        title_justify="left",
    )
    columns: tuple[tuple[str, Literal["left", "right"]], ...] = (
        ("attribute", "left"),
        ("measure", "left"),
        ("salient", "right"),
        ("common", "right"),
        ("chance", "right"),
        ("n", "right"),
    )
    for column, justify in columns:
        table.add_column(column, justify=justify, no_wrap=True)
    belongs = {row["attribute"]: row["belongs"] for row in result["rows"]}
    for name, found in result["separation"]["attributes"].items():
        up, n = belongs[name] == "salient", f"{found['n']:,}"
        if "note" in found:
            table.add_row(name, found["note"], "-", "-", "-", n)
            continue
        for place, values in {"": found, ", t-SNE": found.get("tsne", {})}.items():
            for measure, words in {
                "clustering_accuracy": "clustering",
                "silhouette": "silhouette",
            }.items():
                if f"{measure}_salient" not in values:
                    continue
                salient, common = (
                    f"{values[f'{measure}_{space}']:.3f}" for space in ("salient", "common")
                )
                chance = "/".join(
                    f"{values[f'clustering_chance_{space}']:.3f}" for space in ("salient", "common")
                )
                table.add_row(
                    name,
                    words + place,
                    f"{salient} {'↑' if up else '↓'}",
                    f"{common} {'↓' if up else '↑'}",
                    chance if measure == "clustering_accuracy" else "-",
                    n,
                )
    return table


def separation_lines(separation: dict[str, Any]) -> list[str]:
    """Says in words how background and target codes differ; what could not be measured is said with its reason."""
    lines = []
    if separation["w2_common"] is not None:
        distance, floor = separation["w2_common"], separation["w2_floor"]
        lines.append(
            f"common codes of background and target: squared W2 {distance:.4g}; between two halves of the background "
            f"{floor:.4g} ({separation['w2_n']:,} images a side)"
        )
    if (
        separation.get("salient_distance_auc") is not None
    ):  # runs that were probed before it existed have none
        auc = separation["salient_distance_auc"]
        lines.append(
            f"distance of salient codes from the blank one, target against background: AUC {auc:.3f}"
        )
    if separation["salient_variance_ratio"] is not None:
        lines.append(
            f"variance of salient codes, target over background: {separation['salient_variance_ratio']:.4g}"
        )
    return lines + ([f"not measured: {separation['note']}"] if "note" in separation else [])


def counterfactual_lines(found: dict[str, Any]) -> list[str]:
    """Says in words what healed images, transplants and maps are worth; see `studio.evaluate.counterfactual`."""
    if "note" in found:
        return [f"counterfactuals: {found['note']}"]

    def times(key: str) -> str:
        return "-" if found[key] is None else f"{found[key]:.2f} times"

    map_line = (
        f"map of the salient content: Dice {found['dice']:.3f} (s.e. {found['dice_error']:.3f}), AUROC per pixel "
        f"{found['auroc']:.3f} ({found['n']:,} target images; threshold {found['threshold']:.3g}, chosen on training images)"
    )
    outside = f"outside {found['error_outside']:.3f}, {times('error_outside_ratio')} plain reconstruction's"
    lines = [map_line]
    if "error_inside" in found:
        lines += [
            f"healed images against the true healthy ones: error inside the mask {found['error_inside']:.3f}, "
            f"{times('error_inside_ratio')} the unhealed image's; {outside}",
            f"SSIM of healed images inside the mask {found['ssim_inside']:.3f} (unhealed {found['ssim_inside_unhealed']:.3f}), "
            f"outside {found['ssim_outside']:.3f} (plain reconstruction {found['ssim_outside_reconstructed']:.3f})",
            f"transplants against the true ones: error inside the mask {found['transplant_error_inside']:.3f}, "
            f"{times('transplant_error_inside_ratio')} the untouched image's; outside "
            f"{found['transplant_error_outside']:.3f}, {times('transplant_error_outside_ratio')} plain reconstruction's",
        ]
    else:
        lines.append(f"healed images against the images: error {outside}")
    inside = "-" if found["minimality"] is None else f"{found['minimality']:.1%}"
    return [
        *lines,
        f"axioms: composition {found['composition']:.3f} (error of reconstruction), reversibility "
        f"{found['reversibility']:.3f} (of healing and undoing it), effectiveness {found['effectiveness']:.1%} of healed "
        f"images look like background ({found['effectiveness_background']:.1%} of reconstructed background images do, "
        f"{found['effectiveness_reconstructed']:.1%} of reconstructed target images; the oracle's AUC is "
        f"{found['oracle_auc']:.3f}), minimality {inside} of the change is inside the mask ({found['mask_share']:.1%} of the "
        "pixels)",
    ]


def show(result: dict[str, Any], stderr: bool = False) -> None:
    """Prints the tables, and a sentence per attribute; a name is never cut off, however narrow the terminal."""
    console = Console(stderr=stderr, soft_wrap=True, highlight=False)
    console.width = max(console.width, 100)
    console.print(probe_table(result))
    for row in result["rows"]:
        console.print(verdict(row), markup=False)
    lines = []
    if "separation" in result:
        if result["separation"]["attributes"]:
            console.print(separation_table(result))
        lines += separation_lines(result["separation"])
    if "counterfactual" in result:
        lines += counterfactual_lines(result["counterfactual"])
    for line in lines:
        console.print(line, markup=False)


def verdict(row: dict[str, Any]) -> str:
    """Says in words how clean the split is for one attribute."""
    if row["salient"] is None:
        return f"{row['attribute']}: {row['also']['note']}"
    home, away = (
        (row["salient"], row["common"])
        if row["belongs"] == "salient"
        else (row["common"], row["salient"])
    )
    other = "common" if row["belongs"] == "salient" else "salient"
    right = "in the right place" if home - away > 2 * row["error"] else "not separated"
    leak = (
        f"leaks into {other} at"
        if away - row["chance"] > 2 * row["error"]
        else f"not readable from {other}:"
    )
    return f"{row['attribute']}: {right}; read from {row['belongs']} at {home:.3f} (chance {row['chance']:.3f}), {leak} {away:.3f}"
