"""The log of a training as small plots: loss terms, probes, learning rate and speed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from PIL import Image

from studio.config import Config
from studio.errors import StudioError
from studio.render.figure import as_label, own_style, to_picture
from studio.render.grid import Grid
from studio.render.scatter import COLOURS
from studio.runs.log import read_log

__all__ = ["Curve", "draw_curves", "find_events", "group_curves"]

COLUMNS = 4
ENDINGS = {
    "background": COLOURS[0],
    "target": COLOURS[3],
    "salient": COLOURS[2],
    "common": COLOURS[4],
}
OTHER = "#4D4D4D"
# Panels of every log, also of methods in closed form, which have no loss terms.
ALWAYS = ("learning rate", "images per second")
DECADES = 10.0  # a positive term that changes by more than this factor gets a logarithmic scale
# Events as vertical lines: colour, line style, and their description in the caption.
EVENTS = {
    "roll-back": ("#D55E00", ":", "dotted"),
    "out of memory": ("#CC79A7", "--", "dashed"),
    "resumed": ("#56B4E9", "-", "solid, light blue"),
}


class Curve(NamedTuple):
    """One line of a panel: images seen and values, both (N,)."""

    images: np.ndarray
    values: np.ndarray


def group_curves(lines: Sequence[Mapping[str, Any]], lr: float) -> dict[str, dict[str, Curve]]:
    """Groups logged numbers into panels: name -> label -> curve.

    `D/adv.background` and `D/adv.target` share the panel `D/adv`. The probes of an attribute in
    both codes share another one.

    Args:
        lines: of the log.
        lr: the learning rate of the config, which holds until a roll-back halves it.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("images_seen", "parts", "lr") and isinstance(value, int | float):
                points.setdefault(name, []).append((line["images_seen"], float(value)))
    panels: dict[str, dict[str, Curve]] = {}
    last = ("images_per_second",)
    for name in sorted(points, key=lambda name: (name in last, name.startswith("probe/"))):
        panel, label = _place(name)
        panels.setdefault(panel, {})[label] = Curve(*np.array(points[name], float).T)
    if points:
        panels["learning rate"] = {"": _learning_rate(lines, lr)}
        if "images per second" in panels:  # the last panel
            panels["images per second"] = panels.pop("images per second")
    return panels


def _place(name: str) -> tuple[str, str]:
    """Returns the panel of a logged number and the label of its line there."""
    if name == "images_per_second":
        return "images per second", ""
    for separator in (".", "/"):
        head, found, tail = name.rpartition(separator)
        if found and tail in ENDINGS:
            return head, tail
    return name, ""


def _learning_rate(lines: Sequence[Mapping[str, Any]], lr: float) -> Curve:
    seen = [line["images_seen"] for line in lines]
    steps = [
        (min(seen), lr),
        *(
            (line["images_seen"], float(line["lr"]))
            for line in lines
            if isinstance(line.get("lr"), int | float)
        ),
    ]
    steps.append((max(seen), steps[-1][1]))
    return Curve(*np.array(steps, float).T)


def find_events(lines: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Returns the events of a training with the images seen at each of them.

    Events are roll-backs, batches that were split for lack of memory, and resumed trainings.
    """
    names = {"rollback": "roll-back", "out_of_memory": "out of memory", "started": "resumed"}
    return [
        (line["images_seen"], name)
        for line in lines
        for key, name in names.items()
        if key in line and not (key == "started" and line["images_seen"] == 0)
    ]


def draw_curves(folder: Path, config: Config) -> Image.Image:
    """Draws every logged number of a run against the images seen.

    Raises:
        StudioError: the log is missing or holds no terms, because the method has a closed form or
            the training was shorter than `train.log_every`.
    """
    lines = read_log(folder)
    panels = group_curves(lines, config.train.lr)
    if not set(panels) - set(ALWAYS):
        raise StudioError(
            f"{folder / 'log.jsonl'}: no curves: no term was logged; a line is written every "
            f"{config.train.log_every:,} images (train.log_every), and methods in closed form have "
            "no terms"
        )
    marks = find_events(lines)
    present = [event for event in EVENTS if any(event == name for _, name in marks)]
    legend = (
        f" Vertical lines: {', '.join(f'{event} ({EVENTS[event][2]})' for event in present)}."
        if present
        else ""
    )
    with own_style(panels):
        figure = _draw_figure(panels, marks)
    return Grid(
        [[figure]],
        "Training log",
        "Every loss term of every step, without its weight, as the mean over the images since the "
        "previous line of the log. Then the probes during the training, the learning rate and the "
        "speed. The horizontal axis counts the real images seen, of both sets together. The scale "
        f"is logarithmic where a positive number changes more than tenfold.{legend} "
        f"({config.method.name} on {config.data.name}, seed {config.seed})",
        zoom=1,
    ).draw()


def _draw_figure(
    panels: Mapping[str, Mapping[str, Curve]], marks: Sequence[tuple[int, str]]
) -> np.ndarray:
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(2.7 * columns, 1.75 * rows + 0.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for panel, (name, lines) in zip(axes, panels.items(), strict=False):
        _draw_panel(panel, name, lines, marks)
    for spare in axes[len(panels) :]:
        spare.axis("off")
    for panel in axes[max(0, len(panels) - columns) : len(panels)]:
        panel.tick_params(labelbottom=True)
    labels = [label for label in ENDINGS if any(label in lines for lines in panels.values())]
    if labels:
        keys = [Line2D([], [], color=ENDINGS[label], label=label) for label in labels]
        figure.legend(
            handles=keys, loc="outside upper left", ncols=len(keys), frameon=False, fontsize=9
        )
    return np.asarray(to_picture(figure))


def _draw_panel(
    panel: Axes, name: str, lines: Mapping[str, Curve], marks: Sequence[tuple[int, str]]
) -> None:
    panel.set_title(as_label(name), fontsize=9, loc="left")
    panel.tick_params(labelsize=7)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.locator_params(axis="x", nbins=5)
    panel.grid(alpha=0.25, linewidth=0.6)
    for at, event in marks:
        colour, style, _ = EVENTS[event]
        panel.axvline(at, color=colour, linestyle=style, linewidth=1)
    for label, curve in lines.items():
        panel.plot(
            *curve,
            color=ENDINGS.get(label, OTHER),
            linewidth=1.3,
            marker="o" if len(curve.values) == 1 else "",
            markersize=3,
            drawstyle="steps-post" if name == "learning rate" else "default",
        )
    values = np.concatenate([curve.values for curve in lines.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        panel.text(0.5, 0.5, "never finite", transform=panel.transAxes, ha="center", fontsize=8)
    elif values.min() > 0 and values.max() > DECADES * values.min():
        panel.set_yscale("log")
    elif name in ALWAYS:
        panel.set_ylim(0, 1.1 * values.max())
