"""Measurements as tables and as sentences for the terminal."""

from collections.abc import Sequence
from typing import Any

from studio.evaluate.verdict import judge
from studio.terminal import open_console
from studio.text_table import Column, TextTable

__all__ = [
    "METRICS",
    "counterfactual_lines",
    "metric_lines",
    "probe_table",
    "reader_lines",
    "separation_lines",
    "separation_table",
    "show_probe",
    "swap_lines",
]

METRICS = {
    "balanced_accuracy": "balanced accuracy",
    "r2": "R2",
    "accuracy": "accuracy",
    "auc": "AUC",
}
PROBE_COLUMNS = (
    Column("attribute", breaks=True),
    Column("belongs"),
    Column("metric", breaks=True),
    *(Column(name, "right") for name in ("salient", "common", "both", "chance", "s.e.", "n")),
)
SEPARATION_COLUMNS = (
    Column("attribute", breaks=True),
    Column("measure", breaks=True),
    *(Column(name, "right") for name in ("salient", "common", "chance", "n")),
)
MEASURES = {"clustering_accuracy": "clustering", "silhouette": "silhouette"}


def probe_table(result: dict[str, Any]) -> TextTable:
    """Returns the rows of a probe as a table.

    Arrows show the desired direction of a value: up for the code where the attribute belongs,
    down for the other one.
    """
    title = (
        f"{result['method']} on {result['dataset']}, {result['images_seen']:,} images, "
        f"{result['protocol']}"
    )
    if result.get("eval") == "authors":
        title += ", in the authors' eval mode (noise on, batch statistics)"
    cells = []
    for row in result["rows"]:
        head, n = (row["attribute"], row["belongs"]), f"{row['n']:,}"
        if row["salient"] is None:
            cells.append([*head, "", "-", "-", "-", "-", "-", n])
            continue
        salient, common = _arrows(row["belongs"])
        numbers = (
            f"{row['salient']:.3f} {salient}",
            f"{row['common']:.3f} {common}",
            *(f"{row[key]:.3f}" for key in ("whole", "chance", "error")),
        )
        cells.append([*head, METRICS.get(row["metric"], row["metric"]), *numbers, n])
    return TextTable(title, PROBE_COLUMNS, cells, bold=True)


def separation_table(result: dict[str, Any]) -> TextTable:
    """Returns how well the classes separate in each code, a row per attribute and measure.

    Arrows have the same meaning as in `probe_table`.
    """
    belongs = {row["attribute"]: row["belongs"] for row in result["rows"]}
    rows = []
    for name, found in result["separation"]["attributes"].items():
        n = f"{found['n']:,}"
        if "note" in found:
            rows.append([name, found["note"], "-", "-", "-", n])
            continue
        arrows = _arrows(belongs[name])
        for place, values in {"": found, ", t-SNE": found.get("tsne", {})}.items():
            for measure, words in MEASURES.items():
                if f"{measure}_salient" not in values:
                    continue
                cells = [
                    f"{values[f'{measure}_{space}']:.3f} {arrow}"
                    for space, arrow in zip(("salient", "common"), arrows, strict=True)
                ]
                chance = "/".join(
                    f"{values[f'clustering_chance_{space}']:.3f}" for space in ("salient", "common")
                )
                if measure != "clustering_accuracy":
                    chance = "-"
                rows.append([name, words + place, *cells, chance, n])
    return TextTable("classes of target images in each code", SEPARATION_COLUMNS, rows)


def _arrows(belongs: str) -> tuple[str, str]:
    """Returns the arrows of the salient and of the common column."""
    return ("↑", "↓") if belongs == "salient" else ("↓", "↑")


def separation_lines(separation: dict[str, Any]) -> list[str]:
    """Describes how background and target codes differ, with the reason for every missing value."""
    lines = []
    if separation["w2_common"] is not None:
        lines.append(
            "common codes, background against target: squared W2 "
            f"{separation['w2_common']:.4g}, between two halves of the background "
            f"{separation['w2_floor']:.4g} ({separation['w2_n']:,} images per half)"
        )
    # Older probe.json files have no such key.
    if separation.get("salient_distance_auc") is not None:
        auc = separation["salient_distance_auc"]
        lines.append(
            "distance of salient codes from the blank code, target against background: "
            f"AUC {auc:.3f}"
        )
    if separation["salient_variance_ratio"] is not None:
        lines.append(
            "variance of salient codes, target divided by background: "
            f"{separation['salient_variance_ratio']:.4g}"
        )
    return lines + ([f"not measured: {separation['note']}"] if "note" in separation else [])


DIRECTIONS = {
    "background_to_target": "background images with the salient code of a target",
    "target_to_target": "targets with the salient code of another target",
    "healed": "healed targets",
    "background_healed": "healed background images",
}


def swap_lines(found: dict[str, Any]) -> list[str]:
    """Describes swap accuracy, one line per direction. See `studio.evaluate.swaps`."""
    lines = []
    for direction, text in DIRECTIONS.items():
        read = {**found["directions"][direction]}
        whole, domain = read.pop("all"), read.pop("target", None)
        kind = "background" if "healed" in direction else "target"
        shown = [f"taken for {kind} images {domain:.0%}"] if domain is not None else []
        shown += [f"{name} read {value:.3f}" for name, value in read.items() if value is not None]
        if whole is None:
            lines.append(f"{text}: not measured")
            continue
        n = f"{found['n'][direction]:,}"
        lines.append(f"{text}: {', '.join(shown)}, everything right {whole:.0%} (n = {n})")
    weak = [name for name, row in found["classifiers"].items() if not row["reliable"]]
    if weak:
        lines.append(
            f"swaps: {', '.join(weak)} not counted, because the classifier of real images is "
            "not reliable"
        )
    return lines


