"""Disentanglement scores of codes with a known answer: perfect, mixed, useless and dead."""

import numpy as np
import pytest

from studio.data.dataset import Factor
from studio.errors import StudioError
from studio.evaluate.disentanglement.factorvae import (
    Sample,
    Votes,
    betavae,
    cast_votes,
    draw_balanced,
    factorvae,
    factorvae_as_published,
    find_live,
    majority_accuracy,
)
from studio.evaluate.disentanglement.mig_dci_sap import (
    completeness,
    disentanglement,
    importances,
    mig,
    sap,
)
from studio.evaluate.disentanglement.scores import targets_of

N, VOTES, GROUP = 3_000, 400, 60
FACTORS = (
    Factor("kind", 3, category=True),
    Factor("a", 6),
    Factor("b", 8),
    Factor("c", 16),
    Factor("turn", 24, period=24),
)
SIZES = [factor.size for factor in FACTORS]


def pair(code, n: int = N) -> tuple[Sample, Sample]:
    """Returns two samples of the codes that `code` computes from standardised factors (n, 5)."""
    samples = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        factors = draw_balanced(SIZES, n, rng)
        even = (factors - (np.array(SIZES) - 1) / 2) / (np.sqrt(np.square(SIZES) - 1) / np.sqrt(12))
        samples.append(Sample(np.asarray(code(even, rng), np.float64), factors))
    return samples[0], samples[1]


def scores(train: Sample, test: Sample) -> dict[str, float]:
    targets = [targets_of(sample.factors, FACTORS) for sample in (train, test)]
    importance, informativeness = importances(train.codes, targets[0], test.codes, targets[1], 0)
    return {
        "factorvae": factorvae(train, test, VOTES, GROUP, 0),
        "betavae": betavae(train, test, VOTES, 0),
        "mig": mig(test.codes, test.factors),
        "disentanglement": disentanglement(importance),
        "completeness": completeness(importance),
        "informativeness": informativeness,
        "sap": sap(test.codes, targets[1]),
    }


@pytest.fixture(scope="module")
def perfect() -> tuple[Sample, Sample]:
    return pair(lambda even, rng: even)


@pytest.fixture(scope="module")
def best(perfect: tuple[Sample, Sample]) -> dict[str, float]:
    return scores(*perfect)


def test_scores_are_perfect_for_codes_that_equal_the_factors(best: dict[str, float]) -> None:
    assert best["factorvae"] == best["betavae"] == 1
    assert 0.95 < best["mig"] <= 1
    assert min(best["disentanglement"], best["completeness"], best["informativeness"]) > 0.97
    # The gap of a category is to chance, 1/3. A linear function of the angle explains 6/pi^2 of
    # the variance of its sine and cosine.
    assert best["sap"] == pytest.approx((2 / 3 + 3 + 6 / np.pi**2) / 5, abs=0.01)


def test_scores_ignore_order_sign_and_scale_of_the_axes(
    perfect: tuple[Sample, Sample], best: dict[str, float]
) -> None:
    order, scale = (
        [3, 0, 4, 1, 2],
        np.array([2.0**9, -1, 0.5, -(2.0**-2), 1]),
    )  # within `unit`, below
    moved = scores(*(Sample(sample.codes[:, order] * scale, sample.factors) for sample in perfect))
    assert moved == {name: pytest.approx(value, abs=0.01) for name, value in best.items()}
    unit = 2.0 ** -np.arange(5) * 1e-3  # and a unit of its own for each axis
    tiny = (Sample(sample.codes * unit, sample.factors) for sample in perfect)
    assert factorvae(*tiny, VOTES, GROUP, 0, unit) == 1


def test_factorvae_ignores_the_scale_of_noisy_axes() -> None:
    # Where a fixed factor leaves noise, the axis of the smallest scale would win every vote, were
    # variances not global shares.
    noisy = pair(lambda even, rng: even + rng.normal(size=even.shape))
    plain = factorvae(*noisy, VOTES, GROUP, 0)
    assert plain > 0.9
    scaled = [
        Sample(sample.codes * 2.0 ** np.array([3, 0, -2, 1, 5]), sample.factors) for sample in noisy
    ]
    assert factorvae(*scaled, VOTES, GROUP, 0) == plain
    published = [factorvae_as_published(samples[0], VOTES, GROUP, 0) for samples in (noisy, scaled)]
    assert published[0] == published[1]


