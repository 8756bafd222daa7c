"""Which coordinate holds still when a factor is fixed? The FactorVAE and the beta-VAE score, as functions of codes.

A group of images shares one factor, and the group's codes vote. The groups are drawn from a sample of codes whose factors
are independent of each other, so that fixing a factor means taking the images of one of its classes: the distribution is
that of images made for the group, and 500 groups of 100 need some thousand images instead of 50,000. Groups that share a class
may share images; those that a classifier learns from and those that it is scored on never do.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from studio.errors import StudioError

__all__ = [
    "Sample",
    "Votes",
    "balanced",
    "betavae",
    "by_class",
    "cast",
    "check",
    "factorvae",
    "factorvae_as_published",
    "live",
    "majority",
]

DEAD = 0.05  # of the prior's standard deviation; the threshold of Locatello et al. (2019), whose priors have 1
RESAMPLES = 20
PAIRS = 64  # per beta-VAE vote, as in Locatello et al. (2019)


class Sample(NamedTuple):
    """Codes (n, m) of images and the class numbers (n, f) of the factors that they were made of."""

    codes: np.ndarray
    factors: np.ndarray


class Votes(NamedTuple):
    """One vote per group: the coordinate that varied least (v,), and the factor that was fixed (v,)."""

    coordinate: np.ndarray
    factor: np.ndarray


def balanced(sizes: Sequence[int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws class numbers (n, f), each factor's classes equally often and in an order of its own."""
    return np.stack([rng.permutation(np.resize(np.arange(size), max(n, 0))) for size in sizes], 1)


def live(codes: np.ndarray, unit: np.ndarray | float = 1.0) -> np.ndarray:
    """Tells which coordinates are in use, (m,) bool: the others tell nothing, and dividing by their variance is noise.

    Kim & Mnih (2018), App. B, leave out dimensions that have collapsed to the prior, where the code read from an image is
    the same for every image. Here a coordinate is dead if its standard deviation is at most 5 % of the prior's.

    Args:
        codes: (n, m).
        unit: the prior's standard deviation, one for all or (m,).
    """
    return codes.std(0) > DEAD * np.asarray(unit)


def check(factors: np.ndarray, votes: int, group: int) -> None:
    """Refuses groups and votes that images of these factors (n, f) cannot give.

    Raises:
        StudioError: fewer than two images to a group, fewer votes than factors, or fewer images of a class than a group takes.
    """
    if group < 2:
        raise StudioError(f"group: a group has at least 2 images, found {group}")
    if votes < factors.shape[1]:
        raise StudioError(
            f"votes: each of the {factors.shape[1]} factors needs at least one, found {votes}"
        )
    for k, members in enumerate(by_class(factors)):
        fewest = min(map(len, members), default=0)
        if fewest < group:
            raise StudioError(
                f"group: {group} images that share a class are asked for, and factor number {k + 1} has a class of "
                f"{fewest} among {len(factors)} (half of the images); take smaller groups or more images"
            )


def by_class(factors: np.ndarray) -> list[list[np.ndarray]]:
    """Returns the rows of each class that occurs, factor by factor."""
    return [[np.flatnonzero(column == c) for c in np.unique(column)] for column in factors.T]


def cast(
    sample: Sample, variance: np.ndarray, votes: int, group: int, rng: np.random.Generator
) -> Votes:
    """Lets groups vote: fix one factor, divide each coordinate's variance by its global one, take the least.

    Kim & Mnih (2018), Sec. 4 and Fig. 2. Factors take turns, so that each is fixed equally often.

    Args:
        sample: where the groups are drawn from, without replacement within a group.
        variance: of each coordinate over all images, (m,); one of 0 gets no vote.
        votes: number of groups.
        group: images in each.
        rng: draws the classes and the images.

    Raises:
        StudioError: as `check`.
    """
    check(sample.factors, votes, group)
    members = by_class(sample.factors)
    factor = np.arange(votes) % len(members)
    coordinate = np.empty(votes, np.int64)
    for vote, k in enumerate(factor):
        rows = members[k][rng.integers(len(members[k]))]
        within = sample.codes[rng.choice(rows, group, replace=False)].var(0)
        coordinate[vote] = np.argmin(
            np.divide(within, variance, out=np.full(len(variance), np.inf), where=variance > 0)
        )
    return Votes(coordinate, factor)


