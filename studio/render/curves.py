"""What a training logged, as small multiples: every term of every step, what was probed, the learning rate and the speed."""

import json
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
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
from studio.render.grid import Grid
from studio.render.scatter import COLOURS

__all__ = ["Curve", "curves", "events", "read_log", "series"]

COLUMNS = 4
ENDINGS = {
    "background": COLOURS[0],
    "target": COLOURS[3],
    "salient": COLOURS[2],
    "common": COLOURS[4],
}
OTHER = "#4D4D4D"
OF_ANY = (
    "learning rate",
    "images per second",
)  # panels of every log, also where nothing was learnt by steps
DECADES = 10.0  # times by which a positive term must change for a logarithmic scale
EVENTS = {
    "roll-back": ("#D55E00", ":"),
    "out of memory": ("#CC79A7", "--"),
    "resumed": ("#56B4E9", "-"),
}


class Curve(NamedTuple):
    """One line of a panel: images seen and values, both (N,)."""

    images: np.ndarray
    values: np.ndarray


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Reads `log.jsonl`; a last line that was cut short is left out, and so are lines that are none of ours.

    Raises:
        StudioError: there is none, or it cannot be read.
    """
    path = folder / "log.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudioError(f"{path}: no such file; a training writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError(f"{path}: cannot be read: {error}") from None
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("images_seen"), int):
            lines.append(entry)
    return lines


def series(lines: Sequence[Mapping[str, Any]], lr: float) -> dict[str, dict[str, Curve]]:
    """Sorts logged numbers into panels: name -> label -> curve.

    `D/adv.background` and `D/adv.target` share the panel `D/adv`, the probe of an attribute in both codes share another. The
    learning rate is the config's until a roll-back halves it.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("images_seen", "parts", "lr") and isinstance(value, int | float):
                found.setdefault(name, []).append((line["images_seen"], float(value)))
    panels: dict[str, dict[str, Curve]] = {}
    last = ("images_per_second",)
    for name in sorted(found, key=lambda name: (name in last, name.startswith("probe/"))):
        panel, label = _place(name)
        panels.setdefault(panel, {})[label] = Curve(*np.array(found[name], float).T)
    if found:
        panels["learning rate"] = {"": _rates(lines, lr)}
        if "images per second" in panels:
            panels["images per second"] = panels.pop(
                "images per second"
            )  # behind the learning rate
    return panels


def _place(name: str) -> tuple[str, str]:
    """Returns the panel of a logged number and its line there."""
    if name == "images_per_second":
        return "images per second", ""
    for separator in (".", "/"):
        head, found, tail = name.rpartition(separator)
        if found and tail in ENDINGS:
            return head, tail
    return name, ""


def _rates(lines: Sequence[Mapping[str, Any]], lr: float) -> Curve:
    seen = [line["images_seen"] for line in lines]
    steps = [
        (min(seen), lr),
        *((line["images_seen"], float(line["lr"])) for line in lines if "lr" in line),
    ]
    steps.append((max(seen), steps[-1][1]))
    return Curve(*np.array(steps, float).T)


def events(lines: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Returns what happened at how many images: roll-backs, batches cut for want of memory, and resumed trainings."""
    names = {"rollback": "roll-back", "out_of_memory": "out of memory", "started": "resumed"}
    return [
        (line["images_seen"], name)
        for line in lines
        for key, name in names.items()
        if key in line and not (key == "started" and line["images_seen"] == 0)
    ]


def curves(folder: Path, config: Config) -> Image.Image:
    """Draws every logged number of a run against the images seen.

    Raises:
        StudioError: the log is missing or has no numbers: a method in closed form has no terms, and a training shorter than
            `train.log_every` logs none.
    """
    lines = read_log(folder)
    panels = series(lines, config.train.lr)
    if not set(panels) - set(OF_ANY):
        raise StudioError(
            f"{folder / 'log.jsonl'}: no curves: no term was logged; a line comes every {config.train.log_every:,} images "
            "(train.log_every), and methods in closed form have no terms"
        )
    marks = [(at, what) for at, what in events(lines)]
    happened = [what for what in EVENTS if any(what == name for _, name in marks)]
    said = (
        f" Vertical lines: {', '.join(f'{what} ({EVENT_WORDS[what]})' for what in happened)}."
        if happened
        else ""
    )
    return Grid(
        [[_drawn(panels, marks)]],
        "What was logged",
        "Every term of every step as the mean over its images since the line before, without its weight; then what was probed "
        "on the way, the learning rate and the speed. The axis below counts real images, both sets together. Scales are "
        f"logarithmic where a positive number changes more than tenfold.{said} ({config.method.name} on {config.data.name}, "
        f"seed {config.seed})",
        zoom=1,
    ).draw()


EVENT_WORDS = {"roll-back": "dotted", "out of memory": "dashed", "resumed": "solid, light blue"}


def _drawn(
    panels: Mapping[str, Mapping[str, Curve]], marks: Sequence[tuple[int, str]]
) -> np.ndarray:
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(
        figsize=(2.7 * min(COLUMNS, len(panels)), 1.75 * rows + 0.3), dpi=100, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, min(COLUMNS, len(panels)), squeeze=False, sharex=True).ravel()
    for panel, (name, lines) in zip(axes, panels.items(), strict=False):
        _panel(panel, name, lines, marks)
    for spare in axes[len(panels) :]:
        spare.axis("off")
    for panel in axes[max(0, len(panels) - min(COLUMNS, len(panels))) : len(panels)]:
        panel.tick_params(labelbottom=True)
    labels = [label for label in ENDINGS if any(label in lines for lines in panels.values())]
    if labels:
        keys = [Line2D([], [], color=ENDINGS[label], label=label) for label in labels]
        figure.legend(
            handles=keys, loc="outside upper left", ncols=len(keys), frameon=False, fontsize=9
        )
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return np.asarray(Image.open(picture).convert("RGB"))


def _panel(
    panel: Axes, name: str, lines: Mapping[str, Curve], marks: Sequence[tuple[int, str]]
) -> None:
    panel.set_title(name, fontsize=9, loc="left")
    panel.tick_params(labelsize=7)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.locator_params(axis="x", nbins=5)
    panel.grid(alpha=0.25, linewidth=0.6)
    for at, what in marks:
        colour, style = EVENTS[what]
        panel.axvline(at, color=colour, linestyle=style, linewidth=1)
    for label, curve in lines.items():
        marker = "o" if len(curve.values) == 1 else ""
        steps = "steps-post" if name == "learning rate" else "default"
        panel.plot(
            *curve,
            color=ENDINGS.get(label, OTHER),
            linewidth=1.3,
            marker=marker,
            markersize=3,
            drawstyle=steps,
        )
    values = np.concatenate([curve.values for curve in lines.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        panel.text(0.5, 0.5, "never finite", transform=panel.transAxes, ha="center", fontsize=8)
    elif values.min() > 0 and values.max() > DECADES * values.min():
        panel.set_yscale("log")
    elif name in ("images per second", "learning rate"):
        panel.set_ylim(0, 1.1 * values.max())
