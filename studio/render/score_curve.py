"""Scores over the course of a training, as a picture."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from studio.render.figure import own_style, to_picture
from studio.render.scatter import COLOURS, MARKERS

__all__ = ["score_curve"]


def score_curve(entries: list[dict[str, Any]]) -> Image.Image:
    """Draws KID, and FID if it was measured, over the images seen. Dashed lines mark the floors.

    Args:
        entries: scores of several checkpoints of one run by one extractor.

    Returns:
        a picture in RGB, one panel per measure.
    """
    last = entries[-1]
    with own_style((last["method"], last["dataset"], *(row["group"] for row in last["rows"]))):
        return _draw_figure(entries, last)


def _draw_figure(entries: list[dict[str, Any]], last: dict[str, Any]) -> Image.Image:
    measures = (
        {"fid": "floor", "kid": "floor_kid"}
        if last["rows"][0]["fid"] is not None
        else {"kid": "floor_kid"}
    )
    figure = Figure(figsize=(4.6 * len(measures) + 2.2, 4.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for panel, (measure, floor) in zip(panels, measures.items(), strict=True):
        _draw_panel(panel, entries, measure, floor)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside right center",
        frameon=False,
        fontsize=8,
    )
    figure.suptitle(
        f"Scores of {last['method']} on {last['dataset']}",
        fontsize=11,
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    figure.supxlabel(
        f"images seen\nn {last['n']:,}, extractor {last['extractor']} (weights "
        f"{last['weights_sha256'][:12]}), resize {last['resize']}, seed {last['seed']}",
        fontsize=8,
    )
    return to_picture(figure)


def _draw_panel(panel: Axes, entries: list[dict[str, Any]], measure: str, floor: str) -> None:
    seen = [entry["checkpoint"] for entry in entries]
    for i, row in enumerate(entries[-1]["rows"]):
        values = [entry["rows"][i][measure] for entry in entries]
        marker = MARKERS[i % len(MARKERS)]
        panel.plot(
            seen,
            values,
            color=COLOURS[i],
            marker=marker,
            markersize=4,
            linewidth=1.4,
            label=row["group"],
        )
    floors = {row["against"]: row[floor] for row in entries[-1]["rows"]}
    for style, (domain, value) in zip(("--", ":"), floors.items(), strict=False):
        if value is not None:
            panel.axhline(
                value,
                color="#555555",
                linestyle=style,
                linewidth=1,
                label=f"floor ({domain}: real images)",
            )
    panel.set_title(f"{measure.upper()}, lower is better", fontsize=10)
    panel.ticklabel_format(axis="x", scilimits=(-3, 6))
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.locator_params(axis="x", nbins=5)
    panel.set_ylim(bottom=min([0, *(value for value in floors.values() if value is not None)]))
    panel.tick_params(labelsize=8)
