"""Probes against a number of the config that varies."""

import numpy as np
import pytest

from studio.compare.curve import choose_attributes, draw_curves, find_curves


def number(mean: float | None) -> dict:
    return {"mean": mean}


def row(settings: list[str], salient: float = 0.9, config: str = "dig", **more: float) -> dict:
    known = {"digit": {"belongs": "salient", "metric": "r2", "chance": 0.1}}
    numbers = {"digit.salient": salient, "digit.common": 0.2, "reconstruction.target": 0.1, **more}
    numbers = {key: number(value) for key, value in numbers.items()}
    return {"config": config, "set": settings, "attributes": known, "numbers": numbers}


def test_find_curves_orders_the_values_of_each_number_that_varies_alone() -> None:
    z = [row([f"method.z={n}", "train.lr=0.1"]) for n in (16, 4, 256)]
    s = [row(["train.lr=0.1", f"method.s={n}"]) for n in (2, 8, 4)]
    curves = find_curves([*z, *s])
    assert [(c.field, c.config, c.values) for c in curves] == [
        ("method.z", "dig", [4, 16, 256]),
        ("method.s", "dig", [2, 4, 8]),
    ]
    assert curves[0].rows == [z[1], z[0], z[2]]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row([f"method.z={n}"]) for n in (1, 2)], id="two values"),
        pytest.param([row([f"data.fold={n}"]) for n in range(5)], id="folds are names"),
        pytest.param([row([f"method.name={n}"]) for n in ("a", "b", "c")], id="words"),
        pytest.param([row([f"a.b={n}"]) for n in ("true", "false", "null")], id="no numbers"),
        pytest.param(
            [row([f"method.z={n}"], config=str(n)) for n in (1, 2, 3)], id="other configs"
        ),
        pytest.param([row([f"a.z={n}", f"a.s={n}"]) for n in (1, 2, 3)], id="two at a time"),
        pytest.param([row([f"a.z={n}"]) | {"attributes": {}} for n in (1, 2, 3)], id="no probes"),
        pytest.param([], id="nothing"),
    ],
)
def test_find_curves_finds_none(rows: list[dict]) -> None:
    assert find_curves(rows) == []


def test_draw_curves_shows_the_better_reader_and_bears_missing_numbers() -> None:
    def draw(**last: float | None) -> np.ndarray:
        rows = [row(["z=1"]), row(["z=2"]), row(["z=3"], **last)]
        return np.asarray(draw_curves(find_curves(rows)))

    low = draw(salient=0.3)
    assert np.array_equal(low, draw(salient=0.3))
    assert not np.array_equal(low, draw(salient=0.9))
    better = draw(**{"salient": 0.3, "digit.salient_nonlinear": 0.9})
    assert np.array_equal(better, draw(salient=0.9))
    assert draw(**{"salient": None, "reconstruction.target": None}).shape == low.shape


@pytest.mark.parametrize(
    ("salient", "common", "chosen"),
    [
        pytest.param("st", "c", "cst", id="few"),
        pytest.param("st", "abcde", "abst", id="two of each"),
        pytest.param("stuv", "a", "astu", id="few that are common"),
        pytest.param("", "abcde", "abcd", id="none that is salient"),
    ],
)
def test_choose_attributes_takes_both_kinds_and_target(
    salient: str, common: str, chosen: str
) -> None:
    kinds = {"salient": salient, "common": common}
    known = {name: {"belongs": kind} for kind, names in kinds.items() for name in names}
    rows = [row([f"z={n}"]) | {"attributes": dict(sorted(known.items()))} for n in (1, 2, 3)]
    assert "".join(choose_attributes(find_curves(rows))) == chosen
    with_target = [
        one | {"attributes": {**one["attributes"], "target": {"belongs": "salient"}}}
        for one in rows
    ]
    names = choose_attributes(find_curves(with_target))
    assert names[-1] == "target"
    assert len(names) == min(4, len(known) + 1)


def test_draw_curves_stays_below_the_height_that_a_format_takes() -> None:
    rows = [row([f"z={z}", f"s={s}"]) for z in (1, 2, 3) for s in range(100)]
    curves = find_curves(rows)
    assert len(curves) == 103
    assert draw_curves(curves).height < 16_383