def test_scores_are_chance_for_codes_without_information() -> None:
    useless = scores(*pair(lambda even, rng: rng.normal(size=(N, 6))))
    assert useless["factorvae"] == pytest.approx(0.2, abs=0.07)
    assert useless["betavae"] == pytest.approx(0.2, abs=0.07)
    for name in ("mig", "disentanglement", "completeness", "sap"):
        assert useless[name] == pytest.approx(0, abs=0.02), name
    assert useless["informativeness"] == pytest.approx(0, abs=0.1)


def test_scores_fall_for_rotated_codes_of_equal_informativeness(best: dict[str, float]) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    rotated = scores(*pair(lambda even, rng: even @ rotation))
    assert rotated["betavae"] > 0.8  # which is linear, and forgives a rotation
    assert rotated["factorvae"] < 0.9
    for name in ("mig", "disentanglement", "completeness", "sap"):
        assert rotated[name] < 0.5 * best[name], name


def test_scores_fall_when_two_factors_share_a_coordinate() -> None:
    mixed = pair(lambda even, rng: np.column_stack([even[:, 1] + even[:, 2], even[:, [0, 3, 4]]]))
    assert factorvae(*mixed, VOTES, GROUP, 0) == pytest.approx(0.8)
    assert factorvae_as_published(mixed[0], VOTES, GROUP, 0)[0] == pytest.approx(0.8)
    targets = [targets_of(sample.factors, FACTORS) for sample in mixed]
    importance, _ = importances(mixed[0].codes, targets[0], mixed[1].codes, targets[1], 0)
    # Half of coordinate 0 is each factor's, so that it, with two fifths of all importance, is 1 -
    # log 2 / log 5 disentangled.
    assert disentanglement(importance) == pytest.approx(1 - 2 / 5 * np.log(2) / np.log(5), abs=0.02)
    assert completeness(importance) > 0.95


def test_factorvae_ignores_dead_coordinates(
    perfect: tuple[Sample, Sample], best: dict[str, float]
) -> None:
    rng = np.random.default_rng(0)
    dead = [
        Sample(
            np.column_stack([np.ones(N), s.codes, rng.normal(0, 0.04, (N, 2)), np.zeros(N)]),
            s.factors,
        )
        for s in perfect
    ]
    assert find_live(dead[0].codes).tolist() == [False] + [True] * 5 + [False] * 3
    assert find_live(dead[0].codes, 0.5).sum() == 7  # 0.04 is more than 5 % of 0.5
    assert factorvae(*dead, VOTES, GROUP, 0) == best["factorvae"]
    assert mig(dead[1].codes, dead[1].factors) == pytest.approx(
        best["mig"], abs=0.01
    )  # mutual information of noise in 20 bins
    noisy = Sample(perfect[0].codes[:, [0]] * [[0.0]], perfect[0].factors)
    assert factorvae(noisy, noisy, VOTES, GROUP, 0) == 0.2
    assert (
        factorvae_as_published(dead[0], VOTES, GROUP, 0)[0] == 1
    )  # a constant divides by zero and gets no vote


def test_factorvae_as_published_overrates_useless_codes() -> None:
    # Peers' trap 12: with 30 coordinates and 400 votes, chance is not one fifth, and that is said.
    train, test = pair(lambda even, rng: rng.normal(size=(N, 30)))
    published, chance = factorvae_as_published(train, VOTES, GROUP, 0)
    assert published == pytest.approx(chance, abs=0.04)
    assert chance > 0.3
    assert factorvae(train, test, VOTES, GROUP, 0) == pytest.approx(0.2, abs=0.07)


