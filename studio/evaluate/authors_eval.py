"""The evaluation mode of the authors of Double InfoGAN, for comparison with their numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from nets import frozen_statistics
from studio.data import Dataset
from studio.data.dataset import Split
from studio.evaluate.probe_options import EVAL_MODES, EvalMode
from studio.method import Code, Method
from studio.seeds import seed_everything

__all__ = ["EVAL_MODES", "EvalMode", "encode_as_authors"]

BATCH = 128  # as in the authors' evaluation and the caption of Table 4 of Carton et al. (2024)


@contextmanager
def _training_mode(method: Method) -> Iterator[None]:
    """Switches on noise and batch statistics, as in a model whose `eval()` was never called.

    Running statistics keep their values.
    """
    method.train()
    try:
        with frozen_statistics(method), torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        method.eval()


def encode_as_authors(
    method: Method, dataset: Dataset, split: Split, indices: dict[str, np.ndarray], seed: int
) -> dict[str, Code]:
    """Encodes images of both domains in shuffled, mixed batches of 128 with noise.

    Normalisation uses the statistics of each batch. The published numbers of Double InfoGAN were
    computed in this way, because its evaluation never calls `eval()`. A code then depends on the
    noise and on the other images of its batch.

    Args:
        method: in eval mode. It is in eval mode again afterwards.
        dataset: source of the images.
        split: of the images.
        indices: domain -> indices (n,).
        seed: of the order and of the noise.

    Returns:
        domain -> codes in the order of its indices.
    """
    where = [(domain, row) for domain, chosen in indices.items() for row in range(len(chosen))]
    order = np.random.default_rng(seed).permutation(len(where))
    codes = {
        domain: Code(torch.empty(len(i), method.config.z), torch.empty(len(i), method.config.s))
        for domain, i in indices.items()
    }
    with _training_mode(method):
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
            parts = zip(present, code.z.cpu().split(sizes), code.s.cpu().split(sizes), strict=True)
            for domain, z, s in parts:
                codes[domain].z[rows[domain]] = z.float()
                codes[domain].s[rows[domain]] = s.float()
    return codes
