"""Where the codes of test images lie, by attribute."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import Attribute, Dataset
from studio.errors import StudioError, nearest
from studio.method import DOMAINS, Domain, Method
from studio.projection import PLANES, project
from studio.render.grid import Grid
from studio.render.scatter import colourings, panels
from studio.render.selection import count, order, source

__all__ = ["codes"]

POINTS = 1000  # images per domain
MOST_ROWS = 8  # colourings that are drawn where nobody says which: two screens
MEANING = {
    "pca": "The plane is that of {}, along which each code varies most.",
    "tsne": "Points that are neighbours in the code are neighbours in the plane of {}; distances between groups mean nothing.",
    "umap": "Points that are neighbours in the code are neighbours in the plane of {}; distances between groups mean nothing.",
}


def codes(
    method: Method,
    dataset: Dataset,
    n: int | None = None,
    seed: int = 0,
    kind: str = "pca",
    attributes: Sequence[str] | None = None,
) -> Image.Image:
    """The salient and the common codes of n test images per domain in two dimensions, coloured by each attribute.

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        n: images of each domain.
        seed: which images; of t-SNE and UMAP.
        kind: of the plane, `pca`, `tsne` or `umap`.
        attributes: what to colour by; by default the domain and as many attributes as fit, of both codes in turn.

    Raises:
        StudioError: no such attribute, too few images, or codes that are not finite.
    """
    n = count(dataset, n, POINTS, DOMAINS)
    indices: dict[Domain, np.ndarray] = {
        domain: order(dataset, domain, seed)[:n] for domain in DOMAINS
    }
    read = [
        sampling.encode(method, dataset.images("test", domain, indices[domain]))
        for domain in DOMAINS
    ]
    mixed = np.random.default_rng(seed).permutation(
        2 * n
    )  # so that no colour lies on top of the others
    planes = {
        name: project(torch.cat([getattr(code, name) for code in read]).numpy()[mixed], kind, seed)
        for name in ("s", "z")
    }
    found = colourings(dataset, indices)
    chosen = _chosen({name: attribute for name, (attribute, _) in found.items()}, attributes)
    coloured = {name: (found[name][0], found[name][1][mixed]) for name in chosen}
    left = len(found) - len(chosen)
    more = (
        f" {left} more attributes are not shown; --attribute NAME draws what it names."
        if left and not attributes
        else ""
    )
    return Grid(
        [[panels(planes, coloured)]],
        "Codes in two dimensions",
        f"The salient code s (left) and the common code z (right) of {n} background and {n} target test images; one row per "
        f"attribute. {MEANING[kind].format(PLANES[kind])} What belongs to a code should be seen there and not in the other."
        f"{more} {source(method, dataset, seed)}",
        zoom=1,
    ).draw()


def _chosen(found: Mapping[str, Attribute], wanted: Sequence[str] | None) -> list[str]:
    """Returns what to colour by: what is wanted, or else the domain, which is the first, and attributes of both codes in turn."""
    for name in wanted or ():
        if name not in found:
            raise StudioError(
                f"--attribute {name}: no such attribute of the test images{nearest(name, found)}"
            )
    if wanted:
        return [*dict.fromkeys(wanted)]
    domain, *names = found
    homes = [
        [name for name in names if found[name].belongs == home] for home in ("salient", "common")
    ]
    in_turn = [name for both in zip_longest(*homes) for name in both if name is not None]
    kept = {domain, *in_turn[: MOST_ROWS - 1]}
    return [name for name in found if name in kept]
