"""Scatter plots of codes in two dimensions, coloured by attribute."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from studio.data.dataset import Attribute, Dataset
from studio.method import DOMAINS, Domain
from studio.projection import Plane
from studio.render.figure import as_label, own_style, to_picture

__all__ = [
    "COLOURS",
    "LONGEST_NAME",
    "MARKERS",
    "MOST_CLASSES",
    "collect_colourings",
    "colour_by_class",
    "draw_panels",
]

# Okabe and Ito's palette for colour-blind readers, without its yellow.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "o^sDv"
UNKNOWN = "#CCCCCC"  # points without a value, and classes that the legend does not name
MOST_CLASSES = 20  # classes that a legend names
LONGEST_NAME = 28  # letters of a name


def collect_colourings(
    dataset: Dataset, indices: dict[Domain, np.ndarray]
) -> dict[str, tuple[Attribute, np.ndarray]]:
    """Returns the attributes by which points can be coloured: name -> attribute and values.

    The domain comes first. Unknown values are NaN. Attributes without any known value are left out.
    """
    labels = {domain: dataset.labels("test", domain) for domain in DOMAINS}
    domains = np.repeat([0.0, 1.0], [len(indices[domain]) for domain in DOMAINS])
    colourings = {"background or target": (Attribute("salient", DOMAINS), domains)}
    for name, attribute in dataset.attributes.items():
        columns = [
            labels[d].get(name, np.full(dataset.size("test", d), np.nan))[indices[d]]
            for d in DOMAINS
        ]
        values = np.concatenate(columns)
        if attribute.classes:
            values = np.where(values < 0, np.nan, values)
        if np.isfinite(values).any():
            colourings[name] = (attribute, values)
    return colourings


def draw_panels(
    planes: dict[str, Plane], coloured: dict[str, tuple[Attribute, np.ndarray]]
) -> np.ndarray:
    """Draws one row per attribute: the panels of s and z, and the key to the colours.

    Returns:
        uint8 (H, W, 3).
    """
    names = [*coloured, *(c for attribute, _ in coloured.values() for c in attribute.classes)]
    with own_style(names):
        return _draw_panels(planes, coloured)


def _draw_panels(
    planes: dict[str, Plane], coloured: dict[str, tuple[Attribute, np.ndarray]]
) -> np.ndarray:
    layout = ConstrainedLayoutEngine()
    figure = Figure(figsize=(8.4, 4 * len(coloured)), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(coloured), 3, squeeze=False, width_ratios=(1, 1, 0.05))
    legends = []
    for (name, (attribute, values)), (*panels, side) in zip(coloured.items(), axes, strict=True):
        for panel, (code, plane) in zip(panels, planes.items(), strict=True):
            belongs = {"s": "salient", "z": "common"}[code] == attribute.belongs
            panel.set_title(
                f"{code} by {_shorten(name)}{' (belongs here)' if belongs else ''}", fontsize=10
            )
            _label_axes(panel, plane)
        points = [plane.points.T for plane in planes.values()]
        if attribute.classes:
            legends.append((side, colour_by_class(panels, points, values, attribute.classes)))
            side.axis("off")
        else:
            _colour_by_number(panels, side, points, values)
    # Legends are added after the layout, because it would squeeze the panels for long names.
    layout.execute(figure)
    figure.set_layout_engine("none")
    for side, keys in legends:
        side.legend(
            handles=keys,
            loc="center left",
            frameon=False,
            fontsize=8,
            borderpad=0,
            handletextpad=0.2,
        )
    # A tight box, because it grows around the longest name.
    return np.asarray(to_picture(figure, bbox_inches="tight", pad_inches=0.05))


def _label_axes(panel: Axes, plane: Plane) -> None:
    panel.locator_params(nbins=6)
    panel.ticklabel_format(scilimits=(-2, 4))
    for axis, name in zip((panel.xaxis, panel.yaxis), plane.axes, strict=True):
        axis.set_label_text(name, fontsize=8)
        axis.set_tick_params(labelsize=7)
        axis.get_offset_text().set_fontsize(7)


def colour_by_class(
    panels: Sequence[Axes], points: Sequence[np.ndarray], values: np.ndarray, classes: Sequence[str]
) -> list[Line2D]:
    """Gives each class a colour and a marker, and returns the keys of the legend.

    The most frequent classes get a look of their own. All others and unknown values are gray.
    """
    present, counts = np.unique(values[~np.isnan(values)].astype(int), return_counts=True)
    named = np.sort(present[np.argsort(-counts, kind="stable")[:MOST_CLASSES]])
    rank = {value: i for i, value in enumerate(named)}
    gray = ~np.isin(values, named)
    for panel, (x, y) in zip(panels, points, strict=True):
        panel.scatter(x[gray], y[gray], 9, UNKNOWN, linewidths=0)
        for i, marker in enumerate(MARKERS):
            chosen = np.isin(values, named[i * len(COLOURS) : (i + 1) * len(COLOURS)])
            colours = [COLOURS[rank[value] % len(COLOURS)] for value in values[chosen]]
            panel.scatter(x[chosen], y[chosen], 12, colours, marker=marker, alpha=0.8, linewidths=0)
    looks = [
        (_shorten(classes[int(v)]), COLOURS[i % len(COLOURS)], MARKERS[i // len(COLOURS)])
        for v, i in rank.items()
    ]
    if gray.any():
        looks.append(("other or none" if len(present) > len(named) else "none", UNKNOWN, "o"))
    return [
        Line2D([], [], linestyle="", label=label, color=c, marker=m, markersize=5)
        for label, c, m in looks
    ]


def _colour_by_number(
    panels: Sequence[Axes], side: Axes, points: Sequence[np.ndarray], values: np.ndarray
) -> None:
    """Colours points by a number. Points without one are gray."""
    known = np.isfinite(values)
    low, high = values[known].min(), values[known].max()
    for panel, (x, y) in zip(panels, points, strict=True):
        panel.scatter(x[~known], y[~known], 9, UNKNOWN, linewidths=0)
        dots = panel.scatter(
            x[known], y[known], 12, values[known], cmap="cividis", vmin=low, vmax=high, linewidths=0
        )
    side.figure.colorbar(dots, cax=side).ax.tick_params(labelsize=8)


def _shorten(name: str) -> str:
    """Shortens a name in its middle, because names of one family often differ at their ends."""
    half = LONGEST_NAME // 2
    return as_label(name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}")
