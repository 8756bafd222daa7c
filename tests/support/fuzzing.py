"""Hostile input: strategies for hypothesis, and a check that each case is accepted or refused."""

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from studio.data.io.images import UnreadableError
from studio.errors import StudioError

SECONDS = 60  # limit for one case on a busy machine, where none takes a second

WORDS = st.sampled_from(
    [
        "no",
        "yes",
        "null",
        "~",
        "1e999",
        ".nan",
        "-.inf",
        "08",
        "1:30",
        "auto",
        "image",
        "dig",
        "../../etc",
        "\0",
        "é",
        "{}",
        "[",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    WORDS,
    st.binary(max_size=4),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | WORDS, inner, max_size=3)
    ),
    max_leaves=8,
)
EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=4)), max_size=6)


def edit_bytes(data: bytes, edits: list[tuple[int, bytes]], length: int | None = None) -> bytes:
    """Overwrites pieces of `data` at positions modulo its length, and cuts it to a length."""
    changed = bytearray(data)
    for at, piece in edits:
        at %= len(changed)
        changed[at : at + len(piece)] = piece
    return bytes(changed if length is None else changed[: length % (len(changed) + 1)])


@contextmanager
def time_limit() -> Iterator[None]:
    """Raises an AssertionError in a block that hangs. Warnings inside are silent."""

    def interrupt(*_: object) -> None:
        raise AssertionError(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def clear_answer(answers: list[str]) -> Iterator[None]:
    """Lets errors with a message pass, but no other exception, and appends the answer."""
    try:
        yield
        answers.append("accepted")
    except (StudioError, UnreadableError) as error:
        if not 3 < len(str(error)) < 20_000:
            raise AssertionError(f"the message is {str(error)[:200]!r}") from error
        answers.append("refused")


def fuzz(strategy: st.SearchStrategy, examples: Sequence[Any] = ()) -> Callable:
    """Makes of a check of one case a function that checks a given number of cases.

    Args:
        strategy: draws the cases, the same in every run of the tests.
        examples: cases that are always checked first, in addition to the drawn ones.

    Returns:
        A decorator. The decorated check takes a case and the current folder.
    """

    def decorate(check: Callable[[Any, Path], None]) -> Callable[[int], None]:
        def check_cases(count: int) -> None:
            answers: list[str] = []

            @settings(
                max_examples=count,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def run(case: object) -> None:
                with time_limit(), clear_answer(answers):
                    check(case, Path())

            for case in examples:
                run = example(case=case)(run)
            run()
            assert min(answers.count("accepted"), answers.count("refused")) > count // 1_000, (
                "cases of one kind only"
            )

        return check_cases

    return decorate
