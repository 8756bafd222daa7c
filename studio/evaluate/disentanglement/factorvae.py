"""The FactorVAE and beta-VAE disentanglement scores, as functions of codes.

The images of a group share one factor, and each group casts a vote. The groups are drawn from a
sample of codes with independent factors. To fix a factor, the group is drawn from the images of one
of its classes. The distribution is that of images generated for the group, but 500 groups of 100
need some thousand images instead of 50,000. Groups of the same class may share images. Groups for
training a classifier and groups for testing it never do.
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
    "betavae",
    "cast_votes",
    "check_groups",
    "draw_balanced",
    "factorvae",
    "factorvae_as_published",
    "find_live",
    "majority_accuracy",
    "rows_by_class",
]

# Share of the prior's standard deviation. Locatello et al. (2019) use 0.05 for priors of deviation
# 1.
DEAD = 0.05
RESAMPLES = 20
PAIRS = 64  # per vote of beta-VAE, as in Locatello et al. (2019)


class Sample(NamedTuple):
    """Codes (n, m) of images, and the class numbers (n, f) of the factors that generated them."""

    codes: np.ndarray
    factors: np.ndarray


class Votes(NamedTuple):
    """A vote per group: the coordinate that varied least (v,) and the fixed factor (v,)."""

    coordinate: np.ndarray
    factor: np.ndarray


def draw_balanced(sizes: Sequence[int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws class numbers (n, f). Each class of a factor occurs equally often, in random order."""
    return np.stack([rng.permutation(np.resize(np.arange(size), max(n, 0))) for size in sizes], 1)


def find_live(codes: np.ndarray, unit: np.ndarray | float = 1.0) -> np.ndarray:
    """Returns which coordinates are in use, (m,) bool.

    Dead coordinates carry no information, and division by their variance amplifies noise. Kim &
    Mnih (2018), App. B, leave out dimensions that have collapsed to the prior, where the code is
    the same for every image. Here a coordinate is dead if its standard deviation is at most 5 % of
    the prior's.

    Args:
        codes: (n, m).
        unit: standard deviation of the prior, one for all coordinates or (m,).
    """
    return codes.std(0) > DEAD * np.asarray(unit)


def check_groups(factors: np.ndarray, votes: int, group: int) -> None:
    """Checks that images of these factors (n, f) suffice for the groups and votes.

    Raises:
        StudioError: a group has fewer than two images, there are fewer votes than factors, or a
            class has fewer images than a group.
    """
    if group < 2:
        raise StudioError(f"group: a group has at least 2 images, found {group}")
    if votes < factors.shape[1]:
        raise StudioError(
            f"votes: each of the {factors.shape[1]} factors needs at least one, found {votes}"
        )
    for k, members in enumerate(rows_by_class(factors)):
        fewest = min(map(len, members), default=0)
        if fewest < group:
            raise StudioError(
                f"group: expected at least {group} images of each class, factor number {k + 1} "
                f"has a class of {fewest} among {len(factors)} (half of the images); use "
                "smaller groups or more images"
            )


def rows_by_class(factors: np.ndarray) -> list[list[np.ndarray]]:
    """Returns for each factor the rows of each class that occurs."""
    return [[np.flatnonzero(column == c) for c in np.unique(column)] for column in factors.T]


def cast_votes(
    sample: Sample, variance: np.ndarray, votes: int, group: int, rng: np.random.Generator
) -> Votes:
    """Casts one vote per group: the coordinate with the least variance if one factor is fixed.

    Kim & Mnih (2018), Sec. 4 and Fig. 2. The variance of each coordinate is divided by its variance
    over all images. The factors take turns, so that each is fixed equally often.

    Args:
        sample: the groups are drawn from it, without replacement within a group.
        variance: of each coordinate over all images, (m,). A coordinate with variance 0 gets no
            vote.
        votes: number of groups.
        group: images in each group.
        rng: draws the classes and the images.

    Raises:
        StudioError: as `check_groups`.
    """
    check_groups(sample.factors, votes, group)
    members = rows_by_class(sample.factors)
    factor = np.arange(votes) % len(members)
    coordinate = np.empty(votes, np.int64)
    for vote, k in enumerate(factor):
        rows = members[k][rng.integers(len(members[k]))]
        within = sample.codes[rng.choice(rows, group, replace=False)].var(0)
        coordinate[vote] = np.argmin(
            np.divide(within, variance, out=np.full(len(variance), np.inf), where=variance > 0)
        )
    return Votes(coordinate, factor)


