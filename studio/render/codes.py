"""Scatter plots of the codes of test images, coloured by attribute."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import Attribute, Dataset
from studio.errors import StudioError, nearest
from studio.method import DOMAINS, Domain, Method
from studio.pixels import check_finite
from studio.projection import PLANES, project
from studio.render.grid import Grid
from studio.render.scatter import collect_colourings, draw_panels
from studio.render.selection import count_rows, describe_source, shuffle_indices

__all__ = ["draw_codes"]

POINTS = 1000  # images per domain
MOST_ROWS = 8  # colourings that are drawn by default, which fill two screens
NEIGHBOURS = (
    "Points that are neighbours in the code are neighbours in the plane of {}. Distances between "
    "groups mean nothing."
)
MEANING = {
    "pca": "The axes are {}, the directions in which each code varies most.",
    "tsne": NEIGHBOURS,
    "umap": NEIGHBOURS,
}


def draw_codes(
    method: Method,
    dataset: Dataset,
    n: int | None = None,
    seed: int = 0,
    kind: str = "pca",
    attributes: Sequence[str] | None = None,
) -> Image.Image:
    """Draws the salient and the common codes of n test images per domain in two dimensions.

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        n: images of each domain.
        seed: selects the images. Also the seed of t-SNE and UMAP.
        kind: projection, `pca`, `tsne` or `umap`.
        attributes: names of the attributes to colour by. By default the domain and as many
            attributes as fit, in turn from those that belong to either code.

    Raises:
        StudioError: an attribute does not exist, there are too few images, or codes are not finite.
    """
    n = count_rows(dataset, n, POINTS, DOMAINS)
    indices: dict[Domain, np.ndarray] = {
        domain: shuffle_indices(dataset, domain, seed)[:n] for domain in DOMAINS
    }
    codes = []
    for domain in DOMAINS:
        images = dataset.images("test", domain, indices[domain])
        check_finite(images, generated=False)
        codes.append(sampling.encode(method, images))
    # Mixed, because otherwise the points of one domain would cover those of the other.
    mixed = np.random.default_rng(seed).permutation(2 * n)
    planes = {
        name: project(torch.cat([getattr(code, name) for code in codes]).numpy()[mixed], kind, seed)
        for name in ("s", "z")
    }
    known = collect_colourings(dataset, indices)
    chosen = _choose({name: attribute for name, (attribute, _) in known.items()}, attributes)
    coloured = {name: (known[name][0], known[name][1][mixed]) for name in chosen}
    left = len(known) - len(chosen)
    more = (
        f" {left} more attributes are not shown; --attribute NAME draws the named one."
        if left and not attributes
        else ""
    )
    return Grid(
        [[draw_panels(planes, coloured)]],
        "Codes in two dimensions",
        f"The salient code s (left) and the common code z (right) of {n} background and {n} target "
        f"test images, one row per attribute. {MEANING[kind].format(PLANES[kind])} If the codes "
        "separate well, the classes of an attribute form groups in the code to which it belongs "
        f"and are mixed in the other.{more} {describe_source(method, dataset, seed)}",
        zoom=1,
    ).draw()


def _choose(known: Mapping[str, Attribute], wanted: Sequence[str] | None) -> list[str]:
    """Returns the wanted attributes, or the domain and attributes of both codes in turn."""
    for name in wanted or ():
        if name not in known:
            raise StudioError(
                f"--attribute {name}: no such attribute of the test images{nearest(name, known)}"
            )
    if wanted:
        return [*dict.fromkeys(wanted)]
    domain, *names = known
    by_code = [
        [name for name in names if known[name].belongs == code] for code in ("salient", "common")
    ]
    in_turn = [name for pair in zip_longest(*by_code) for name in pair if name is not None]
    kept = {domain, *in_turn[: MOST_ROWS - 1]}
    return [name for name in known if name in kept]
