"""Subgroups: planted ones are found, and codes without any give one group."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from support.codes_of_subjects import plant

from studio.analyse import subgroups
from studio.analyse.subgroups import FEWEST, find_subgroups, project, stability
from studio.errors import StudioError


def test_planted_kinds_are_found() -> None:
    cohort, kind = plant(120, 1)
    found = find_subgroups(cohort.s, 4, 1)
    assert found.number == 3
    assert adjusted_rand_score(kind, found.labels) > 0.9
    sizes = np.bincount(found.labels)
    assert list(sizes) == sorted(sizes, reverse=True), "the largest group is 0"
    (best,) = [c for c in found.candidates if c["passes"] and c["method"] == found.method]
    assert best["groups"] == 3
    assert best["stability"] > best["reference"]


def test_codes_without_groups_give_one_group_in_nine_of_ten_seeds() -> None:
    numbers = [find_subgroups(plant(120, seed, kinds=1)[0].s, 5, seed).number for seed in range(10)]
    assert numbers.count(1) >= 9, numbers


@pytest.mark.slow
def test_other_codes_without_groups_give_one_group() -> None:
    """A uniform severity, long tails and few subjects beside coordinates."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(150, 8)) * rng.uniform(0.3, 1, 8)
        line = rng.normal(size=8)
        uniform = noise + rng.uniform(0, 4, (150, 1)) * line / np.linalg.norm(line)
        tailed = noise + rng.exponential(1, (150, 1)) * line / np.linalg.norm(line)
        wide = rng.normal(size=(40, 64))
        numbers = [find_subgroups(codes, 6, seed).number for codes in (uniform, tailed, wide)]
        assert numbers == [1, 1, 1], seed


def test_stability_is_one_for_far_groups_and_low_for_none() -> None:
    rng = np.random.default_rng(0)
    blob = rng.normal(size=(90, 3))
    far = blob + 30 * np.repeat(np.eye(3), 30, 0)

    def fit(points: np.ndarray, k: int) -> KMeans:
        return KMeans(k, n_init=3, random_state=0).fit(points)

    assert stability(far, 3, fit, 5, rng) == 1
    assert stability(blob, 3, fit, 10, rng) < 0.6


def test_references_have_the_covariance_of_the_codes() -> None:
    cohort, _ = plant(400, 1)
    points = project(cohort.s)
    for draw in (subgroups._draw_gaussian, subgroups._draw_shuffled):
        drawn = draw(points, np.random.default_rng(2))
        assert np.allclose(np.cov(drawn.T), np.cov(points.T), atol=0.15)


def test_projection_keeps_distances_and_drops_dead_coordinates() -> None:
    rng = np.random.default_rng(0)
    codes = np.hstack([rng.normal(size=(200, 3)), np.zeros((200, 5))])
    points = project(codes)
    assert points.shape[1] == 3
    apart = np.linalg.norm(codes[:50] - codes[50:100], axis=1)
    ratio = np.linalg.norm(points[:50] - points[50:100], axis=1) / apart
    assert np.allclose(ratio, ratio[0])


def test_same_seed_gives_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOOTSTRAPS", "REFERENCES", "REFERENCE_BOOTSTRAPS"):
        monkeypatch.setattr(subgroups, name, 3)
    codes = plant(60, 5)[0].s
    one, two = (find_subgroups(codes, 3, 7) for _ in range(2))
    assert np.array_equal(one.labels, two.labels)
    assert one.candidates == two.candidates


def test_too_few_or_equal_subjects_give_one_group_and_a_reason() -> None:
    rng = np.random.default_rng(0)
    few = find_subgroups(rng.normal(size=(FEWEST - 1, 4)), 4, 0)
    assert few.number == 1
    assert few.notes == ["19 subjects, expected at least 20 to look for subgroups"]
    equal = find_subgroups(np.ones((50, 4)), 4, 0)
    assert "equal for most subjects" in equal.notes[0]
    wide = find_subgroups(rng.normal(size=(40, 64)), 3, 0)
    assert wide.components == 4
    assert "40 subjects are few for 64 coordinates: 4 principal" in wide.notes[0]
    with pytest.raises(StudioError, match="NaN or infinite"):
        find_subgroups(np.full((50, 2), np.nan), 3, 0)
