"""`compare.html`: the tables of a comparison, a chart of its probes and pictures of its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Chart
from PIL import Image

from studio.compare.table import TableText, remark_lines
from studio.render.figure import as_label, own_style, to_picture
from studio.render.scatter import COLOURS, MARKERS
from studio.report.analysis import AnalysisBlock, render_blocks
from studio.report.blocks import Figure, Table, embed

__all__ = ["comparison_page"]

MOST_BYTES = 600_000  # of a picture
TALLEST = 80.0  # inches of a chart, at 100 pixels each; WebP takes 16,383 pixels
KINDS = ("heal", "swap", "overview")  # of pictures of a row, the first one that exists
SPACES = ("salient", "common")


def comparison_page(
    result: Mapping[str, Any], shown: Sequence[TableText], curves: Image.Image | None = None
) -> str:
    """Returns the page of a comparison as one HTML document that needs no network.

    Args:
        result: of `compare`.
        shown: its tables.
        curves: of `draw_curves`, if a number of the config varies.
    """
    tables = [Table(title, columns, cells) for title, columns, cells in shown]
    blocks = [AnalysisBlock("Tables", remark_lines(result), tables, [])]
    if any(row["attributes"] for row in result["rows"]):
        caption = "Mean over seeds with every training as a point. The dashed line is chance"
        charts = [
            embed(draw_probes(result["rows"], names), MOST_BYTES, caption, caption)
            for names in _divide(result["rows"])
        ]
        blocks.insert(0, AnalysisBlock("Probes", [], [], charts))
    if curves is not None:
        caption = "The better reader of each code, mean over seeds, against the number that varies"
        chart = embed(curves, MOST_BYTES, caption, caption)
        blocks.insert(1, AnalysisBlock("Against a number of the config", [], [], [chart]))
    pictures = [figure for row in result["rows"] if (figure := _picture(row))]
    if pictures:
        blocks.append(AnalysisBlock("Pictures of the runs", [], [], pictures))
    return render_blocks(f"Comparison {result['name']}", blocks)


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["attributes"]))


def _divide(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Divides the attributes into charts, because a format has a largest height."""
    names, each = _names(rows), max(1, int(TALLEST / _panel_height(rows)))
    return [names[i : i + each] for i in range(0, len(names), each)]


def _panel_height(rows: Sequence[Mapping[str, Any]]) -> float:
    return 0.7 + 0.34 * len(rows)


def draw_probes(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> Image.Image:
    """Draws how well each attribute is read from each code, one panel per attribute.

    Args:
        rows: the rows of a comparison, of which at least one has an attribute.
        names: the attributes, all if not given.

    Returns:
        a picture in RGB.
    """
    names = _names(rows) if names is None else names
    labels = [row["label"] for row in rows]
    with own_style((*names, *labels)):
        height = 0.6 + len(names) * _panel_height(rows)
        figure = Chart(figsize=(8, height), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
        for panel, name in zip(panels, names, strict=True):
            for place, row in enumerate(rows):
                for shift, space in zip((-0.12, 0.12), SPACES, strict=True):
                    number = row["numbers"].get(f"{name}.{space}")
                    if number is None or number["mean"] is None:
                        continue
                    style = {"color": COLOURS[SPACES.index(space)], "linestyle": ""}
                    values = list(number["values"].values())
                    heights = [place + shift] * len(values)
                    panel.plot(values, heights, marker=".", alpha=0.6, **style)
                    marker = MARKERS[SPACES.index(space)]
                    panel.plot(number["mean"], place + shift, marker=marker, label=space, **style)
            known = next(row["attributes"][name] for row in rows if name in row["attributes"])
            if known["chance"] is not None:
                panel.axvline(known["chance"], color="0.5", linestyle="--", linewidth=1)
            metric = str(known["metric"] or "").replace("_", " ")
            title = f"{as_label(name)}, belongs in {known['belongs']}: {metric}"
            panel.set_title(title, fontsize=9, loc="left")
            panel.set_yticks(range(len(rows)), [as_label(label) for label in labels], fontsize=8)
            panel.set_ylim(len(rows) - 0.5, -0.5)
        handles = {}
        for panel in panels:
            handles |= {
                label: handle
                for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
            }
        figure.legend(
            handles.values(), handles, loc="outside right upper", frameon=False, fontsize=8
        )
        return to_picture(figure)


def _picture(row: Mapping[str, Any]) -> Figure | None:
    """Returns the picture of the first complete training of a row that has one."""
    for run in row["runs"]:
        for kind in KINDS if run["state"] == "done" else ():
            path = Path(run["run"]) / "grids" / f"{kind}.png"
            if path.is_file():
                with Image.open(path) as opened:
                    text = f"{kind}, seed {run['seed']}"
                    alt = f"Images and their edits by {row['label']}: {text}"
                    return embed(opened.convert("RGB"), MOST_BYTES, alt, text, row["label"])
    return None
