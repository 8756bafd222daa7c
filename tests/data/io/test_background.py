import numpy as np
import pytest

from studio.data.io.background import check_nan_rule, fill_nan, find_background


def body(shape: tuple[int, ...], background: float) -> np.ndarray:
    """Returns noise in the middle of a constant background."""
    values = np.full(shape, background, np.float32)
    inside = tuple(slice(2, -2) if length > 3 else slice(None) for length in shape)
    values[inside] = np.random.default_rng(0).normal(size=values[inside].shape)
    return values


@pytest.mark.parametrize("background", [0.0, -2.0, -1024.0, 0.3])
@pytest.mark.parametrize("shape", [(12, 12), (1, 12, 12), (12, 12, 8)])
def test_find_background_returns_the_value_that_fills_the_border(
    shape: tuple[int, ...], background: float
) -> None:
    assert find_background(body(shape, background)) == np.float32(background)


def test_find_background_returns_none_when_no_value_fills_the_border() -> None:
    noise = np.random.default_rng(0).normal(size=(12, 12, 12))
    assert find_background(noise) is None
    assert find_background(np.full((6, 6), np.nan)) is None


def test_find_background_ignores_nan_and_the_inside() -> None:
    values = body((12, 12, 8), -3.0)
    values[:3] = np.nan
    values[4:8, 4:8, 3:5] = 5.0  # more often than any other value inside
    assert find_background(values) == -3


def test_fill_nan_takes_the_value_or_the_background() -> None:
    values = body((12, 12), -3.0)
    values[:3] = np.nan
    for rule, expected in ((7.0, 7.0), ("background", -3.0)):
        filled, count = fill_nan(values, rule)
        assert count == 36
        assert np.unique(filled[:3]).tolist() == [expected]
        np.testing.assert_array_equal(filled[3:], values[3:])
    assert fill_nan(values, None)[0] is values
    inner = np.random.default_rng(0).normal(size=(6, 6))
    inner[0, 0] = np.nan
    assert fill_nan(inner, "background")[0][0, 0] == np.nanmin(inner)


def test_fill_nan_leaves_alone_what_it_cannot_fill() -> None:
    whole, empty = np.arange(6, dtype=np.uint8), np.full((4, 4), np.nan)
    assert fill_nan(whole, 0.0)[0] is whole
    assert np.isnan(fill_nan(empty, 0.0)[0]).all()


@pytest.mark.parametrize("rule", [0, -1.5, "background", None])
def test_check_nan_rule_accepts_numbers_and_background(rule: object) -> None:
    assert check_nan_rule(rule) == rule


@pytest.mark.parametrize("rule", [np.inf, np.nan, "zero", True, [0]])
def test_check_nan_rule_refuses_others(rule: object) -> None:
    with pytest.raises(ValueError, match="expected a number, background or null"):
        check_nan_rule(rule)
