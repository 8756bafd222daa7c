"""Is each factor of the target's salient content in a coordinate of its own? Five scores, on images of known factors."""

from typing import Any

import numpy as np

from studio.data import Dataset
from studio.data.dataset import Factor, FactorDataset, Split
from studio.errors import StudioError, nearest
from studio.evaluate.disentanglement.factorvae import (
    Sample,
    balanced,
    betavae,
    check,
    factorvae,
    factorvae_as_published,
    live,
)
from studio.evaluate.disentanglement.mig_dci_sap import (
    completeness,
    disentanglement,
    importances,
    mig,
    sap,
)
from studio.method import Code, Method
from studio.sampling import encode, prior
from studio.seeds import seed_of

__all__ = ["columns_of", "disentangle", "sampled", "targets_of", "unit_of"]

SPACES = ("salient", "common", "whole")
SPLIT: Split = "test"
CHUNK = 500  # images made at a time
DRAWS = 2_000  # of the prior, for its standard deviation
NOTHING = dict.fromkeys(
    ("mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "sap"), 0.0
)


def disentangle(
    method: Method,
    dataset: Dataset,
    seed: int = 0,
    space: str = "salient",
    images: int = 16_000,
    group: int = 100,
    votes: int = 500,
) -> dict[str, Any] | None:
    """Scores how the factors of a data set lie in a code; in eval mode, on new images over test material.

    Half of the images teach the scores' classifiers, the other half score them. FactorVAE and beta-VAE fix a class of a
    factor, as in their papers: sprites of different shapes in one class of orientation are turned by the same angle. MIG,
    DCI and SAP read what can be seen (`FactorDataset.canonical_factors`), since no code can tell a square from one turned by a quarter.

    Args:
        method: in eval mode.
        dataset: any; see Returns.
        seed: of the factors, of the images and of everything drawn.
        space: `salient`, `common` or `whole`: the code to score.
        images: how many to make.
        group: images that share a factor in a vote of FactorVAE; 100 in Carton et al. (2024).
        votes: votes to learn from, and as many again to score; 500 in Carton et al. (2024).

    Returns:
        None where the data set cannot make images of two or more given factors; else `space`, `factors`, the scores
        `factorvae`, `factorvae_as_published`, `betavae`, `mig`, `dci_disentanglement`, `dci_completeness`,
        `dci_informativeness`, `sap`; `pruned` of `coordinates` that are dead; `chance`, what a code that tells nothing is
        expected to score; `images`, `group`, `votes_train`, `votes_test`; and a `note` where every coordinate is dead.

    Raises:
        StudioError: no such space, groups that the images are too few for, a method in training mode, codes that are not
            finite.
    """
    if space not in SPACES:
        raise StudioError(f"space: {space!r} is none{nearest(space, SPACES)}")
    if not isinstance(dataset, FactorDataset) or len(dataset.generative_factors) < 2:
        return None
    factors, rng = dataset.generative_factors, np.random.default_rng(seed_of("factors", seed))
    parts = [balanced([factor.size for factor in factors], images // 2, rng) for _ in range(2)]
    check(parts[1], votes, group)  # before the images are made
    train, test = (
        sampled(method, dataset, part, seed_of(seed, i), space) for i, part in enumerate(parts)
    )
    unit = unit_of(method, seed, space)
    alive, drawn = live(train.codes, unit), seed_of("votes", seed)
    published, published_chance = factorvae_as_published(train, votes, group, drawn)
    even = {"factorvae": 1 / len(factors), "betavae": 1 / len(factors)}
    scores = {**even, **NOTHING}
    if alive.any():
        kept = [Sample(sample.codes[:, alive], sample.factors) for sample in (train, test)]
        scores = {
            "factorvae": factorvae(train, test, votes, group, drawn, unit),
            "betavae": betavae(kept[0], kept[1], votes, drawn),
            **_aligned(
                [
                    Sample(sample.codes, dataset.canonical_factors(sample.factors))
                    for sample in kept
                ],
                factors,
                drawn,
            ),
        }
    return {
        "space": space,
        "factors": [factor.name for factor in factors],
        **scores,
        "factorvae_as_published": published,
        "pruned": int((~alive).sum()),
        "coordinates": len(alive),
        "chance": {**even, **NOTHING, "factorvae_as_published": published_chance},
        "images": sum(map(len, parts)),
        "group": group,
        "votes_train": votes,
        "votes_test": votes,
        **(
            {}
            if alive.any()
            else {"note": f"every coordinate of the {space} code is dead, and scores are chance"}
        ),
    }


def sampled(
    method: Method, dataset: FactorDataset, factors: np.ndarray, seed: int, space: str
) -> Sample:
    """Makes images of factors (n, f) and encodes them.

    Raises:
        StudioError: the method is in training mode, or codes are not finite.
    """
    codes = []
    for start in range(0, len(factors), CHUNK):
        images = dataset.images_of(factors[start : start + CHUNK], seed_of(seed, start), SPLIT)
        codes.append(columns_of(encode(method, images), space, method.config.name))
    return Sample(np.concatenate(codes), factors)


def unit_of(method: Method, seed: int, space: str = "salient") -> np.ndarray:
    """Returns the standard deviation of the target prior's coordinates, (m,), by which `live` tells which are in use."""
    code = prior(method, DRAWS, "target", seed_of("unit", seed))
    return columns_of(code, space, f"prior of {method.config.name}").std(0)


def targets_of(seen: np.ndarray, factors: tuple[Factor, ...]) -> list[np.ndarray]:
    """Returns class numbers (n, f) as what can be predicted: int (n,) categories, float (n,) numbers, (n, 2) circles."""
    targets = []
    for column, factor in zip(seen.T, factors, strict=True):
        if factor.category:
            targets.append(column)
        elif factor.period:
            angle = column * (2 * np.pi / factor.period)
            targets.append(np.stack([np.cos(angle), np.sin(angle)], 1))
        else:
            targets.append(column.astype(np.float64))
    return targets


def columns_of(code: Code, space: str, whose: str) -> np.ndarray:
    """Returns a space of a code as float64 (n, m).

    Raises:
        StudioError: it is not finite.
    """
    tensor = {"salient": code.s, "common": code.z}.get(space, code.concat())
    columns = tensor.numpy().astype(np.float64)
    bad = int((~np.isfinite(columns)).any(1).sum())
    if bad:
        raise StudioError(
            f"{whose}: {bad} of {len(columns)} {space} codes are not finite, expected numbers"
        )
    return columns


def _aligned(samples: list[Sample], factors: tuple[Factor, ...], seed: int) -> dict[str, float]:
    """Returns the scores that ask which coordinate tells of which factor; learnt on the first sample, scored on the second."""
    train, test = samples
    targets = [targets_of(sample.factors, factors) for sample in samples]
    importance, informativeness = importances(train.codes, targets[0], test.codes, targets[1], seed)
    return {
        "mig": mig(test.codes, test.factors),
        "dci_disentanglement": disentanglement(importance),
        "dci_completeness": completeness(importance),
        "dci_informativeness": informativeness,
        "sap": sap(test.codes, targets[1]),
    }
