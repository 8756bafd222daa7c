"""Disentanglement scores on codes whose answer is known: perfect, mixed, useless, dead; and on images of given factors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.source_files import mnist_arrays
from torch import Tensor

from studio.data import DataConfig, Dataset
from studio.data.dataset import Factor
from studio.data.dsprites_mnist import DspritesMnist, DspritesMnistConfig
from studio.data.sources.dsprites import render_sprites
from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.errors import StudioError
from studio.evaluate.disentanglement import factorvae as scoring
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
from studio.evaluate.disentanglement.scores import disentangle, targets_of
from studio.method import Code, Domain, Method, MethodConfig
from studio.methods import DoubleInfoGAN
from studio.methods.double_infogan import DoubleInfoGANConfig
from studio.schema import NetsConfig

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
    """Returns two samples of what `code` makes of standardised factors (n, 5) and a generator."""
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


def test_codes_that_are_the_factors_are_perfect(best: dict[str, float]) -> None:
    assert best["factorvae"] == best["betavae"] == 1
    assert 0.95 < best["mig"] <= 1
    assert min(best["disentanglement"], best["completeness"], best["informativeness"]) > 0.97
    # A category's gap is to a guess, 1/3; an angle cut open explains 6/pi^2 of its number's variance.
    assert best["sap"] == pytest.approx((2 / 3 + 3 + 6 / np.pi**2) / 5, abs=0.01)


def test_order_sign_and_scale_of_the_axes_do_not_matter(
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


def test_the_scale_of_noisy_axes_does_not_move_a_vote() -> None:
    # Where a fixed factor leaves noise, the axis of the smallest scale would win every vote, were variances not global shares.
    noisy = pair(lambda even, rng: even + rng.normal(size=even.shape))
    plain = factorvae(*noisy, VOTES, GROUP, 0)
    assert plain > 0.9
    scaled = [
        Sample(sample.codes * 2.0 ** np.array([3, 0, -2, 1, 5]), sample.factors) for sample in noisy
    ]
    assert factorvae(*scaled, VOTES, GROUP, 0) == plain
    published = [factorvae_as_published(samples[0], VOTES, GROUP, 0) for samples in (noisy, scaled)]
    assert published[0] == published[1]


def test_codes_that_tell_nothing_are_at_chance() -> None:
    useless = scores(*pair(lambda even, rng: rng.normal(size=(N, 6))))
    assert useless["factorvae"] == pytest.approx(0.2, abs=0.07)
    assert useless["betavae"] == pytest.approx(0.2, abs=0.07)
    for name in ("mig", "disentanglement", "completeness", "sap"):
        assert useless[name] == pytest.approx(0, abs=0.02), name
    assert useless["informativeness"] == pytest.approx(0, abs=0.1)


def test_rotated_codes_know_as_much_and_score_less(best: dict[str, float]) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    rotated = scores(*pair(lambda even, rng: even @ rotation))
    assert rotated["betavae"] > 0.8  # which is linear, and forgives a rotation
    assert rotated["factorvae"] < 0.9
    for name in ("mig", "disentanglement", "completeness", "sap"):
        assert rotated[name] < 0.5 * best[name], name


def test_one_coordinate_for_two_factors_loses_one_of_them() -> None:
    mixed = pair(lambda even, rng: np.column_stack([even[:, 1] + even[:, 2], even[:, [0, 3, 4]]]))
    assert factorvae(*mixed, VOTES, GROUP, 0) == pytest.approx(0.8)
    assert factorvae_as_published(mixed[0], VOTES, GROUP, 0)[0] == pytest.approx(0.8)
    targets = [targets_of(sample.factors, FACTORS) for sample in mixed]
    importance, _ = importances(mixed[0].codes, targets[0], mixed[1].codes, targets[1], 0)
    # Half of coordinate 0 is each factor's, so that it, with two fifths of all importance, is 1 - log 2 / log 5 disentangled.
    assert disentanglement(importance) == pytest.approx(1 - 2 / 5 * np.log(2) / np.log(5), abs=0.02)
    assert completeness(importance) > 0.95


def test_dead_coordinates_are_pruned_and_change_nothing(
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
    )  # what noise tells, to 20 bins
    noisy = Sample(perfect[0].codes[:, [0]] * [[0.0]], perfect[0].factors)
    assert factorvae(noisy, noisy, VOTES, GROUP, 0) == 0.2
    assert (
        factorvae_as_published(dead[0], VOTES, GROUP, 0)[0] == 1
    )  # a constant divides by zero and gets no vote


def test_scoring_the_votes_that_were_learnt_flatters_useless_codes() -> None:
    # Peers' trap 12: with 30 coordinates and 400 votes, chance is not one fifth, and that is said.
    train, test = pair(lambda even, rng: rng.normal(size=(N, 30)))
    published, chance = factorvae_as_published(train, VOTES, GROUP, 0)
    assert published == pytest.approx(chance, abs=0.04)
    assert chance > 0.3
    assert factorvae(train, test, VOTES, GROUP, 0) == pytest.approx(0.2, abs=0.07)


def test_groups_of_one_sample_score_like_groups_made_one_by_one() -> None:
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


def test_votes_name_the_fixed_factor_and_the_majority_is_counted() -> None:
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


def test_gaps_have_their_closed_forms() -> None:
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
def test_groups_that_cannot_be_are_refused(
    perfect: tuple[Sample, Sample], votes: int, group: int, message: str
) -> None:
    with pytest.raises(StudioError, match=message):
        factorvae(*perfect, votes, group, 0)


class Painted(Dataset):
    """Images (1, 2, 6): the five factors in the lower row, noise from the seed in the upper."""

    generative_factors = FACTORS

    def __init__(self) -> None:
        super().__init__(DataConfig(name="painted", resolution=6))
        self.shape, self.attributes, self.made = (1, 2, 6), {}, []

    def size(self, split: str, domain: str) -> int:
        return 0

    def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
        return torch.empty(0, 1, 2, 6)

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        return {}

    def images_of(self, factors: np.ndarray, seed: int, split: str = "test") -> Tensor:
        assert split == "test"
        self.made.append(seed)
        images = torch.from_numpy(
            np.random.default_rng(seed).normal(size=(len(factors), 1, 2, 6))
        ).float()
        images[:, 0, 1, :5] = torch.from_numpy(2 * factors / (np.array(SIZES) - 1) - 1)
        return images

    def canonical_factors(self, factors: np.ndarray) -> np.ndarray:
        return factors


class Rows(Method):
    """Reads z from the upper row and s from the lower, of which the last pixel is noise that it holds for dead."""

    def __init__(self, fault: float = 0) -> None:
        super().__init__(MethodConfig(name="rows", z=6, s=6))
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.fault = fault

    def encode(self, images: Tensor) -> Code:
        s = images[:, 0, 1].clone()
        s[:, 5] *= 0.01
        return Code(images[:, 0, 0], s + self.fault)

    def prior(self, n: int, domain: Domain) -> Code:
        return Code(torch.randn(n, 6), torch.randn(n, 6))


SMALL = {"images": 4_000, "group": 40, "votes": 200}


@pytest.fixture(scope="module")
def result() -> dict:
    return disentangle(Rows().eval(), Painted(), **SMALL)


def test_images_of_factors_are_scored_in_the_space_that_holds_them(result: dict) -> None:
    assert result["factorvae"] == result["factorvae_as_published"] == result["betavae"] == 1
    assert result["mig"] > 0.9
    assert (
        min(
            result[f"dci_{name}"] for name in ("disentanglement", "completeness", "informativeness")
        )
        > 0.95
    )
    assert result["sap"] == pytest.approx((2 / 3 + 3 + 6 / np.pi**2) / 5, abs=0.02)
    assert result["factors"] == [factor.name for factor in FACTORS]
    said = ("space", "pruned", "coordinates", "images", "group", "votes_train", "votes_test")
    assert [result[name] for name in said] == ["salient", 1, 6, 4_000, 40, 200, 200]
    common = disentangle(Rows().eval(), Painted(), space="common", **SMALL)
    assert common["pruned"] == 0
    assert common.keys() == result.keys()
    for name, chance in common["chance"].items():
        assert common[name] == pytest.approx(chance, abs=0.1), name
    assert set(result["chance"]) <= set(result)
    json.dumps(result, allow_nan=False)


def test_what_the_dead_coordinate_holds_changes_nothing(result: dict) -> None:
    class Five(Rows):
        def encode(self, images: Tensor) -> Code:
            return Code(images[:, 0, 0], images[:, 0, 1, :5])

        def prior(self, n: int, domain: Domain) -> Code:
            return Code(torch.randn(n, 6), torch.randn(n, 5))

    alone = disentangle(Five().eval(), Painted(), **SMALL)
    assert (alone["pruned"], alone["coordinates"]) == (0, 5)
    differ = ("pruned", "coordinates", "factorvae_as_published", "chance")
    assert {k: v for k, v in alone.items() if k not in differ} == {
        k: v for k, v in result.items() if k not in differ
    }


def test_scores_depend_on_the_seed_alone(result: dict) -> None:
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = Painted(), Painted()
    torch.manual_seed(5)
    assert disentangle(Rows().eval(), first, **SMALL) == result
    torch.set_rng_state(state[0])
    other = disentangle(Rows().eval(), second, seed=-1, **SMALL)
    assert other["mig"] != result["mig"]
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])
    assert len(set(first.made)) == len(first.made)  # no noise twice
    assert not set(first.made) & set(second.made)


def test_a_code_that_is_dead_all_over_scores_chance_and_says_so() -> None:
    class Blind(Rows):
        def encode(self, images: Tensor) -> Code:
            return Code(images[:, 0, 0], images[:, 0, 1] * 1e-3)

    dead = disentangle(Blind().eval(), Painted(), **SMALL)
    assert dead["pruned"] == dead["coordinates"] == 6
    assert "every coordinate of the salient code is dead" in dead["note"]
    assert {name: dead[name] for name in dead["chance"] if name != "factorvae_as_published"} == {
        name: value for name, value in dead["chance"].items() if name != "factorvae_as_published"
    }
    assert dead["factorvae_as_published"] == 1  # nothing is pruned there, however small
    json.dumps(dead, allow_nan=False)


def test_data_sets_without_factors_have_no_scores() -> None:
    assert disentangle(Rows().eval(), TexturedDigits(TexturedDigitsConfig())) is None

    class Single(Painted):
        generative_factors = FACTORS[:1]

    assert disentangle(Rows().eval(), Single()) is None


def test_what_cannot_be_scored_is_refused_before_images_are_made() -> None:
    data = Painted()
    for options, message in (
        ({"space": "salint"}, "did you mean 'salient'"),
        ({"images": 400}, "at least 100 images of each class.*number 1.*66 among 200"),
        ({"images": 0}, "among 0"),
        ({"images": -3}, "among 0"),
        ({"group": 1}, "at least 2"),
        ({"votes": 3}, "votes"),
    ):
        with pytest.raises(StudioError, match=message):
            disentangle(Rows().eval(), data, **options)
    assert not data.made
    with pytest.raises(
        StudioError, match="training mode"
    ):  # peers' traps 1 and 12: never with the noise on
        disentangle(Rows().train(), data, **SMALL)
    with pytest.raises(StudioError, match=r"rows: 500 of 500 salient codes are NaN or infinite"):
        disentangle(Rows(fault=float("nan")).eval(), data, **SMALL)


def test_apparent_orientation_is_what_can_be_seen() -> None:
    for shape, symmetry in enumerate((4, 2, 1)):
        factors = np.array([[shape, 5, orientation, 16, 16] for orientation in range(40)])
        seen = DspritesMnist.canonical_factors(None, factors)
        assert np.array_equal(np.delete(seen, 2, 1), np.delete(factors, 2, 1))
        assert sorted(seen[:39, 2]) == list(range(39))
        assert seen[39, 2] == seen[0, 2]  # the last orientation is the first again
        frames = render_sprites(factors[np.argsort(seen[:39, 2])]).astype(int)
        turned = np.abs(frames - np.roll(frames, 1, 0)).sum((1, 2))
        plain = np.abs(np.diff(render_sprites(factors[:39]).astype(int), axis=0)).sum((1, 2))
        # Neighbours differ by a turn of 9.2 degrees over the symmetry, the circle's ends too.
        assert turned.max() <= plain.max()
        assert turned.mean() == pytest.approx(plain.mean() / symmetry, rel=0.2)


def test_dsprites_mnist_has_its_five_factors_scored(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", **mnist_arrays())
    data = DspritesMnist(DspritesMnistConfig(root=str(tmp_path)))
    assert [(f.name, f.size) for f in data.generative_factors if f.category] == [("shape", 3)]
    assert [(f.name, f.size, f.period) for f in data.generative_factors if f.period] == [
        ("orientation", 40, 39)
    ]
    torch.manual_seed(0)
    method = DoubleInfoGAN(DoubleInfoGANConfig(z=4, s=3), NetsConfig(width=4), data.shape).eval()
    result = disentangle(method, data, images=800, group=10, votes=50)
    assert result["factors"] == ["shape", "scale", "orientation", "pos_x", "pos_y"]
    assert result["coordinates"] == 3
    json.dumps(result, allow_nan=False)


def test_groups_do_not_cost_images(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = Painted.images_of
    monkeypatch.setattr(
        Painted, "images_of", lambda self, f, *rest: made.append(len(f)) or original(self, f, *rest)
    )
    monkeypatch.setattr(scoring, "RESAMPLES", 2)
    disentangle(Rows().eval(), Painted(), **SMALL | {"votes": 1_000})
    assert sum(made) == SMALL["images"]
