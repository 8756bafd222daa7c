"""The error of reconstructed images."""

from math import isfinite

import numpy as np

from studio.data import Dataset
from studio.method import DOMAINS, Method
from studio.sampling import reconstruct

__all__ = ["reconstruction"]

# Images per domain. The standard error of the mean is then about a fiftieth of the mean.
IMAGES = 1_000


def reconstruction(
    method: Method, dataset: Dataset, limit: int = IMAGES
) -> dict[str, float | int | None]:
    """Returns the mean absolute difference per element between test images and reconstructions.

    Images lie in [-1, 1], so the largest possible error is 2. Background images are decoded as in
    training: with the blank salient code if the method has one.

    Args:
        method: in eval mode.
        dataset: source of the images.
        limit: images per domain.

    Returns:
        `background` and `target`, None if decoded images are NaN or infinite, and `n`, the number
        of images of each domain.
    """
    errors: dict[str, float | int | None] = {}
    n = min(limit, *(dataset.size("test", domain) for domain in DOMAINS))
    for domain in DOMAINS:
        images = dataset.images("test", domain, np.arange(n))
        error = float((reconstruct(method, images, domain) - images).abs().mean())
        errors[domain] = error if isfinite(error) else None
    return {**errors, "n": n}
