"""The rule by which rows become vectors."""

import json

import numpy as np
import pytest

from studio.data.vectors import VectorRule, log_counts
from studio.errors import StudioError

RULE = VectorRule(("a", "b"), np.array([0.0, -2.0]), np.array([4.0, 2.0]), np.array([1.0, 0.0]))
COUNTS = VectorRule(("a", "b"), np.zeros(2), np.full(2, np.log1p(100)), total=100.0)


def test_rule_scales_restores_fills_and_clips() -> None:
    values = np.array([[0.0, 2.0], [np.nan, np.nan], [8.0, -3.0]])
    scaled = RULE.scale(values)
    np.testing.assert_allclose(scaled, [[-1, 1], [-0.5, 0], [1, -1]])
    assert scaled.dtype == np.float32
    assert RULE.count_outside(values) == 2
    np.testing.assert_allclose(RULE.restore(scaled), [[0, 2], [1, 0], [4, -2]])


def test_rule_survives_json() -> None:
    for rule in (RULE, COUNTS):
        again = VectorRule.from_json(json.loads(json.dumps(rule.to_json())))
        assert (again.features, again.total) == (rule.features, rule.total)
        values = np.array([[1.0, 1.5]])
        np.testing.assert_array_equal(again.scale(values), rule.scale(values))


def test_rule_finds_columns_by_name_in_any_order() -> None:
    values = np.array([[2.0, 9.0, 1.0]])
    assert RULE.pick(values, ["b", "other", "a"]).tolist() == [[1.0, 2.0]]
    assert RULE.pick(values[:, :2], None).tolist() == [[2.0, 9.0]]


def test_rule_scales_counts_by_the_sum_of_all_columns() -> None:
    counts = np.array([[3.0, 1.0, 6.0]])
    expected = np.log1p([[30.0, 10.0]])
    np.testing.assert_allclose(log_counts(counts[:, :2], counts.sum(1), 100.0), expected)
    np.testing.assert_allclose(
        COUNTS.restore(COUNTS.scale(COUNTS.pick(counts, ["a", "b", "c"]))), expected, rtol=1e-6
    )
    # The largest possible value, a cell with a single gene, is exactly 1.
    one = COUNTS.pick(np.array([[7.0, 0.0]]), ["a", "b"])
    assert COUNTS.scale(one).tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize(
    ("rule", "values", "names", "words"),
    [
        (RULE, [[1.0, 2.0, 3.0]], None, "has 3 numbers per row, expected the 2 features"),
        (RULE, [[1.0]], ["a"], "has no column for 1 of 2 features: b"),
        (RULE, [[1.0, 2.0, 3.0]], ["a", "b", "a"], "several columns called a"),
        (RULE, [[np.inf, 2.0]], ["a", "b"], "1 values that are NaN or infinite"),
        (COUNTS, [[np.nan, 2.0]], ["a", "b"], "1 values that are NaN or infinite"),
        (COUNTS, [[-1.0, 2.0]], ["a", "b"], "1 negative counts"),
        (COUNTS, [[1.0, 2.0]], None, "no names of genes"),
    ],
)
def test_rule_refuses_rows_that_do_not_fit(
    rule: VectorRule, values: list, names: list[str] | None, words: str
) -> None:
    with pytest.raises(StudioError, match=words):
        rule.pick(np.array(values), names)
