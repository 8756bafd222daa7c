"""Codes that move: salient content alone and growing, one coordinate at a time, and from one image's to another's."""

import numpy as np
import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import Dataset
from studio.errors import StudioError
from studio.method import Method
from studio.render.grid import Cell, Grid
from studio.render.selection import frames, note, positive, targets

__all__ = ["TRAVERSED", "interpolate", "isolate", "traverse"]

TRAVERSED = (-1.5, 1.5)  # Carton et al. (2024), Fig. 9
STEPS = 7  # columns of `traverse`, of `interpolate` and of the sweep in `isolate`
FURTHEST = 1.5  # how far that sweep goes, where the image's own salient code is 1


def isolate(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """The salient content of target images alone, and growing from nothing.

    Abid and Zou (2019), Fig. 6b; "Towards principled objectives for contrastive disentanglement" (2020), Fig. 5.
    """
    shown = targets(dataset, n, 6, seed)
    code, nothing = sampling.encode(method, shown.images), sampling.blank(method, 1)[0]
    no_z = torch.zeros_like(code.z[0])
    sweeps = [
        sampling.interpolate(method, no_z, nothing, torch.lerp(nothing, s, FURTHEST), STEPS)
        for s in code.s
    ]
    shares = np.linspace(0, FURTHEST, STEPS)
    alone = zip(
        shown.names,
        frames(shown.images),
        frames(sampling.isolate(method, shown.images)),
        strict=True,
    )
    return Grid(
        [
            ["", "original", "z = 0, own s", *(f"{share:.3g} s" for share in shares)],
            *([*left, *frames(sweep)] for left, sweep in zip(alone, sweeps, strict=True)),
        ],
        "Salient content alone",
        "Target test images, and what is decoded from their salient code s with the common code z set to 0. On the "
        f"right, still at z = 0, s goes from blank (0 s) through the image's own (1 s) to {FURTHEST:g} times that. "
        f"{note(method, dataset, seed)}",
        column_breaks=[3],
    ).draw()


def traverse(
    method: Method,
    dataset: Dataset,
    n: int | None = None,
    seed: int = 0,
    span: tuple[float, float] = TRAVERSED,
) -> Image.Image:
    """One salient coordinate per row, moved while the rest of one target image's code stays; largest effect first.

    Carton et al. (2024), Fig. 9.

    Args:
        method: in eval mode.
        dataset: whose test images are shown.
        n: number of coordinates.
        seed: which image.
        span: the first and the last value that a coordinate is set to.

    Raises:
        StudioError: the values are not finite or do not rise.
    """
    if not (np.isfinite(span).all() and span[0] < span[1]):
        raise StudioError(
            f"range: found {span[0]:g} to {span[1]:g}, expected two numbers that rise, e.g. -1.5 1.5"
        )
    most = 8 if n is None else positive(n)
    shown = targets(dataset, 1, 1, seed)
    image, length = shown.images[0], method.blank(1).shape[1]
    values = np.linspace(*span, STEPS).tolist()
    moved = [sampling.traverse(method, image, k, values) for k in range(length)]
    effect = torch.stack([images.std(0).mean() for images in moved])
    share = effect / effect.sum().clamp(min=1e-12)
    ranked = effect.argsort(descending=True).tolist()
    rest = (
        f" The {length - most} not shown have {share[ranked[most:]].sum():.1%} of it together."
        if most < length
        else ""
    )
    rebuilt = frames(sampling.reconstruct(method, shown.images))[0]
    rows: list[list[Cell]] = [
        [
            shown.names[0],
            frames(shown.images)[0],
            "reconstruction →",
            rebuilt,
            *[None] * (STEPS - 3),
        ],
        ["", *(f"{value:.3g}" for value in values)],
        *([f"s[{k}] {share[k]:.1%}", *frames(moved[k])] for k in ranked[:most]),
    ]
    return Grid(
        rows,
        "Salient coordinates, one at a time",
        f"Each row sets one coordinate of s (of {length}) to values from {span[0]:g} to {span[1]:g} and leaves the rest of the "
        "image's code as it is. The percentage is the coordinate's share of the change that all of them make to this image "
        f"(standard deviation along the row, averaged over pixels); the largest come first.{rest} "
        f"{note(method, dataset, seed)}",
        breaks=[1],
    ).draw()


def interpolate(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """From the salient code of one target image to that of another, at the common code of the first.

    "Towards principled objectives for contrastive disentanglement" (2020), Fig. 8 and 10.
    """
    shown = targets(dataset, n, 6, seed, per_row=2)
    code = sampling.encode(method, shown.images)
    originals = frames(shown.images)
    rows: list[list[Cell]] = [
        ["", "original 1", "s of 1", *[""] * (STEPS - 2), "s of 2", "original 2", ""]
    ]
    for a in range(0, len(originals), 2):
        between = frames(sampling.interpolate(method, code.z[a], code.s[a], code.s[a + 1], STEPS))
        rows.append([shown.names[a], originals[a], *between, originals[a + 1], shown.names[a + 1]])
    return Grid(
        rows,
        "Interpolation of the salient code",
        "Between two target test images: all images between them keep the common code of original 1 while the salient "
        f"code moves on a straight line from that of original 1 to that of original 2. {note(method, dataset, seed)}",
        column_breaks=[2, 2 + STEPS],
    ).draw()
