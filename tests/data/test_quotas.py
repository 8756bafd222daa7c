"""Published numbers of images: exact where there are enough, the same share of all otherwise."""

import numpy as np

from studio.data.quotas import Quota, Taken, take_quotas, take_share


def persons_of(taken: Taken, person: np.ndarray) -> tuple[set[int], set[int]]:
    train, test = (
        {int(person[i]) for rows in side.values() for i in rows}
        for side in (taken.train, taken.test)
    )
    return train, test


def test_quotas_are_met_exactly_when_there_are_enough() -> None:
    person = np.arange(300)
    parts = {"plain": [*range(200)], "hat": [*range(200, 300)]}
    wanted = {"plain": Quota(40, 20), "hat": Quota(30, 30)}
    person = np.random.default_rng(0).permutation(person)
    taken = take_quotas(parts, person, wanted)
    sizes = {name: (len(taken.train[name]), len(taken.test[name])) for name in parts}
    assert sizes == {"plain": (40, 20), "hat": (30, 30)}
    assert (taken.factor, taken.scarce) == (1.0, "")


def test_quotas_keep_their_proportions_when_one_part_is_scarce() -> None:
    person = np.random.default_rng(1).permutation(3_000)
    parts = {
        "plain": [*range(2_000)],
        "glasses": [*range(2_000, 2_900)],
        "hat": [*range(2900, 3000)],
    }
    wanted = {"plain": Quota(400, 200), "glasses": Quota(200, 200), "hat": Quota(200, 200)}
    taken = take_quotas(parts, person, wanted)
    assert taken.scarce == "hat"
    assert taken.most == 100
    assert 0.22 < taken.factor <= 0.25
    for name, (train, test) in wanted.items():
        assert len(taken.train[name]) == int(taken.factor * train + 1e-9)
        assert len(taken.test[name]) == int(taken.factor * test + 1e-9)


def test_quotas_have_no_person_on_both_sides() -> None:
    rng = np.random.default_rng(2)
    person = rng.integers(60, size=600)
    parts = {"plain": [*range(400)], "hat": [*range(400, 600)]}
    wanted = {"plain": Quota(150, 100), "hat": Quota(80, 80)}
    train, test = persons_of(take_quotas(parts, person, wanted), person)
    assert train
    assert test
    assert not train & test
    # The same items without persons do share some.
    alone = take_quotas(parts, rng.permutation(600), wanted)
    train, test = persons_of(alone, person)
    assert train & test


def test_share_tests_every_part_when_persons_are_few() -> None:
    parts = {"plain": [*range(90)], "hat": [*range(90, 100)]}
    person = np.random.default_rng(7).permutation(100)
    assert min(person[90:]) >= 5  # the first five persons have no hat
    taken = take_share(parts, person, 0.05)
    assert all(taken.train.values())
    assert all(taken.test.values())
    even = take_share({"plain": [*range(100)]}, np.arange(100), 0.1)
    assert len(even.test["plain"]) == 10
