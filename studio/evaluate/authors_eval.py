"""The regime of the published evaluation, for comparison with published numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from nets import frozen_statistics
from studio.data import Dataset
from studio.data.dataset import Split
from studio.method import Code, Method
from studio.seeds import seed_everything

__all__ = ["REGIMES", "encode_as_authors"]

REGIMES = ("clean", "authors")
BATCH = 128  # the authors' evaluation, and the caption of Table 4 of Carton et al. (2024)


@contextmanager
def _training(method: Method) -> Iterator[None]:
    """Noise on and batch statistics, as where a model was never put into eval mode; running statistics stay as they are."""
    method.train()
    try:
        with frozen_statistics(method), torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        method.eval()


def encode_as_authors(
    method: Method, dataset: Dataset, split: Split, indices: dict[str, np.ndarray], seed: int
) -> dict[str, Code]:
    """Encodes images of both domains in shuffled, mixed batches of 128 with noise and batch statistics.

    The published numbers of Double InfoGAN were made so, since its evaluation never calls `eval()`; a code then depends on
    the noise and on the other images of its batch.

    Args:
        method: in eval mode, as it is again afterwards.
        dataset: where the images come from.
        split: of the images.
        indices: domain -> indices (n,).
        seed: of the order and of the noise.

    Returns:
        domain -> codes in the order of its indices.
    """
    where = [(domain, row) for domain, chosen in indices.items() for row in range(len(chosen))]
    order = np.random.default_rng(seed).permutation(len(where))
    parts = {
        domain: (torch.empty(len(i), method.config.z), torch.empty(len(i), method.config.s))
        for domain, i in indices.items()
    }
    with _training(method):
        seed_everything("authors", seed)
        for chunk in np.array_split(order, max(1, -(-len(order) // BATCH))):
            rows = {
                domain: [where[i][1] for i in chunk if where[i][0] == domain] for domain in indices
            }
            present: Sequence[str] = [domain for domain in indices if rows[domain]]
            images = [
                dataset.images(split, domain, indices[domain][rows[domain]]) for domain in present
            ]
            code = method.encode(torch.cat(images).to(method.device))
            sizes = [len(rows[domain]) for domain in present]
            for domain, z, s in zip(
                present, code.z.cpu().split(sizes), code.s.cpu().split(sizes), strict=True
            ):
                parts[domain][0][rows[domain]], parts[domain][1][rows[domain]] = (
                    z.float(),
                    s.float(),
                )
    return {domain: Code(*pair) for domain, pair in parts.items()}
