"""Fixtures for the tests of the app."""

from pathlib import Path

import pytest
from support.experiments import tiny
from support.gallery import Gallery, open_run

from studio.app.state import Explorer, Session
from studio.training.session import train


@pytest.fixture
def explorer() -> Explorer:
    return Explorer("painted", open_run(Gallery()))


@pytest.fixture
def session(explorer: Explorer) -> Session:
    return explorer.look_at(explorer.choose("target", 3), explorer.choose("target", 4))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of contrastive PCA, because it trains at once and its images show every code."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        train(tiny("cpca"), place / name)
    return [place / "one", place / "two"]
