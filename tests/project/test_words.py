"""Plain words: how often docstrings and comments use habits that make sentences hard to read."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = [
    path
    for folder in ("studio", "nets", "losses")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Habit -> (pattern, occurrences per 1,000 words that are allowed, advice).
HABITS = {
    "what": (r"(?i)\bwhat\b", 1.0, "name the thing instead: 'what' is a question word"),
    "semicolon": (r";", 3.0, "write two sentences"),
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the docstrings and comments of a module, each with its line."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, docstring
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("habit", HABITS)
def test_prose_is_free_of_habit(habit: str) -> None:
    pattern, allowed, advice = HABITS[habit]
    words, places = 0, []
    for path in CODE:
        for line, text in prose(path):
            words += len(text.split())
            found = len(re.findall(pattern, text))
            shown = f"{path.relative_to(ROOT)}:{line}: {' '.join(text.split())[:90]}"
            places += [shown] * found
    rate = 1_000 * len(places) / words
    assert rate < allowed, (
        f"{habit}: {rate:.1f} per 1,000 words of docstrings and comments, expected below "
        f"{allowed:g}; {advice}\n" + "\n".join(places)
    )
