"""ModelCentrality: selection among trained models without labels. Lin et al., ICML 2020
(InfoGAN-CR).

Disentangled models agree on the factors, up to their order and sign. Entangled models disagree,
each in its own way. The salient coordinates of each model are therefore taken as the true factors
in turn, and the codes of the other models are scored on its images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from studio.errors import StudioError
from studio.evaluate.disentanglement.factorvae import (
    Sample,
    check_groups,
    draw_balanced,
    factorvae,
)
from studio.evaluate.disentanglement.scores import columns_of, unit_of
from studio.method import Code, Method
from studio.sampling import decode, encode, prior
from studio.seeds import seed_of

__all__ = ["centrality"]

CHUNK = 500  # images generated at a time
DRAWS = 10_000  # samples of the prior that estimate its quantiles


def centrality(
    methods: Mapping[str, Method],
    seed: int = 0,
    images: int = 6_000,
    levels: int = 20,
    group: int = 100,
    votes: int = 500,
) -> dict[str, Any]:
    """Finds the most central model, the one that agrees most with the others.

    Lin et al. (2020): B_ij is the FactorVAE score of the codes of model j on images of model i,
    whose coordinates are the factors. A = (B + B^T) / 2. The centrality of a model is its mean A to
    the others, and the highest wins. Among equals the first wins, and two models alone are always
    equal. The authors test the majority vote on its training groups. Here it is tested on other
    groups, and dead coordinates are left out.

    In a group, one salient coordinate is fixed and everything else varies. Here each coordinate
    takes `levels` values, evenly spaced quantiles of its prior, independently of the other
    coordinates. The groups of all coordinates can therefore be drawn from the same images.

    Args:
        methods: name -> a method in eval mode. At least two, with at least two salient coordinates
            each.
        seed: of all random draws.
        images: number of images that each model generates and all models encode.
        levels: number of values of each coordinate.
        group: images of a vote.
        votes: votes for training, and as many for testing.

    Returns:
        a dict.

        - `models`: names, in the order of rows and columns.
        - `directed`: B. Its diagonal has the score of each model on its own images, which does not
          count. `matrix`: A.
        - `scores`: name -> centrality. `winner`: name of the most central model.
        - `chance`: name of model i -> B_ij of a model j without information.
        - `images`, `levels`, `group`, `votes_train`, `votes_test`: the settings.

    Raises:
        StudioError: there are fewer than two models, their images have different shapes, a model
            has a single salient coordinate or is in training mode, there are too few images for the
            groups, or codes are not finite.
    """
    names, sizes = list(methods), _sizes(methods)
    # Models with codes of the same length get the same draws, so that only the models differ.
    tables = {
        name: _draw_tables(size, images // 2, levels, seed_of("tables", seed))
        for name, size in sizes.items()
    }
    for halves in tables.values():
        check_groups(halves[1], votes, group)  # before the images are generated
    directed = np.empty((len(names), len(names)))
    for i, name in enumerate(names):
        halves = [
            _generate_and_encode(methods, name, table, seed_of(seed, half))
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
    """Returns the number of salient coordinates of each model.

    Raises:
        StudioError: the models cannot be compared.
    """
    if len(methods) < 2:
        raise StudioError(
            f"centrality compares at least 2 models, found {len(methods)}: "
            f"{', '.join(methods) or 'none'}"
        )
    sizes, shapes = {}, {}
    for name, method in methods.items():
        code = prior(method, 1, "target", 0)
        sizes[name], shapes[name] = code.s.shape[1], tuple(decode(method, code).shape[1:])
        if sizes[name] < 2:
            raise StudioError(
                f"{name} has a single salient coordinate, centrality needs at least 2"
            )
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise StudioError(f"centrality compares models of images of the same shape, found {found}")
    return sizes


def _draw_tables(size: int, n: int, levels: int, seed: int) -> list[np.ndarray]:
    """Returns for each half of the images the level of each coordinate, (n, m)."""
    if levels < 2:
        raise StudioError(f"levels: a coordinate takes at least 2 values, found {levels}")
    rng = np.random.default_rng(seed)
    return [draw_balanced([levels] * size, n, rng) for _ in range(2)]


def _generate_and_encode(
    methods: Mapping[str, Method], name: str, table: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Generates images with one model and encodes them with all models.

    Args:
        methods: name -> method.
        name: of the model that generates the images.
        table: level of each salient coordinate, (n, m).
        seed: of the levels and of the common codes.

    Returns:
        name -> salient codes (n, m_j).
    """
    drawn = prior(methods[name], DRAWS, "target", seed_of("levels", seed)).s.numpy()
    count = int(table.max()) + 1
    # Quantiles instead of random draws, because the spread of a few draws differs between
    # coordinates and would influence votes.
    values = torch.from_numpy(np.quantile(drawn, (np.arange(count) + 0.5) / count, axis=0)).float()
    free = prior(methods[name], len(table), "target", seed_of("z", seed)).z
    code = Code(free, values.gather(0, torch.from_numpy(table)))
    codes = {other: [] for other in methods}
    for z, s in zip(code.z.split(CHUNK), code.s.split(CHUNK), strict=True):
        images = decode(methods[name], Code(z, s))
        for other, method in methods.items():
            codes[other].append(columns_of(encode(method, images), "salient", other))
    return {other: np.concatenate(chunks) for other, chunks in codes.items()}
