"""What a method makes of test images: reconstructed, healed, swapped, and all of that side by side."""

from itertools import chain

import numpy as np
import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import CounterfactualDataset, Dataset, MaskedDataset
from studio.errors import StudioError
from studio.method import DOMAINS, Method
from studio.render.grid import Cell, Grid, flat
from studio.render.selection import both, difference, frames, matrix, note, paint, scale, targets

__all__ = ["counterfactual", "heal", "overview", "reconstruct", "swap"]


def overview(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """All that is done to images, in one row each: original, reconstruction, healed, difference, and swap."""
    shown = both(dataset, n, 5, seed)
    x, y = (shown[domain].images for domain in DOMAINS)
    rebuilt, healed = sampling.reconstruct(method, y), sampling.heal(method, y)
    plain, swapped = sampling.reconstruct(method, x, "background"), sampling.swap(method, x, y)
    removed, added = difference(rebuilt, healed), difference(swapped, plain)
    colours = scale("with salient content - without", removed, added, signed=True)
    columns = [
        shown["target"].names,
        frames(y),
        frames(rebuilt),
        frames(healed),
        paint(colours, removed),
        shown["background"].names,
        frames(x),
        frames(plain),
        frames(swapped),
        paint(colours, added),
    ]
    head = [
        "",
        "original",
        "reconstruction",
        "healed",
        "difference",
        "",
        "original",
        "reconstruction",
        "swap",
        "difference",
    ]
    return Grid(
        [head, *([*row] for row in zip(*columns, strict=True))],
        "What the salient code does",
        "On the left target test images: decoded with their own codes (reconstruction) and with a blank salient code (healed). "
        "On the right background test images: decoded with a blank salient code (reconstruction) and with the salient code of "
        "the target image in the same row (swap). The differences are what the salient code had added to the one and adds to "
        f"the other: red where brighter, blue where darker. {note(method, dataset, seed)}",
        [colours],
        column_breaks=[5],
    ).draw()


def reconstruct(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Test images, their reconstructions, and how far these are off."""
    shown = both(dataset, n, 6, seed)
    rebuilt = {
        domain: sampling.reconstruct(method, shown[domain].images, domain) for domain in DOMAINS
    }
    off = {domain: difference(rebuilt[domain], shown[domain].images).abs() for domain in DOMAINS}
    colours = scale("|reconstruction - original|", *off.values())
    halves = [
        zip(
            shown[d].names,
            frames(shown[d].images),
            frames(rebuilt[d]),
            paint(colours, off[d]),
            strict=True,
        )
        for d in DOMAINS
    ]
    means = " and ".join(
        f"{(rebuilt[d] - shown[d].images).abs().mean():.3f} ({d})" for d in DOMAINS
    )
    return Grid(
        [
            ["", "original", "reconstruction", "difference"] * 2,
            *([*x, *y] for x, y in zip(*halves, strict=True)),
        ],
        "Reconstruction of test images",
        "Each image, what is decoded from its code, and the absolute difference; background images with a blank "
        f"salient code, as in training. Images run from -1 to 1; mean difference: {means}. "
        f"{note(method, dataset, seed)}",
        [colours],
        column_breaks=[4],
    ).draw()


def swap(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Every common code of 2n test images with every salient code of the same: four blocks, one per pair of domains.

    All columns of Carton et al. (2024), Fig. 3, are in it, and swaps within a domain besides.
    """
    shown = both(dataset, n, 4, seed)
    images = torch.cat([shown[domain].images for domain in DOMAINS])
    names = [*chain.from_iterable(shown[domain].names for domain in DOMAINS)]
    originals, made = frames(images), matrix(method, sampling.encode(method, images))
    rows: list[list[Cell]] = [
        ["", "", *names],
        ["common code of ↓", "salient code of →", *originals],
        *(
            [name, original, *row]
            for name, original, row in zip(names, originals, made, strict=True)
        ),
    ]
    breaks = [2, 2 + len(names) // 2]
    return Grid(
        rows,
        "Salient content swapped",
        "Top and left: test images. Every other image takes its common code from the image at the left of its row and "
        "its salient code from the image at the top of its column, so what only target images have should follow the "
        f"column and all else the row. The diagonal is the plain reconstruction. {note(method, dataset, seed)}",
        breaks=breaks,
        column_breaks=breaks,
    ).draw()


def heal(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Target images without their salient content, and what was taken away.

    Carton et al. (2024), Fig. 7.
    """
    shown = targets(dataset, n, 6, seed)
    rebuilt, healed = (
        sampling.reconstruct(method, shown.images),
        sampling.heal(method, shown.images),
    )
    removed = difference(rebuilt, healed)
    colours = scale("reconstruction - healed", removed, signed=True)
    columns = (
        shown.names,
        frames(shown.images),
        frames(rebuilt),
        frames(healed),
        paint(colours, removed),
    )
    return Grid(
        [["", "original", "reconstruction", "healed", "difference"], *zip(*columns, strict=True)],
        "Salient content removed",
        "Target test images, decoded with their own salient code (reconstruction) and with a blank one (healed). The "
        "difference between these two is what the salient code had added: red where it made the image brighter, blue "
        f"where darker. {note(method, dataset, seed)}",
        [colours],
    ).draw()


def counterfactual(
    method: Method, dataset: Dataset, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Target images, healed, with the map of what was taken away beside the mask of what should be."""
    if not isinstance(dataset, MaskedDataset):
        raise StudioError(
            f"render counterfactual: data set {dataset.config.name!r} has no masks of its salient content; see heal"
        )
    shown = targets(dataset, n, 6, seed)
    indices = [int(name.split()[1]) for name in shown.names]
    rebuilt, healed = (
        sampling.reconstruct(method, shown.images),
        sampling.heal(method, shown.images),
    )
    found, masks = sampling.salient_map(rebuilt, healed), dataset.masks("test", indices)
    colours = scale("|reconstruction - healed|", found)
    truth = (
        {"truly healthy": frames(dataset.healthy("test", indices))}
        if isinstance(dataset, CounterfactualDataset)
        else {}
    )
    columns = {
        "original": frames(shown.images),
        "reconstruction": frames(rebuilt),
        "healed": frames(healed),
        **truth,
        "difference": paint(colours, found),
        "mask": list(flat(masks.numpy()[..., None] * np.uint8(255))),
    }
    inside, outside = (
        found[where].mean() if where.any() else float("nan") for where in (masks, ~masks)
    )
    return Grid(
        [["", *columns], *zip(shown.names, *columns.values(), strict=True)],
        f"Healed images, and {'the truth' if truth else 'the masks'}",
        "Target test images, decoded with their own salient code (reconstruction) and with a blank one (healed)"
        f"{', and what they would look like without their salient content' if truth else ''}; the absolute difference "
        "of reconstruction and healed image, and where salient content is marked (mask), white. Images run from -1 to "
        f"1; the difference's mean is {inside:.3f} inside the masks and {outside:.3f} outside. {note(method, dataset, seed)}",
        [colours],
    ).draw()
