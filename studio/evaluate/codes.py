"""Codes of images together with the labels of the images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from studio.code_frame import encode_items, sample_items
from studio.data import Dataset
from studio.data.dataset import Labels, Split
from studio.errors import StudioError
from studio.evaluate.authors_eval import EvalMode, encode_as_authors
from studio.evaluate.probe_options import LIMIT
from studio.method import DOMAINS, Domain, Method

__all__ = ["LIMIT", "SPACES", "Codes", "encode_split"]

SPACES = ("salient", "common", "whole")


@dataclass
class Codes:
    """Codes of n images with their labels.

    Attributes:
        spaces: "salient" (n, m), "common" (n, k), and "whole", both codes together (n, k + m).
        values: attribute -> (n,) class numbers or floats, -1 or NaN where unknown. "target" is the
            domain: 0 for background, 1 for target.
    """

    spaces: dict[str, np.ndarray]
    values: dict[str, np.ndarray]

    def of(self, domain: Domain) -> "Codes":
        """Returns the rows of a domain."""
        return self.take(self.values["target"] == int(domain == "target"))

    def has(self, name: str) -> np.ndarray:
        """Returns a mask (n,) of the rows with a value of an attribute.

        It is False everywhere if the data set has no such labels.
        """
        value = self.values.get(name, np.full(len(self.values["target"]), -1))
        return np.isfinite(value) & ~((value == -1) & np.issubdtype(value.dtype, np.integer))

    def known(self, name: str) -> "Codes":
        """Returns the rows that have a value of an attribute."""
        return self.take(self.has(name))

    def take(self, rows: np.ndarray) -> "Codes":
        """Returns some rows, chosen by a mask (n,) or by indices."""
        return Codes(
            {k: v[rows] for k, v in self.spaces.items()},
            {k: v[rows] for k, v in self.values.items()},
        )


def encode_split(
    method: Method,
    dataset: Dataset,
    split: Split,
    domains: Sequence[Domain] = DOMAINS,
    limit: int = LIMIT,
    eval_mode: EvalMode = "clean",
    seed: int = 0,
) -> Codes:
    """Encodes at most `limit` images of each domain of a split, each image once.

    A larger domain is sampled at random, so that a set in the order of its classes is represented
    by all of them. The sample is always the same and keeps the order of the set.

    An attribute that only one domain has is unknown on the other.

    Args:
        method: in eval mode.
        dataset: source of images and labels.
        split: of the images.
        domains: whose codes to return, in this order.
        limit: images per domain. A smaller domain is encoded completely.
        eval_mode: `clean`, or `authors` (`studio.evaluate.authors_eval`), whose batches mix both
            domains even if only one is requested.
        seed: of the authors' order and noise.

    Raises:
        StudioError: the method is in training mode, or a code is not finite.
    """
    indices = {domain: sample_items(dataset.size(split, domain), limit) for domain in DOMAINS}
    if eval_mode == "authors":
        read = encode_as_authors(method, dataset, split, indices, seed)
    else:
        read = {
            domain: encode_items(method, dataset, split, domain, indices[domain])
            for domain in domains
        }
    common = np.concatenate([read[domain].z.numpy() for domain in domains])
    salient = np.concatenate([read[domain].s.numpy() for domain in domains])
    spaces = {"salient": salient, "common": common, "whole": np.concatenate([common, salient], 1)}
    broken = np.count_nonzero(~np.isfinite(spaces["whole"]).all(1))
    if broken:
        raise StudioError(
            f"{method.config.name}: {broken} of {len(common)} codes of {split} images "
            "are NaN or infinite"
        )
    labels = [
        {k: v[indices[domain]] for k, v in dataset.labels(split, domain).items()}
        for domain in domains
    ]
    sizes = [len(indices[domain]) for domain in domains]
    target = np.repeat([int(domain == "target") for domain in domains], sizes)
    return Codes(spaces, {**_concatenate(labels, sizes), "target": target})


def _concatenate(labels: Sequence[Labels], sizes: Sequence[int]) -> Labels:
    """Joins the labels of the domains. An attribute that a domain lacks is unknown there."""
    kinds = {name: value.dtype for domain in labels for name, value in domain.items()}
    unknown = {
        name: -1 if np.issubdtype(kind, np.integer) else np.nan for name, kind in kinds.items()
    }
    return {
        name: np.concatenate(
            [
                d.get(name, np.full(n, unknown[name], kind))
                for d, n in zip(labels, sizes, strict=True)
            ]
        )
        for name, kind in kinds.items()
    }
