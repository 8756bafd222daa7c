"""Steps are shown to whoever waits, and only while somebody does."""

import pytest

from studio import progress
from studio.progress import mark_step, show_steps


def test_steps_become_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 4.0, 11.0, 11.0, 15.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock, 15.0))
    monkeypatch.setattr(progress, "Progress", lambda *_, **options: _NoBar(options))
    with show_steps("probe"):
        mark_step("codes")  # after 4 seconds: too early for a line
        mark_step("digit")
        mark_step("texture")
    assert capsys.readouterr().err == "probe: digit\n"


def test_mark_step_says_nothing_outside(capsys: pytest.CaptureFixture[str]) -> None:
    with show_steps("probe"):
        pass
    mark_step("codes")
    assert capsys.readouterr() == ("", "")


class _NoBar:
    """A display that must be off, because there is no terminal."""

    def __init__(self, options: dict) -> None:
        assert options["disable"]

    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, title: str) -> int:
        return 0

    def update(self, task: int, description: str) -> None:
        pass
