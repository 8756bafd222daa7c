"""Boolean expressions over the attributes of a table: `Eyeglasses and not Wearing_Hat`.

The words are `not`, `and`, `xor` and `or`, which bind in this order, and parentheses.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Expression", "parse_expression"]

OPERATORS: tuple[tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]], ...] = (
    ("or", np.logical_or),
    ("xor", np.logical_xor),
    ("and", np.logical_and),
)  # from the one that binds least
WORDS = ("not", *(name for name, _ in OPERATORS))
TOKEN = re.compile(r"[()]|[^\s()]+")
DEEPEST = 50  # parentheses and `not` inside of each other


@dataclass(frozen=True)
class Expression:
    """A name, or an operation with its operands.

    Attributes:
        word: an operator, or "" for a name.
        name: the name.
        parts: the operands.
    """

    word: str
    name: str = ""
    parts: "tuple[Expression, ...]" = ()

    def names(self) -> Iterator[str]:
        """Yields the names in the expression, in their order."""
        if not self.word:
            yield self.name
        for part in self.parts:
            yield from part.names()

    def evaluate(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the value of each row, (n,) bool.

        Args:
            columns: name -> (n,) bool, with every name of the expression.
        """
        if not self.word:
            return columns[self.name]
        values = [part.evaluate(columns) for part in self.parts]
        if self.word == "not":
            return ~values[0]
        return dict(OPERATORS)[self.word](*values)


def parse_expression(text: str) -> Expression:
    """Parses an expression.

    Raises:
        ValueError: the text is none. The message says what was found where.
    """
    tokens = TOKEN.findall(text)
    if not tokens:
        raise ValueError("found nothing, expected an attribute such as Eyeglasses")
    found, rest = _binary(tokens, 0, 0)
    if rest:
        raise ValueError(f"found {rest[0]!r}, expected {', '.join(WORDS[1:])} or the end")
    return found


def _binary(tokens: list[str], level: int, depth: int) -> tuple[Expression, list[str]]:
    if level == len(OPERATORS):
        return _single(tokens, depth)
    word = OPERATORS[level][0]
    left, rest = _binary(tokens, level + 1, depth)
    while rest and rest[0].lower() == word:
        right, rest = _binary(rest[1:], level + 1, depth)
        left = Expression(word, parts=(left, right))
    return left, rest


def _single(tokens: list[str], depth: int) -> tuple[Expression, list[str]]:
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} times")
    if not tokens:
        raise ValueError("found the end, expected an attribute")
    first, rest = tokens[0], tokens[1:]
    if first.lower() == "not":
        part, rest = _single(rest, depth + 1)
        return Expression("not", parts=(part,)), rest
    if first == "(":
        inner, rest = _binary(rest, 0, depth + 1)
        if not rest or rest[0] != ")":
            raise ValueError("a parenthesis is not closed")
        return inner, rest[1:]
    if first == ")" or first.lower() in WORDS:
        raise ValueError(f"found {first!r}, expected an attribute")
    return Expression("", first), rest
