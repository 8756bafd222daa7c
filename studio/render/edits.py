"""Edits of test images: reconstruction, pseudo-healthy counterpart, swap, all together."""

from itertools import chain

import numpy as np
import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import CounterfactualDataset, Dataset, MaskedDataset
from studio.errors import StudioError
from studio.method import DOMAINS, Method
from studio.pixels import strongest_difference, to_2d
from studio.render.grid import Cell, Grid
from studio.render.selection import (
    choose_scale,
    decode_matrix,
    describe_view,
    pick_both_domains,
    pick_targets,
    to_cells,
    to_coloured_cells,
)

__all__ = ["draw_counterfactual", "draw_heal", "draw_overview", "draw_reconstruct", "draw_swap"]

HEALED = "the pseudo-healthy counterpart, decoded with the blank salient code"


def draw_overview(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Draws every edit in one row: original, reconstruction, healed image, differences and swap."""
    shown = pick_both_domains(dataset, n, 5, seed)
    x, y = (shown[domain].images for domain in DOMAINS)
    reconstructed, healed = sampling.reconstruct(method, y), sampling.heal(method, y)
    plain, swapped = sampling.reconstruct(method, x, "background"), sampling.swap(method, x, y)
    removed, added = (
        strongest_difference(reconstructed, healed),
        strongest_difference(swapped, plain),
    )
    colours = choose_scale("with salient content - without", removed, added, signed=True)
    columns = {
        "": shown["target"].names,
        "original": to_cells(y),
        "reconstruction": to_cells(reconstructed),
        "healed": to_cells(healed),
        "difference": to_coloured_cells(colours, removed),
    }
    more_columns = {
        "": shown["background"].names,
        "original": to_cells(x),
        "reconstruction": to_cells(plain),
        "swap": to_cells(swapped),
        "difference": to_coloured_cells(colours, added),
    }
    cells = zip(*columns.values(), *more_columns.values(), strict=True)
    return Grid(
        [[*columns, *more_columns], *([*row] for row in cells)],
        "Effect of the salient code",
        "Left: target test images, decoded with their own salient code (reconstruction) and with "
        "the blank salient code (healed, the pseudo-healthy counterpart). Right: background test "
        "images, decoded with the blank salient code (reconstruction) and with the salient code of "
        "the target image in the same row (swap). The differences show the contribution of the "
        "salient code: red where it makes the image brighter, blue where it makes it darker. "
        f"{describe_view(method, dataset, seed)}",
        [colours],
        column_breaks=[5],
    ).draw()


def draw_reconstruct(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Draws test images, their reconstructions and the errors of these."""
    shown = pick_both_domains(dataset, n, 6, seed)
    reconstructed = {
        domain: sampling.reconstruct(method, shown[domain].images, domain) for domain in DOMAINS
    }
    error = {
        domain: strongest_difference(reconstructed[domain], shown[domain].images).abs()
        for domain in DOMAINS
    }
    colours = choose_scale("|reconstruction - original|", *error.values())
    halves = [
        zip(
            shown[d].names,
            to_cells(shown[d].images),
            to_cells(reconstructed[d]),
            to_coloured_cells(colours, error[d]),
            strict=True,
        )
        for d in DOMAINS
    ]
    means = " and ".join(
        f"{(reconstructed[d] - shown[d].images).abs().mean():.3f} ({d})" for d in DOMAINS
    )
    return Grid(
        [
            ["", "original", "reconstruction", "difference"] * 2,
            *([*x, *y] for x, y in zip(*halves, strict=True)),
        ],
        "Reconstruction of test images",
        "Each test image, the image decoded from its code, and the absolute difference. Background "
        "images are decoded with the blank salient code, as in training. Pixel values range from "
        f"-1 to 1. Mean absolute difference of the shown images: {means}. "
        f"{describe_view(method, dataset, seed)}",
        [colours],
        column_breaks=[4],
    ).draw()


def draw_swap(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Draws every common code of 2n test images with every salient code of the same images.

    The four blocks are the pairs of domains. They contain all columns of Carton et al. (2024),
    Fig. 3, and in addition swaps within a domain.
    """
    shown = pick_both_domains(dataset, n, 4, seed)
    images = torch.cat([shown[domain].images for domain in DOMAINS])
    names = [*chain.from_iterable(shown[domain].names for domain in DOMAINS)]
    originals = to_cells(images)
    decoded = decode_matrix(method, sampling.encode(method, images))
    rows: list[list[Cell]] = [
        ["", "", *names],
        ["common code of ↓", "salient code of →", *originals],
        *(
            [name, original, *row]
            for name, original, row in zip(names, originals, decoded, strict=True)
        ),
    ]
    breaks = [2, 2 + len(names) // 2]
    return Grid(
        rows,
        "Salient content swapped",
        "The top row and the left column are test images. Every other image is decoded from the "
        "common code of the image at the left of its row and the salient code of the image at the "
        "top of its column. If the codes separate well, the content that only target images have "
        "follows the column and everything else follows the row. The diagonal holds plain "
        f"reconstructions. {describe_view(method, dataset, seed)}",
        breaks=breaks,
        column_breaks=breaks,
    ).draw()


def draw_heal(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Draws target images, their pseudo-healthy counterparts and the content that was removed.

    Carton et al. (2024), Fig. 7.
    """
    shown = pick_targets(dataset, n, 6, seed)
    reconstructed = sampling.reconstruct(method, shown.images)
    healed = sampling.heal(method, shown.images)
    removed = strongest_difference(reconstructed, healed)
    colours = choose_scale("reconstruction - healed", removed, signed=True)
    columns = {
        "": shown.names,
        "original": to_cells(shown.images),
        "reconstruction": to_cells(reconstructed),
        "healed": to_cells(healed),
        "difference": to_coloured_cells(colours, removed),
    }
    return Grid(
        [[*columns], *zip(*columns.values(), strict=True)],
        "Salient content removed",
        "Target test images, decoded with their own salient code (reconstruction) and healed "
        f"({HEALED}). The difference between the two is the contribution of the salient code: red "
        "where it makes the image brighter, blue where it makes it darker. "
        f"{describe_view(method, dataset, seed)}",
        [colours],
    ).draw()


def draw_counterfactual(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Draws healed target images, and the map of the removed content next to the true mask."""
    if not isinstance(dataset, MaskedDataset):
        raise StudioError(
            f"render counterfactual: data set {dataset.config.name!r} has no masks of its salient "
            "content; see heal"
        )
    shown = pick_targets(dataset, n, 6, seed)
    indices = shown.indices
    reconstructed = sampling.reconstruct(method, shown.images)
    healed = sampling.heal(method, shown.images)
    removed, masks = sampling.salient_map(reconstructed, healed), dataset.masks("test", indices)
    colours = choose_scale("|reconstruction - healed|", removed)
    truth = (
        {"truly healthy": to_cells(dataset.healthy("test", indices))}
        if isinstance(dataset, CounterfactualDataset)
        else {}
    )
    columns = {
        "original": to_cells(shown.images),
        "reconstruction": to_cells(reconstructed),
        "healed": to_cells(healed),
        **truth,
        "difference": to_coloured_cells(colours, removed),
        "mask": list(to_2d(masks.numpy()[..., None] * np.uint8(255))),
    }
    inside, outside = (
        removed[where].mean() if where.any() else float("nan") for where in (masks, ~masks)
    )
    true_images = (
        " Truly healthy: the same image without its salient content, known from the data set."
        if truth
        else ""
    )
    return Grid(
        [["", *columns], *zip(shown.names, *columns.values(), strict=True)],
        f"Healed images, and {'the truth' if truth else 'the masks'}",
        "Target test images, decoded with their own salient code (reconstruction) and healed "
        f"({HEALED}).{true_images} Difference: absolute difference of reconstruction and healed "
        "image. Mask: the marked salient content, white. Pixel values range from -1 to 1. The mean "
        f"difference is {inside:.3f} inside the masks and {outside:.3f} outside. "
        f"{describe_view(method, dataset, seed)}",
        [colours],
    ).draw()
