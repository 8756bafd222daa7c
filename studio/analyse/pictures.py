"""Pictures of an analysis: the ROC curve, extreme subjects, and typical members of subgroups."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from studio.analyse.analyse import EXTREMES, Analysis, typical_member
from studio.method import Code, Domain
from studio.render.figure import own_style, to_picture
from studio.render.grid import Cell, Grid
from studio.render.scatter import COLOURS
from studio.render.selection import choose_scale, to_cells, to_coloured_cells
from studio.sampling import blank, decode, encode

__all__ = ["draw_difference", "draw_extremes", "draw_groups"]

INCHES, DPI = (9.0, 3.6), 100


def draw_difference(found: Analysis) -> Image.Image:
    """Draws the ROC curve, and the distances of controls and targets."""
    difference, cohort = found.result["difference"], found.cohort
    with own_style([]):
        figure = Figure(INCHES, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        curve = difference["roc"]
        left.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        left.plot(curve["controls_beyond"], curve["targets_beyond"], color=COLOURS[0])
        left.set(xlabel="share of controls beyond", ylabel="share of targets beyond", aspect=1)
        left.set_title(
            f"area {difference['auc']:.3f} "
            f"({difference['auc_low']:.3f} to {difference['auc_high']:.3f})"
        )
        top = float(np.max(cohort.distance)) or 1.0
        bins = list(np.linspace(0, top, 31))
        for word, colour, own in (
            ("controls", COLOURS[0], ~cohort.target),
            ("targets", COLOURS[3], cohort.target),
        ):
            weights = np.full(int(own.sum()), 1 / own.sum())
            values = cohort.distance[own]
            right.hist(values, bins, weights=weights, color=colour, alpha=0.55, label=word)
        right.set(xlabel="distance of the salient code from blank", ylabel="share of subjects")
        right.legend(frameon=False)
        return to_picture(figure)


def draw_extremes(found: Analysis) -> Image.Image:
    """Draws the images of the most and the least different targets."""
    targets = np.flatnonzero(found.cohort.target)
    order = targets[np.argsort(-found.cohort.distance[targets], kind="stable")]
    few = min(EXTREMES, len(order) // 2)
    rows = [*order[:few], *order[::-1][:few]]
    names = [*found.result["difference"]["most"], *found.result["difference"]["least"]]
    titles = [
        f"{name}\ndistance {found.cohort.distance[row]:.3g}"
        for name, row in zip(names, rows, strict=True)
    ]
    return _draw_subjects(
        found,
        rows,
        titles,
        f"The {few} most and, below, the {few} least different targets",
        "Held-out targets by the distance of their salient code from blank. Of a subject with "
        "several images, the one farthest from blank is shown.",
        [few + 1],
    )


def draw_groups(found: Analysis) -> Image.Image:
    """Draws the typical member of each subgroup."""
    targets = found.cohort.take(found.cohort.target)
    place = np.flatnonzero(found.cohort.target)
    groups = found.result["subgroups"]["groups"]
    own = [np.flatnonzero(found.groups.labels == g["group"]) for g in groups]
    rows = [place[typical_member(targets, rows)] for rows in own]
    titles = [f"subgroup {g['group']} ({g['n']})\n{g['typical']}" for g in groups]
    return _draw_subjects(
        found,
        rows,
        titles,
        "A typical member of each subgroup",
        "The member whose salient code is closest to the mean of its subgroup.",
        [],
    )


def _draw_subjects(
    found: Analysis,
    rows: Sequence[int],
    titles: Sequence[str],
    title: str,
    caption: str,
    breaks: Sequence[int],
) -> Image.Image:
    """Draws the image, the healed image and their difference of some subjects."""
    images = torch.cat([_image(found, row) for row in rows])
    code = encode(found.run.method, images)
    healed = decode(found.run.method, Code(code.z, blank(found.run.method, len(code.z))))
    change: Any = decode(found.run.method, code) - healed
    if change.ndim > 2:
        change = change.mean(1)
    scale = choose_scale("reconstruction - healed", change, signed=True)
    cells = zip(
        titles,
        to_cells(images),
        to_cells(healed),
        to_coloured_cells(scale, change),
        strict=True,
    )
    head: list[Cell] = ["", "image", "healed", "difference"]
    return Grid([head, *([*row] for row in cells)], title, caption, [scale], breaks=breaks).draw()


def _image(found: Analysis, row: int) -> torch.Tensor:
    domain: Domain = "target" if found.cohort.target[row] else "background"
    return found.run.data.images("test", domain, [int(found.items[row])])