def majority_accuracy(train: Votes, test: Votes) -> float:
    """Returns the accuracy on `test` of a majority vote of `train`.

    For each coordinate, it predicts the factor with most of the coordinate's votes in `train`.
    """
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
    """Returns the FactorVAE score (Kim & Mnih 2018, Sec. 4).

    It is the accuracy with which the coordinate of least variance predicts the fixed factor. Dead
    coordinates (`find_live`) are left out. If all are dead, the score is chance, one divided by the
    number of factors.

    Args:
        train: sample for the votes that train the classifier, and for the variances over all
            images.
        test: sample for the votes that test it.
        votes: number of votes of each.
        group: images that share a factor.
        seed: of the groups.
        unit: standard deviation of the prior.

    Returns:
        accuracy, from 0 to 1.

    Raises:
        StudioError: as `check_groups`.
    """
    alive = find_live(train.codes, unit)
    if not alive.any():
        return 1 / train.factors.shape[1]
    train, test = (Sample(s.codes[:, alive], s.factors) for s in (train, test))
    variance, rng = train.codes.var(0), np.random.default_rng(seed)
    return majority_accuracy(
        cast_votes(train, variance, votes, group, rng),
        cast_votes(test, variance, votes, group, rng),
    )


def factorvae_as_published(
    sample: Sample, votes: int, group: int, seed: int
) -> tuple[float, float]:
    """Returns the FactorVAE score as in Table 9 of Carton et al. (2024).

    The classifier is tested on its training votes, and no coordinate is left out. Three
    peculiarities of the authors' code are not repeated: global variances from images of another
    kind, noise and batch statistics, and a limit of five coordinates. Codes without information
    score above one divided by the number of factors, and the more coordinates they have, the higher
    they score.

    Returns:
        the score, and the score of votes whose factors have been permuted.
    """
    rng = np.random.default_rng(seed)
    cast = cast_votes(sample, sample.codes.var(0), votes, group, rng)
    permuted = (Votes(cast.coordinate, rng.permutation(cast.factor)) for _ in range(RESAMPLES))
    return majority_accuracy(cast, cast), float(
        np.mean([majority_accuracy(some, some) for some in permuted])
    )


def betavae(train: Sample, test: Sample, votes: int, seed: int, pairs: int = PAIRS) -> float:
    """Returns the beta-VAE score (Higgins et al. 2017, Sec. 3).

    It is the accuracy with which the distances within pairs predict the shared factor. A vote is
    the mean distance |s - s'| over pairs that share one factor. The class is drawn for each pair.
    The linear classifier is a logistic regression on standardised distances, so that the scales of
    the coordinates do not matter.

    Args:
        train: sample for training the classifier.
        test: sample for testing it.
        votes: number of votes of each.
        seed: of the pairs.
        pairs: per vote.

    Returns:
        accuracy, from 0 to 1. Chance is one divided by the number of factors.

    Raises:
        StudioError: as `check_groups`, with groups of two.
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
    check_groups(sample.factors, votes, 2)
    members = rows_by_class(sample.factors)
    shared, features = np.arange(votes) % len(members), np.empty((votes, sample.codes.shape[1]))
    for vote, k in enumerate(shared):
        sizes = np.array([len(rows) for rows in members[k]])
        chosen = rng.integers(len(sizes), size=pairs)
        first = rng.integers(sizes[chosen])
        # Any other image of the class.
        second = (first + 1 + rng.integers(sizes[chosen] - 1)) % sizes[chosen]
        rows = np.concatenate(members[k])
        start = (np.cumsum(sizes) - sizes)[chosen]
        features[vote] = np.abs(
            sample.codes[rows[start + first]] - sample.codes[rows[start + second]]
        ).mean(0)
    return features, shared
