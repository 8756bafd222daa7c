"""Where the codes of test images lie, by attribute."""

import numpy as np
import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import Dataset
from studio.grids import Grid
from studio.method import DOMAINS, Domain, Method
from studio.pictures.chosen import count, order, source
from studio.scatter import PLANES, colourings, panels, plane

__all__ = ["codes"]

POINTS = 1000  # images per domain
MEANING = {
    "pca": "The plane is that of {}, along which each code varies most.",
    "tsne": "Points that are neighbours in the code are neighbours in the plane of {}; distances between groups mean nothing.",
    "umap": "Points that are neighbours in the code are neighbours in the plane of {}; distances between groups mean nothing.",
}


def codes(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0, kind: str = "pca") -> Image.Image:
    """The salient and the common codes of n test images per domain in two dimensions, coloured by each attribute.

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        n: images of each domain.
        seed: which images; of t-SNE and UMAP.
        kind: of the plane, `pca`, `tsne` or `umap`.
    """
    n = count(dataset, n, POINTS, DOMAINS)
    indices: dict[Domain, np.ndarray] = {domain: order(dataset, domain, seed)[:n] for domain in DOMAINS}
    read = [sampling.encode(method, dataset.images("test", domain, indices[domain])) for domain in DOMAINS]
    mixed = np.random.default_rng(seed).permutation(2 * n)  # so that no colour lies on top of the others
    planes = {name: plane(torch.cat([getattr(code, name) for code in read]).numpy()[mixed], kind, seed) for name in ("s", "z")}
    coloured = {name: (attribute, values[mixed]) for name, (attribute, values) in colourings(dataset, indices).items()}
    return Grid(
        [[panels(planes, coloured)]],
        "Codes in two dimensions",
        f"The salient code s (left) and the common code z (right) of {n} background and {n} target test images; one row per "
        f"attribute. {MEANING[kind].format(PLANES[kind])} What belongs to a code should be seen there and not in the other. "
        f"{source(method, dataset, seed)}",
        zoom=1,
    ).draw()
