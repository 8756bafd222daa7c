"""Codes in two dimensions: the scatter plots of `studio render RUN codes`.

The plane is that of the first two principal components, where distances are those of the code; t-SNE and UMAP show which
points are neighbours, and neither distances between groups nor their sizes mean anything there.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from PIL import Image
from sklearn.decomposition import PCA

from studio.data.dataset import Attribute, Dataset
from studio.errors import StudioError, nearest
from studio.evaluate.separation import embed
from studio.method import DOMAINS, Domain

__all__ = ["COLOURS", "PLANES", "Plane", "colourings", "panels", "plane"]

COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
)  # Okabe and Ito, less yellow
MARKERS = "o^sDv"
PLANES = {"pca": "the first two principal components", "tsne": "t-SNE", "umap": "UMAP"}
NOTHING = "#CCCCCC"
FEWEST_SPECTRAL = (
    50  # points, below which UMAP starts at random: an embedding by eigenvectors needs more
)
FEWEST_NEIGHBOURS = 6  # points, below which t-SNE and UMAP have no neighbourhoods to show
MOST_CLASSES, LONGEST_NAME = 20, 28  # of what a legend names, and in letters


class Plane(NamedTuple):
    """Codes in two dimensions.

    Attributes:
        points: (N, 2).
        axes: what each axis is.
    """

    points: np.ndarray
    axes: tuple[str, str]


def plane(code: np.ndarray, kind: str = "pca", seed: int = 0) -> Plane:
    """Projects codes (N, m) on a plane.

    Args:
        code: the codes.
        kind: of `PLANES`.
        seed: of t-SNE and UMAP.

    Raises:
        StudioError: codes that are not finite, too few of them, or UMAP is not installed.
    """
    if kind not in PLANES:
        raise StudioError(f"--plane {kind}: no such plane{nearest(kind, PLANES)}")
    if not np.isfinite(code).all():
        raise StudioError("some codes are not finite: has training diverged?")
    if kind == "pca":
        return _principal(code)
    if len(code) < FEWEST_NEIGHBOURS:
        raise StudioError(
            f"--plane {kind}: needs at least {FEWEST_NEIGHBOURS} images, found {len(code)}; --plane pca needs 2"
        )
    points = _umap(code, seed) if kind == "umap" else embed(code, seed)
    return Plane(points, (f"{PLANES[kind]} 1", f"{PLANES[kind]} 2"))


def _principal(code: np.ndarray) -> Plane:
    """Projects codes on their two principal components; a code of one dimension is spread out in the second."""
    axes = PCA(min(2, *code.shape), svd_solver="full")
    with np.errstate(
        invalid="ignore"
    ):  # a code that never changes has 0/0 of its variance on each axis
        points = axes.fit_transform(code)
    if points.shape[1] == 1:
        points = np.column_stack([points, np.random.default_rng(0).uniform(-1, 1, len(points))])
    shares = np.nan_to_num(axes.explained_variance_ratio_)
    names = [f"component {i} ({share:.0%} of variance)" for i, share in enumerate(shares, 1)]
    first, second = [*names, "no second dimension: spread at random"][:2]
    return Plane(points, (first, second))


def _umap(code: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise StudioError(
            "--plane umap: needs a package that is not installed; pip install umap-learn"
        ) from None
    reducer = UMAP(
        n_neighbors=min(15, len(code) - 1),
        init="random" if len(code) < 50 else "spectral",
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(reducer.fit_transform(code))


def colourings(
    dataset: Dataset, indices: dict[Domain, np.ndarray]
) -> dict[str, tuple[Attribute, np.ndarray]]:
    """Returns what to colour points by: name -> attribute and values, NaN where there is none; the domain first."""
    labels = {domain: dataset.labels("test", domain) for domain in DOMAINS}
    domains = np.repeat([0.0, 1.0], [len(indices[domain]) for domain in DOMAINS])
    found = {"background or target": (Attribute("salient", DOMAINS), domains)}
    for name, attribute in dataset.attributes.items():
        known = [
            labels[d].get(name, np.full(dataset.size("test", d), np.nan))[indices[d]]
            for d in DOMAINS
        ]
        values = np.concatenate(known)
        if attribute.classes:
            values = np.where(values < 0, np.nan, values)
        if np.isfinite(values).any():
            found[name] = (attribute, values)
    return found


def panels(
    planes: dict[str, Plane], coloured: dict[str, tuple[Attribute, np.ndarray]]
) -> np.ndarray:
    """Draws one row per colouring: the panels of s and z, and the key to the colours; returns uint8 (H, W, 3)."""
    layout = ConstrainedLayoutEngine()
    figure = Figure(figsize=(8.4, 4 * len(coloured)), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(coloured), 3, squeeze=False, width_ratios=(1, 1, 0.05))
    legends = []
    for (name, (attribute, values)), (*panels, side) in zip(coloured.items(), axes, strict=True):
        for panel, (code, plane) in zip(panels, planes.items(), strict=True):
            belongs = {"s": "salient", "z": "common"}[code] == attribute.belongs
            panel.set_title(
                f"{code} by {_short(name)}{' (belongs here)' if belongs else ''}", fontsize=10
            )
            _name_axes(panel, plane)
        points = [plane.points.T for plane in planes.values()]
        if attribute.classes:
            legends.append((side, _colour_by_class(panels, points, values, attribute.classes)))
            side.axis("off")
        else:
            _colour_by_number(panels, side, points, values)
    # Legends come after the layout, which would make room for long names by squeezing the panels.
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
    picture = BytesIO()
    figure.savefig(
        picture, format="png", bbox_inches="tight", pad_inches=0.05
    )  # grows around the longest name
    return np.asarray(Image.open(picture).convert("RGB"))


def _name_axes(panel: Axes, plane: Plane) -> None:
    panel.locator_params(nbins=6)
    panel.ticklabel_format(scilimits=(-2, 4))
    for axis, name in zip((panel.xaxis, panel.yaxis), plane.axes, strict=True):
        axis.set_label_text(name, fontsize=8)
        axis.set_tick_params(labelsize=7)
        axis.get_offset_text().set_fontsize(7)


def _colour_by_class(
    panels: Sequence[Axes], points: Sequence[np.ndarray], values: np.ndarray, classes: Sequence[str]
) -> list[Line2D]:
    """Gives each class a colour and a marker, gray beyond the most frequent and without a value; returns the keys."""
    found, counts = np.unique(values[~np.isnan(values)].astype(int), return_counts=True)
    named = np.sort(found[np.argsort(-counts, kind="stable")[:MOST_CLASSES]])
    rank = {value: i for i, value in enumerate(named)}
    gray = ~np.isin(values, named)
    for panel, (x, y) in zip(panels, points, strict=True):
        panel.scatter(x[gray], y[gray], 9, NOTHING, linewidths=0)
        for i, marker in enumerate(MARKERS):
            chosen = np.isin(values, named[i * len(COLOURS) : (i + 1) * len(COLOURS)])
            colours = [COLOURS[rank[value] % len(COLOURS)] for value in values[chosen]]
            panel.scatter(x[chosen], y[chosen], 12, colours, marker=marker, alpha=0.8, linewidths=0)
    looks = [
        (_short(classes[int(v)]), COLOURS[i % len(COLOURS)], MARKERS[i // len(COLOURS)])
        for v, i in rank.items()
    ]
    if gray.any():
        looks.append(("other or none" if len(found) > len(named) else "none", NOTHING, "o"))
    return [
        Line2D([], [], linestyle="", label=label, color=c, marker=m, markersize=5)
        for label, c, m in looks
    ]


def _colour_by_number(
    panels: Sequence[Axes], side: Axes, points: Sequence[np.ndarray], values: np.ndarray
) -> None:
    """Colours by a number, gray where there is none."""
    known = np.isfinite(values)
    low, high = values[known].min(), values[known].max()
    for panel, (x, y) in zip(panels, points, strict=True):
        panel.scatter(x[~known], y[~known], 9, NOTHING, linewidths=0)
        dots = panel.scatter(
            x[known], y[known], 12, values[known], cmap="cividis", vmin=low, vmax=high, linewidths=0
        )
    side.figure.colorbar(dots, cax=side).ax.tick_params(labelsize=8)


def _short(name: str) -> str:
    """Shortens a name in its middle, since the names of a family often differ at their ends."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
