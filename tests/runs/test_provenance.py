"""The origin of a run: versions, commit and command."""

from pathlib import Path

import pytest

from studio.runs import provenance

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the tests do not run from a checkout")
def test_commit_is_that_of_the_checkout_of_the_package() -> None:
    head = provenance.commit()
    assert provenance.ROOT == ROOT
    assert head is not None
    assert len(head.removesuffix("+changes")) == 40


def test_commit_is_none_outside_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    provenance.commit.cache_clear()
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit() is None
    provenance.commit.cache_clear()
