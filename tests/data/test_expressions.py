"""Expressions over attributes: against Python's own operators, and their faults."""

from itertools import product

import numpy as np
import pytest

from studio.data.expressions import parse_expression

ROWS = np.array(list(product((False, True), repeat=3)))
COLUMNS = {"a": ROWS[:, 0], "5_o_Clock": ROWS[:, 1], "c": ROWS[:, 2]}


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("a", "a"),
        ("not a", "not a"),
        ("NOT not a", "a"),
        ("a and not 5_o_Clock", "a and not b"),
        ("a or 5_o_Clock and c", "a or (b and c)"),
        ("(a or 5_o_Clock) and c", "(a or b) and c"),
        ("a xor 5_o_Clock", "a != b"),
        ("a xor 5_o_Clock and c", "a != (b and c)"),
        ("a or 5_o_Clock xor c", "a or (b != c)"),
        ("not (a and 5_o_Clock) and c", "not (a and b) and c"),
        ("a xor 5_o_Clock xor c", "(a != b) != c"),
    ],
)
def test_expression_equals_python_on_every_row(text: str, python: str) -> None:
    found = parse_expression(text).evaluate(COLUMNS)
    wanted = [eval(python, {}, dict(zip("abc", map(bool, row), strict=True))) for row in ROWS]
    assert found.tolist() == wanted


def test_expression_lists_its_names_in_order() -> None:
    assert list(parse_expression("c and not (a or c)").names()) == ["c", "a", "c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found nothing"),
        ("a and", "found the end"),
        ("a b", "found 'b'"),
        ("and a", "found 'and'"),
        ("(a", "not closed"),
        ("a)", "found '\\)'"),
        ("not", "found the end"),
        ("not " * 60 + "a", "nested more than 50"),
    ],
)
def test_expression_refuses_other_texts(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_expression(text)
