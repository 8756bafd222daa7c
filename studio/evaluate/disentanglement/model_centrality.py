"""ModelCentrality: which of several trained models to take, without a label. Lin et al., ICML 2020 (InfoGAN-CR).

Disentangled models agree on the factors, up to their order and sign, and entangled ones disagree each in its own way. So
every model's salient coordinates are taken for the truth in turn: how well would another's codes score on its images?
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from studio.errors import StudioError
from studio.evaluate.disentanglement.factorvae import Sample, balanced, check, factorvae
from studio.evaluate.disentanglement.scores import columns_of, unit_of
from studio.method import Code, Method
from studio.sampling import decode, encode, prior
from studio.seeds import seed_of

__all__ = ["centrality"]

CHUNK = 500  # images made at a time
DRAWS = 10_000  # of the prior, for its quantiles


def centrality(
    methods: Mapping[str, Method],
    seed: int = 0,
    images: int = 6_000,
    levels: int = 20,
    group: int = 100,
    votes: int = 500,
) -> dict[str, Any]:
    """Finds the most central of some models: the one that the others agree with most.

    Lin et al. (2020): B_ij is the FactorVAE score of model j's codes on images of model i, whose coordinates are the
    factors; A = (B + B^T) / 2; a model's centrality is its mean A to the others, and the highest wins (the first of equals,
    and two alone are always equal). The authors score the majority vote on the groups that it has learnt; we do not, and
    prune dead coordinates.

    A group has one salient coordinate at one value, and everything else free. Here each coordinate takes `levels` values,
    evenly spread quantiles of its prior, independently of the other coordinates, so that the groups of every coordinate can
    be taken from the same images.

    Args:
        methods: name -> a method in eval mode; at least two, with at least two salient coordinates each.
        seed: of everything drawn.
        images: made by each model, and read by all.
        levels: values that each coordinate takes.
        group: images of a vote.
        votes: votes to learn from, and as many again to score.

    Returns:
        `models` (names, the order of rows and columns), `directed` (B, with each model's score on its own images on the
        diagonal, which does not count), `matrix` (A), `scores` (name -> centrality), `winner`, `chance` (name -> what B_ij of
        that i is where j's codes tell nothing), `images`, `levels`, `group`, `votes_train`, `votes_test`.

    Raises:
        StudioError: fewer than two models, images of different shapes, a model with a single salient coordinate or in
            training mode, groups that the images are too few for, codes that are not finite.
    """
    names, sizes = list(methods), _sizes(methods)
    # The same draws for every model, as far as their codes are alike: what differs is the models.
    tables = {
        name: _tables(size, images // 2, levels, seed_of("tables", seed))
        for name, size in sizes.items()
    }
    for halves in tables.values():
        check(halves[1], votes, group)  # before the images are made
    directed = np.empty((len(names), len(names)))
    for i, name in enumerate(names):
        halves = [
            _read(methods, name, table, seed_of(seed, half))
            for half, table in enumerate(tables[name])
        ]
        for j, other in enumerate(names):
            train, test = (
                Sample(codes[other], table)
                for codes, table in zip(halves, tables[name], strict=True)
            )
            unit = unit_of(methods[other], seed)
            directed[i, j] = factorvae(train, test, votes, group, seed_of("votes", seed), unit)
    matrix = (directed + directed.T) / 2
    scores = matrix[~np.eye(len(names), dtype=bool)].reshape(len(names), -1).mean(1)
    return {
        "models": names,
        "directed": directed.tolist(),
        "matrix": matrix.tolist(),
        "scores": dict(zip(names, scores.tolist(), strict=True)),
        "winner": names[int(scores.argmax())],
        "chance": {name: 1 / size for name, size in sizes.items()},
        "images": images // 2 * 2,
        "levels": levels,
        "group": group,
        "votes_train": votes,
        "votes_test": votes,
    }


def _sizes(methods: Mapping[str, Method]) -> dict[str, int]:
    """Returns how many salient coordinates each model has, after checking that the models can be compared."""
    if len(methods) < 2:
        raise StudioError(
            f"centrality compares at least 2 models, found {len(methods)}: {', '.join(methods) or 'none'}"
        )
    sizes, shapes = {}, {}
    for name, method in methods.items():
        code = prior(method, 1, "target", 0)
        sizes[name], shapes[name] = code.s.shape[1], tuple(decode(method, code).shape[1:])
        if sizes[name] < 2:
            raise StudioError(
                f"{name} has a single salient coordinate, and which of one is fixed is no question"
            )
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise StudioError(f"centrality compares models of images of one shape, found {found}")
    return sizes


def _tables(size: int, n: int, levels: int, seed: int) -> list[np.ndarray]:
    """Returns for each half of the images which of its levels each coordinate takes, (n, m)."""
    if levels < 2:
        raise StudioError(f"levels: a coordinate takes at least 2 values, found {levels}")
    rng = np.random.default_rng(seed)
    return [balanced([levels] * size, n, rng) for _ in range(2)]


def _read(
    methods: Mapping[str, Method], name: str, table: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Makes images with one model, of salient codes given by a table of levels, and encodes them with all: (n, m_j) each."""
    drawn = prior(methods[name], DRAWS, "target", seed_of("levels", seed)).s.numpy()
    count = int(table.max()) + 1
    # Quantiles, not draws: the spread of a few draws differs from coordinate to coordinate, and would decide votes.
    values = torch.from_numpy(np.quantile(drawn, (np.arange(count) + 0.5) / count, axis=0)).float()
    free = prior(methods[name], len(table), "target", seed_of("z", seed)).z
    code = Code(free, values.gather(0, torch.from_numpy(table)))
    codes = {other: [] for other in methods}
    for z, s in zip(code.z.split(CHUNK), code.s.split(CHUNK), strict=True):
        made = decode(methods[name], Code(z, s))
        for other, method in methods.items():
            codes[other].append(columns_of(encode(method, made), "salient", other))
    return {other: np.concatenate(chunks) for other, chunks in codes.items()}
