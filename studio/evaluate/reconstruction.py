"""How far decoded images are from the images that were encoded."""

from math import isfinite

import numpy as np

from studio.data import Dataset
from studio.method import DOMAINS, Method
from studio.sampling import reconstruct

__all__ = ["reconstruction"]

IMAGES = 1_000  # per domain: the standard error of the mean is then about a fiftieth of it


def reconstruction(
    method: Method, dataset: Dataset, limit: int = IMAGES
) -> dict[str, float | int | None]:
    """Returns the mean absolute difference per element between test images and their reconstructions.

    Images run from -1 to 1, so that 2 is the most. Background images are decoded as in training: with a blank salient
    code where the method has one.

    Args:
        method: in eval mode.
        dataset: of the images.
        limit: images per domain.

    Returns:
        `background`, `target`, None where decoded images hold NaN or infinity; and `n`, the number of images of each.
    """
    errors: dict[str, float | int | None] = {}
    n = min(limit, *(dataset.size("test", domain) for domain in DOMAINS))
    for domain in DOMAINS:
        images = dataset.images("test", domain, np.arange(n))
        error = float((reconstruct(method, images, domain) - images).abs().mean())
        errors[domain] = error if isfinite(error) else None
    return {**errors, "n": n}
