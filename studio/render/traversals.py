"""Paths of the salient code: from blank to its value, along one coordinate, between images."""

import numpy as np
import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import Dataset
from studio.errors import StudioError
from studio.method import Code, Method
from studio.render.grid import Cell, Grid
from studio.render.selection import check_count, describe_view, pick_targets, to_cells

__all__ = ["TRAVERSED", "draw_interpolate", "draw_isolate", "draw_square", "draw_traverse"]

TRAVERSED = (-1.5, 1.5)  # Carton et al. (2024), Fig. 9
STEPS = 7  # images along each path
FURTHEST = 1.5  # end of the path in `draw_isolate`, where 1 is the image's own salient code


def draw_isolate(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Draws the salient content of target images alone, and growing from blank.

    Abid and Zou (2019), Fig. 6b. "Towards principled objectives for contrastive disentanglement"
    (2020), Fig. 5.
    """
    shown = pick_targets(dataset, n, 6, seed)
    code, nothing = sampling.encode(method, shown.images), sampling.blank(method, 1)[0]
    no_z = torch.zeros_like(code.z[0])
    paths = [
        sampling.interpolate(method, no_z, nothing, torch.lerp(nothing, s, FURTHEST), STEPS)
        for s in code.s
    ]
    shares = np.linspace(0, FURTHEST, STEPS)
    alone = zip(
        shown.names,
        to_cells(shown.images),
        to_cells(sampling.isolate(method, shown.images)),
        strict=True,
    )
    return Grid(
        [
            ["", "original", "z = 0, own s", *(f"{share:.3g} s" for share in shares)],
            *([*left, *to_cells(path)] for left, path in zip(alone, paths, strict=True)),
        ],
        "Salient content alone",
        "Target test images, and the images decoded from their salient code s with the common code "
        "z set to 0. The columns on the right keep z = 0 and move s from blank (0 s) through the "
        f"image's own salient code (1 s) to {FURTHEST:g} times the way. "
        f"{describe_view(method, dataset, seed)}",
        column_breaks=[3],
    ).draw()


def draw_traverse(
    method: Method,
    dataset: Dataset,
    n: int | None = None,
    seed: int = 0,
    span: tuple[float, float] = TRAVERSED,
) -> Image.Image:
    """Draws one salient coordinate per row, varied while the rest of one target image's code stays.

    The coordinates with the largest effect come first. Carton et al. (2024), Fig. 9.

    Args:
        method: in eval mode.
        dataset: source of the test image.
        n: number of coordinates.
        seed: selects the image.
        span: the first and the last value of each coordinate.

    Raises:
        StudioError: the values are not finite or not increasing.
    """
    check_span(span)
    most = 8 if n is None else check_count(n)
    shown = pick_targets(dataset, 1, 1, seed)
    image, length = shown.images[0], method.blank(1).shape[1]
    values = np.linspace(*span, STEPS).tolist()
    moved = [sampling.traverse(method, image, k, values) for k in range(length)]
    effect = torch.stack([images.std(0).mean() for images in moved])
    share = effect / effect.sum().clamp(min=1e-12)
    ranked = effect.argsort(descending=True).tolist()
    rest = (
        f" The {length - most} coordinates not shown account for "
        f"{share[ranked[most:]].sum():.1%} together."
        if most < length
        else ""
    )
    reconstruction = to_cells(sampling.reconstruct(method, shown.images))[0]
    rows: list[list[Cell]] = [
        [
            shown.names[0],
            to_cells(shown.images)[0],
            "reconstruction →",
            reconstruction,
            *[None] * (STEPS - 3),
        ],
        ["", *(f"{value:.3g}" for value in values)],
        *([f"s[{k}] {share[k]:.1%}", *to_cells(moved[k])] for k in ranked[:most]),
    ]
    return Grid(
        rows,
        "Salient coordinates, one at a time",
        f"Each row sets one of the {length} coordinates of the salient code s to values from "
        f"{span[0]:g} to {span[1]:g} and keeps the rest of the image's code. The percentage is the "
        "coordinate's share of the change of this image by all coordinates (standard deviation "
        f"along the row, averaged over pixels). The largest shares come first.{rest} "
        f"{describe_view(method, dataset, seed)}",
        breaks=[1],
    ).draw()


def draw_square(
    method: Method,
    dataset: Dataset,
    n: int | None = None,
    seed: int = 0,
    span: tuple[float, float] = TRAVERSED,
) -> Image.Image:
    """Draws two salient coordinates against each other, with the common code set to 0.

    They are the two that change the image most. The others are blank. Abid and Zou (2019), Fig. 4
    and 6, have two coordinates. "Towards principled objectives for contrastive disentanglement"
    (2020), Fig. 8 and 10, draw such squares too.

    Args:
        method: in eval mode.
        dataset: describes the images.
        n: rows and columns.
        seed: stands in the caption. Nothing is drawn at random.
        span: the first and the last value of both coordinates.

    Raises:
        StudioError: the values are not finite or not increasing, or the salient code has one
            coordinate.
    """
    check_span(span)
    nothing = sampling.blank(method, 1)[0]
    if len(nothing) < 2:
        raise StudioError("a square needs two salient coordinates, and the salient code has one")
    n = STEPS if n is None else check_count(n)
    values = torch.linspace(*span, n)
    first, second = _strongest(method, nothing, values)
    codes = nothing.repeat(n * n, 1)
    codes[:, first] = values.repeat_interleave(n)
    codes[:, second] = values.repeat(n)
    no_z = torch.zeros(n * n, sampling.prior(method, 1, "background", 0).z.shape[1])
    cells = to_cells(sampling.decode(method, Code(no_z, codes)))
    marks = [f"{value:.3g}" for value in values]
    return Grid(
        [
            [f"s[{first}] ↓ s[{second}] →", *marks],
            *([marks[i], *cells[i * n : (i + 1) * n]] for i in range(n)),
        ],
        "Two salient coordinates",
        f"Images decoded from z = 0 and a salient code of which s[{first}] changes from row to row "
        f"and s[{second}] from column to column. The other coordinates are blank. Of all "
        "coordinates these two change the image most. "
        f"{describe_view(method, dataset, seed)}",
        breaks=[1],
        column_breaks=[1],
    ).draw()


def _strongest(method: Method, nothing: torch.Tensor, values: torch.Tensor) -> list[int]:
    """Returns the two coordinates whose values change the image of z = 0 most, in their order."""
    length, n = len(nothing), len(values)
    codes = nothing.repeat(length * n, 1)
    rows = torch.arange(length * n)
    codes[rows, rows // n] = values.repeat(length)
    no_z = torch.zeros(len(codes), sampling.prior(method, 1, "background", 0).z.shape[1])
    images = sampling.decode(method, Code(no_z, codes)).unflatten(0, (length, n))
    effect = images.std(1, correction=0).flatten(1).mean(1)
    return sorted(effect.argsort(descending=True, stable=True)[:2].tolist())


def check_span(span: tuple[float, float]) -> None:
    """Refuses two values that are not finite or not increasing.

    Raises:
        StudioError: see above.
    """
    if not (np.isfinite(span).all() and span[0] < span[1]):
        raise StudioError(
            f"range: found {span[0]:g} to {span[1]:g}, expected two increasing numbers, e.g. "
            "-1.5 1.5"
        )


def draw_interpolate(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Draws the path from the salient code of one target image to that of another.

    All images keep the common code of the first.

    "Towards principled objectives for contrastive disentanglement" (2020), Fig. 8 and 10.
    """
    shown = pick_targets(dataset, n, 6, seed, per_row=2)
    code = sampling.encode(method, shown.images)
    originals = to_cells(shown.images)
    rows: list[list[Cell]] = [
        ["", "original 1", "s of 1", *[""] * (STEPS - 2), "s of 2", "original 2", ""]
    ]
    for a in range(0, len(originals), 2):
        between = to_cells(sampling.interpolate(method, code.z[a], code.s[a], code.s[a + 1], STEPS))
        rows.append([shown.names[a], originals[a], *between, originals[a + 1], shown.names[a + 1]])
    return Grid(
        rows,
        "Interpolation of the salient code",
        "Two target test images per row. All images between them have the common code of original "
        "1. Their salient code moves on a straight line from that of original 1 to that of "
        f"original 2. {describe_view(method, dataset, seed)}",
        column_breaks=[2, 2 + STEPS],
    ).draw()