def test_factorvae_of_one_sample_equals_separately_generated_groups() -> None:
    noise, size, votes = 2.0, 60, 400

    def code(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return factors + rng.normal(size=factors.shape) * np.array(SIZES) / np.sqrt(12) * noise

    def slow(seed: int) -> Votes:
        rng, found = np.random.default_rng(seed), []
        for vote in range(votes):
            factors = np.stack([rng.integers(0, count, size) for count in SIZES], 1)
            factors[:, vote % 5] = factors[0, vote % 5]
            found.append(np.argmin(code(factors, rng).var(0) / variance))
        return Votes(np.array(found), np.arange(votes) % 5)

    tables = [draw_balanced(SIZES, N, np.random.default_rng(i)) for i in (1, 2)]
    samples = [
        Sample(code(table, np.random.default_rng(i)), table) for i, table in enumerate(tables)
    ]
    variance = samples[0].codes.var(0)
    expected = majority_accuracy(slow(3), slow(4))
    assert 0.3 < expected < 0.9  # neither chance nor perfect, or nothing would be compared
    assert factorvae(*samples, votes, size, 0) == pytest.approx(expected, abs=0.08)


def test_cast_votes_and_majority_accuracy_count_correctly() -> None:
    train, _ = pair(lambda even, rng: even[:, ::-1])
    found = cast_votes(train, train.codes.var(0), 10, GROUP, np.random.default_rng(0))
    assert found.factor.tolist() == [0, 1, 2, 3, 4] * 2
    assert found.coordinate.tolist() == [4, 3, 2, 1, 0] * 2
    learnt = Votes(np.array([0, 0, 0, 1, 1]), np.array([2, 2, 1, 0, 0]))
    assert majority_accuracy(learnt, learnt) == 0.8
    assert (
        majority_accuracy(learnt, Votes(np.array([0, 0, 1, 3]), np.array([2, 1, 0, 2]))) == 0.5
    )  # coordinate 3 got no vote


def test_importances_have_their_closed_forms() -> None:
    assert disentanglement(np.eye(3)) == completeness(np.eye(3)) == 1
    assert disentanglement(np.ones((4, 3))) == pytest.approx(0)
    assert completeness(np.ones((4, 3))) == pytest.approx(0)
    two_for_one = np.array([[0.5, 0], [0.5, 0], [0, 1]])
    assert disentanglement(two_for_one) == 1
    assert completeness(two_for_one) == pytest.approx(1 - np.log(2) / np.log(3) / 2)
    one_for_two = np.array([[1, 1, 0], [0, 0, 1]])
    assert disentanglement(one_for_two) == pytest.approx(1 - 2 / 3 * np.log(2) / np.log(3))
    assert completeness(one_for_two) == 1
    assert disentanglement(np.zeros((3, 2))) == completeness(np.zeros((3, 2))) == 0
    assert completeness(np.ones((1, 2))) == 1
    assert completeness(np.array([[1, 0], [0, 0]])) == 0.5


def test_mig_and_sap_have_their_closed_forms() -> None:
    four = np.arange(4_000)[:, None] % 4
    half = np.column_stack([four, four // 2])
    assert mig(half, four) == pytest.approx(0.5)  # log 4 - log 2 over log 4
    assert mig(four, four) == pytest.approx(1)
    assert sap(half, [four[:, 0]]) == pytest.approx(
        1 - 0.5
    )  # two thresholds find half of four classes
    rng = np.random.default_rng(0)
    number = rng.normal(size=2_000)
    codes = np.column_stack(
        [number + rng.normal(size=2_000), number + 3 * rng.normal(size=2_000), np.ones(2_000)]
    )
    first, second = (np.corrcoef(number, codes[:, i])[0, 1] ** 2 for i in (0, 1))
    assert sap(codes, [number]) == pytest.approx(first - second)
    assert sap(codes[:, :1], [number]) == pytest.approx(first)
    angle = rng.uniform(0, 2 * np.pi, 2_000)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert sap(circle, [circle]) == pytest.approx(0)  # two coordinates share the circle
    assert sap(np.column_stack([np.cos(angle - 1), number]), [circle]) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("votes", "group", "message"),
    [
        (4, 10, "votes: each of the 5"),
        (50, 1, "at least 2"),
        (50, 126, r"126 images.*number 5.*125 among 3000"),
    ],
)
def test_factorvae_refuses_impossible_groups(
    perfect: tuple[Sample, Sample], votes: int, group: int, message: str
) -> None:
    with pytest.raises(StudioError, match=message):
        factorvae(*perfect, votes, group, 0)