def majority(train: Votes, test: Votes) -> float:
    """Returns the accuracy, on `test`, of guessing for each coordinate the factor that won most of its votes in `train`."""
    size = (
        max(train.coordinate.max(), test.coordinate.max()) + 1,
        max(train.factor.max(), test.factor.max()) + 1,
    )
    table = np.zeros(size, np.int64)
    np.add.at(table, (train.coordinate, train.factor), 1)
    return float(np.mean(table.argmax(1)[test.coordinate] == test.factor))


def factorvae(
    train: Sample, test: Sample, votes: int, group: int, seed: int, unit: np.ndarray | float = 1.0
) -> float:
    """FactorVAE score (Kim & Mnih 2018, Sec. 4): can the fixed factor be told from the coordinate that varied least?

    Dead coordinates (`live`) take no part; if all are dead, the score is chance, one over the number of factors.

    Args:
        train: sample for the classifier's votes and for the global variances.
        test: sample for the votes that it is scored on.
        votes: number of each.
        group: images that share a factor.
        seed: of the groups.
        unit: the prior's standard deviation.

    Returns:
        accuracy, from 0 to 1.

    Raises:
        StudioError: as `check`.
    """
    alive = live(train.codes, unit)
    if not alive.any():
        return 1 / train.factors.shape[1]
    train, test = (Sample(s.codes[:, alive], s.factors) for s in (train, test))
    variance, rng = train.codes.var(0), np.random.default_rng(seed)
    return majority(
        cast(train, variance, votes, group, rng), cast(test, variance, votes, group, rng)
    )


def factorvae_as_published(
    sample: Sample, votes: int, group: int, seed: int
) -> tuple[float, float]:
    """FactorVAE score as in Table 9 of Carton et al. (2024): the classifier is scored on the votes that it has learnt.

    Nothing is pruned. What their code does beyond that is not repeated: global variances from images of another kind, noise
    and batch statistics, no more than five coordinates. The score of codes that tell nothing is above one over the number of
    factors, and the more so the more coordinates there are.

    Returns:
        the score, and what it is when votes and factors are shuffled against each other.
    """
    rng = np.random.default_rng(seed)
    found = cast(sample, sample.codes.var(0), votes, group, rng)
    shuffled = (Votes(found.coordinate, rng.permutation(found.factor)) for _ in range(RESAMPLES))
    return majority(found, found), float(np.mean([majority(some, some) for some in shuffled]))


def betavae(train: Sample, test: Sample, votes: int, seed: int, pairs: int = PAIRS) -> float:
    """beta-VAE score (Higgins et al. 2017, Sec. 3): can the shared factor be told from how far apart pairs are?

    A vote is the mean distance |s - s'| of pairs that share one factor, pair by pair in a class drawn anew. The linear
    classifier is a logistic regression on standardised distances, so that the axes' scales do not matter.

    Args:
        train: sample for the classifier.
        test: sample that it is scored on.
        votes: number of each.
        seed: of the pairs.
        pairs: per vote.

    Returns:
        accuracy, from 0 to 1; chance is one over the number of factors.

    Raises:
        StudioError: as `check`, with groups of two.
    """
    rng = np.random.default_rng(seed)
    features, shared = _distances(train, votes, pairs, rng)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with threadpool_limits(1):
        return float(model.fit(features, shared).score(*_distances(test, votes, pairs, rng)))


def _distances(
    sample: Sample, votes: int, pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean distances (v, m) and the shared factors (v,)."""
    check(sample.factors, votes, 2)
    members = by_class(sample.factors)
    shared, features = np.arange(votes) % len(members), np.empty((votes, sample.codes.shape[1]))
    for vote, k in enumerate(shared):
        sizes = np.array([len(rows) for rows in members[k]])
        chosen = rng.integers(len(sizes), size=pairs)
        first = rng.integers(sizes[chosen])
        second = (first + 1 + rng.integers(sizes[chosen] - 1)) % sizes[
            chosen
        ]  # any other of the class
        rows = np.concatenate(members[k])
        start = (np.cumsum(sizes) - sizes)[chosen]
        features[vote] = np.abs(
            sample.codes[rows[start + first]] - sample.codes[rows[start + second]]
        ).mean(0)
    return features, shared
