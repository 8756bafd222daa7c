"""How the probes change with a number of the config that a comparison varies."""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from studio.render.figure import as_label, own_style, to_picture
from studio.render.scatter import COLOURS, MARKERS

__all__ = ["Curve", "choose_attributes", "draw_curves", "find_curves"]

SPACES = ("salient", "common")
LEAST = 3  # values that make a curve
MOST_CURVES = 20  # lines of panels in a picture, because WebP takes 16,383 pixels
MOST_PANELS = 4  # attributes in a line, besides the error
LABELS = ("fold", "seed")  # fields whose numbers are names
ERROR = "reconstruction.target"

Row = Mapping[str, Any]


class Curve(NamedTuple):
    """Rows of a comparison that differ in one number of the config.

    Attributes:
        field: the number, such as `method.z`.
        config: name of their config.
        values: of the number, ascending.
        rows: one for each value.
    """

    field: str
    config: str
    values: list[float]
    rows: list[Row]


def find_curves(rows: Sequence[Row]) -> list[Curve]:
    """Finds the numbers that a comparison varies alone.

    Args:
        rows: of a comparison.

    Returns:
        one curve for each number with at least three values that have been probed, and for each
        config and combination of the other overrides.
    """
    groups: dict[tuple[str, str, tuple[str, ...]], dict[float, Row]] = {}
    for row in [row for row in rows if row["attributes"]]:
        for assignment in row["set"]:
            field, _, text = assignment.partition("=")
            number = _read_number(text)
            if number is not None and field.rpartition(".")[2] not in LABELS:
                others = sorted(other for other in row["set"] if other != assignment)
                groups.setdefault((field, row["config"], tuple(others)), {})[number] = row
    return [
        Curve(field, config, sorted(found), [found[value] for value in sorted(found)])
        for (field, config, _), found in groups.items()
        if len(found) >= LEAST
    ]


def _read_number(text: str) -> float | None:
    """Returns the number that an override sets, None if it sets something else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def draw_curves(curves: Sequence[Curve]) -> Image.Image:
    """Draws one line of panels for each curve: the attributes, and the error of reconstruction.

    A point is the better of the two readers, mean over seeds. Of many attributes four are drawn:
    `target`, and in turn the first of those that belong in `s` and in `z`. Of many curves the first
    twenty are drawn.

    Args:
        curves: of `find_curves`, at least one.

    Returns:
        a picture in RGB.
    """
    curves = curves[:MOST_CURVES]
    names = choose_attributes(curves)
    with own_style([*names, *(curve.config for curve in curves)]):
        columns = len(names) + 1
        figure = Figure(figsize=(2.5 * columns, 0.5 + 2.3 * len(curves)), dpi=100)
        figure.set_layout_engine("constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(curves), columns, squeeze=False)
        for line, curve in zip(axes, curves, strict=True):
            places = range(len(curve.rows))
            ticks = [f"{value:g}" for value in curve.values]
            for panel, name in zip(line, names, strict=False):
                _draw_probes(panel, curve.rows, name)
            errors = [_mean(row, ERROR) for row in curve.rows]
            line[-1].plot(places, errors, color="#4D4D4D", marker="s")
            line[-1].set_title("error of reconstructed targets", fontsize=9, loc="left")
            line[-1].margins(y=0.15)
            line[-1].set_ylim(bottom=0)
            for panel in line:
                panel.set_xticks(places, ticks, fontsize=8)
                panel.set_xlabel(as_label(curve.field), fontsize=9)
        figure.suptitle(as_label(", ".join(dict.fromkeys(c.config for c in curves))), fontsize=10)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        return to_picture(figure)


def choose_attributes(curves: Sequence[Curve]) -> list[str]:
    """Returns the attributes to draw, in the order of the comparison."""
    known = {
        name: facts["belongs"]
        for curve in curves
        for row in curve.rows
        for name, facts in row["attributes"].items()
    }
    if len(known) <= MOST_PANELS:
        return [*known]
    salient, common = (
        [name for name in known if name != "target" and known[name] == place] for place in SPACES
    )
    in_turn = [name for pair in zip_longest(salient, common) for name in pair if name is not None]
    chosen = [name for name in ["target", *in_turn, *known] if name in known]
    chosen = [*dict.fromkeys(chosen)][:MOST_PANELS]
    return [name for name in known if name in chosen]


def _draw_probes(panel: Any, rows: Sequence[Row], name: str) -> None:  # noqa: ANN401 - untyped
    """Draws the scores of an attribute from both codes against the places of the rows."""
    for space in SPACES:
        means = [_best_reading(row, name, space) for row in rows]
        i = SPACES.index(space)
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": f"{space} code, best reader"}
        panel.plot(range(len(rows)), means, **style)
    known = next((row["attributes"][name] for row in rows if name in row["attributes"]), None)
    if known is not None:
        if known["chance"] is not None:
            panel.axhline(known["chance"], color="0.5", linestyle="--", linewidth=1, label="chance")
        title = f"{as_label(name)}, belongs in {known['belongs']}"
        panel.set_title(title, fontsize=9, loc="left")


def _best_reading(row: Row, name: str, space: str) -> float:
    """Returns the score of the better reader of an attribute, mean over seeds, NaN without one."""
    found = [_mean(row, f"{name}.{space}{end}") for end in ("", "_nonlinear")]
    known = [value for value in found if value == value]
    return max(known, default=float("nan"))


def _mean(row: Row, key: str) -> float:
    """Returns the mean of a number over seeds, NaN if there is none."""
    number = row["numbers"].get(key)
    return float("nan") if number is None or number["mean"] is None else number["mean"]
