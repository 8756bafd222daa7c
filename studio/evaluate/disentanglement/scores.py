"""Five disentanglement scores, computed on generated images of known factors.

They measure whether each factor of the salient content is encoded in a separate coordinate.
"""

from typing import Any

import numpy as np

from studio.data import Dataset
from studio.data.dataset import Factor, FactorDataset, Split
from studio.errors import StudioError, nearest
from studio.evaluate.codes import SPACES
from studio.evaluate.disentanglement.factorvae import (
    Sample,
    betavae,
    check_groups,
    draw_balanced,
    factorvae,
    factorvae_as_published,
    find_live,
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

__all__ = ["columns_of", "disentangle", "encode_factors", "targets_of", "unit_of"]

SPLIT: Split = "test"
CHUNK = 500  # images generated at a time
DRAWS = 2_000  # samples of the prior that estimate its standard deviation
NO_INFORMATION = dict.fromkeys(
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
    """Scores how the factors of a data set are encoded, on generated images of the test split.

    Half of the images train the classifiers of the scores, the other half test them. FactorVAE and
    beta-VAE fix the class of a factor, as in their papers: sprites of different shapes in one class
    of orientation are rotated by the same angle. MIG, DCI and SAP predict the visible factors
    (`FactorDataset.canonical_factors`), because no code can distinguish a square from a square
    rotated by a quarter turn.

    Args:
        method: in eval mode.
        dataset: any data set. See Returns.
        seed: of the factors, the images and all other random draws.
        space: the code to score: `salient`, `common` or `whole`.
        images: number of generated images.
        group: images that share a factor in a vote of FactorVAE, 100 in Carton et al. (2024).
        votes: votes for training, and as many for testing, 500 in Carton et al. (2024).

    Returns:
        None if the data set cannot generate images of at least two given factors. Otherwise a dict:

        - `space`, `factors`, `images`, `group`, `votes_train`, `votes_test`: the settings.
        - `factorvae`, `factorvae_as_published`, `betavae`, `mig`, `dci_disentanglement`,
          `dci_completeness`, `dci_informativeness`, `sap`: the scores.
        - `coordinates`: length of the code. `pruned`: number of its dead coordinates.
        - `chance`: expected scores of a code without information.
        - `note`: only if every coordinate is dead.

    Raises:
        StudioError: the space is unknown, there are too few images for the groups, the method is in
            training mode, or codes are not finite.
    """
    if space not in SPACES:
        raise StudioError(f"space: no such space {space!r}{nearest(space, SPACES)}")
    if not isinstance(dataset, FactorDataset) or len(dataset.generative_factors) < 2:
        return None
    factors, rng = dataset.generative_factors, np.random.default_rng(seed_of("factors", seed))
    parts = [draw_balanced([factor.size for factor in factors], images // 2, rng) for _ in range(2)]
    check_groups(parts[1], votes, group)  # before the images are generated
    train, test = (
        encode_factors(method, dataset, part, seed_of(seed, i), space)
        for i, part in enumerate(parts)
    )
    unit = unit_of(method, seed, space)
    alive, drawn = find_live(train.codes, unit), seed_of("votes", seed)
    published, published_chance = factorvae_as_published(train, votes, group, drawn)
    even = {"factorvae": 1 / len(factors), "betavae": 1 / len(factors)}
    scores = {**even, **NO_INFORMATION}
    if alive.any():
        kept = [Sample(sample.codes[:, alive], sample.factors) for sample in (train, test)]
        scores = {
            "factorvae": factorvae(train, test, votes, group, drawn, unit),
            "betavae": betavae(kept[0], kept[1], votes, drawn),
            **_mig_dci_sap(
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
        "chance": {**even, **NO_INFORMATION, "factorvae_as_published": published_chance},
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


def encode_factors(
    method: Method, dataset: FactorDataset, factors: np.ndarray, seed: int, space: str
) -> Sample:
    """Generates images of factors (n, f) and encodes them.

    Raises:
        StudioError: the method is in training mode, or codes are not finite.
    """
    codes = []
    for start in range(0, len(factors), CHUNK):
        images = dataset.images_of(factors[start : start + CHUNK], seed_of(seed, start), SPLIT)
        codes.append(columns_of(encode(method, images), space, method.config.name))
    return Sample(np.concatenate(codes), factors)


def unit_of(method: Method, seed: int, space: str = "salient") -> np.ndarray:
    """Returns the standard deviation of the coordinates of the target prior, (m,).

    `find_live` compares the coordinates of codes with it.
    """
    code = prior(method, DRAWS, "target", seed_of("unit", seed))
    return columns_of(code, space, f"prior of {method.config.name}").std(0)


def targets_of(seen: np.ndarray, factors: tuple[Factor, ...]) -> list[np.ndarray]:
    """Converts class numbers (n, f) to targets for prediction.

    Returns:
        for each factor int (n,) for a category, float (n,) for a number, float (n, 2) for a circle.
    """
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


def columns_of(code: Code, space: str, owner: str) -> np.ndarray:
    """Returns a space of a code as float64 (n, m).

    Raises:
        StudioError: some codes are not finite. The message begins with `owner`.
    """
    tensor = {"salient": code.s, "common": code.z}.get(space, code.concat())
    columns = tensor.numpy().astype(np.float64)
    bad = int((~np.isfinite(columns)).any(1).sum())
    if bad:
        raise StudioError(f"{owner}: {bad} of {len(columns)} {space} codes are NaN or infinite")
    return columns


def _mig_dci_sap(samples: list[Sample], factors: tuple[Factor, ...], seed: int) -> dict[str, float]:
    """Returns MIG, DCI and SAP. The first sample trains the classifiers, the second tests them."""
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