def counterfactual_lines(found: dict[str, Any]) -> list[str]:
    """Describes the quality of healed images, transplants and maps in sentences.

    See `studio.evaluate.counterfactual`.
    """
    if "note" in found:
        return [f"counterfactuals: {found['note']}"]

    def times(key: str) -> str:
        return "-" if found[key] is None else f"{found[key]:.2f} times"

    spread = f"s.e. {found['dice_error']:.3f}"
    if "dice_attainable" in found:
        spread += f", perfectly healed {found['dice_attainable']:.3f}"
    lines = [
        f"map of the salient content: Dice {found['dice']:.3f} ({spread}), "
        f"AUROC per pixel {found['auroc']:.3f} ({found['n']:,} target images; threshold "
        f"{found['threshold']:.3g}, chosen on training images)"
    ]
    outside = (
        f"outside {found['error_outside']:.3f}, {times('error_outside_ratio')} that of the plain "
        "reconstruction"
    )
    if "error_inside" in found:
        lines += [
            "healed images against the true healthy images: error inside the mask "
            f"{found['error_inside']:.3f}, {times('error_inside_ratio')} that of the original "
            f"image; {outside}",
            f"SSIM of healed images inside the mask {found['ssim_inside']:.3f} (original "
            f"{found['ssim_inside_unhealed']:.3f}), outside {found['ssim_outside']:.3f} (plain "
            f"reconstruction {found['ssim_outside_reconstructed']:.3f})",
            "transplants against the true transplants: error inside the mask "
            f"{found['transplant_error_inside']:.3f}, {times('transplant_error_inside_ratio')} "
            f"that of the original image; outside {found['transplant_error_outside']:.3f}, "
            f"{times('transplant_error_outside_ratio')} that of the plain reconstruction",
        ]
    else:
        lines.append(f"healed images against the original images: error {outside}")
    inside = "-" if found["minimality"] is None else f"{found['minimality']:.1%}"
    return [
        *lines,
        f"composition: error of the reconstruction {found['composition']:.3f}",
        f"reversibility: error after healing and undoing it {found['reversibility']:.3f}",
        f"effectiveness: {found['effectiveness']:.1%} of healed images look like background, "
        f"{found['effectiveness_background']:.1%} of reconstructed background images, "
        f"{found['effectiveness_reconstructed']:.1%} of reconstructed target images "
        f"(judged by a classifier with AUC {found['oracle_auc']:.3f})",
        f"minimality: {inside} of the change lies inside the mask, which covers "
        f"{found['mask_share']:.1%} of the pixels",
    ]


def reader_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Describes the other readers of each row.

    These are the non-linear one (`studio.evaluate.nonlinear`), and the reader of the salient code
    in the row `target` of `louiset`.
    """
    lines = [
        f"salient code in the row {row['attribute']}: read by {row['also']['salient_read_by']}"
        for row in rows
        if "salient_read_by" in row["also"]
    ]
    for row in rows:
        also = row["also"]
        if also.get("salient_nonlinear") is not None:
            values = [also[f"{code}_nonlinear"] for code in ("salient", "common")]
            error = max(also[f"{code}_nonlinear_error"] for code in ("salient", "common"))
            lines.append(
                f"non-linear reader of {row['attribute']}: salient {values[0]:.3f}, common "
                f"{values[1]:.3f} (chance {row['chance']:.3f}, s.e. {error:.3f})"
            )
    return lines


def metric_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Describes the papers' metrics that are no headlines.

    These are the mean absolute error of numbers, in their own unit, and the balanced accuracy of
    categories whose headline is the accuracy.
    """
    lines = []
    for row in rows:
        for key, words in (("mae", "mean absolute error"), ("balanced_accuracy", None)):
            values = [row["also"].get(f"{key}_{code}") for code in ("salient", "common")]
            if None not in values and (words or row["metric"] == "accuracy"):
                salient, common = (f"{value:.3g}" for value in values)
                name = words or METRICS[key]
                lines.append(f"{name} of {row['attribute']}: salient {salient}, common {common}")
    return lines


def show_probe(result: dict[str, Any], stderr: bool = False) -> None:
    """Prints the tables and a sentence per attribute. Names are never cut off."""
    console = open_console(stderr)
    console.print(probe_table(result))
    for row in result["rows"]:
        console.print(judge(row).line, markup=False)
    for line in [*reader_lines(result["rows"]), *metric_lines(result["rows"])]:
        console.print(line, markup=False)
    lines = []
    if "separation" in result:
        if result["separation"]["attributes"]:
            console.print(separation_table(result))
        lines += separation_lines(result["separation"])
    if "counterfactual" in result:
        lines += counterfactual_lines(result["counterfactual"])
    if "swaps" in result:
        lines += swap_lines(result["swaps"])
    for line in lines:
        console.print(line, markup=False)
