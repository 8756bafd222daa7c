"""Fixtures of every test of pictures."""

import pytest
from support.painting import Painter

from studio.render.grid import Grid


@pytest.fixture
def painter() -> Painter:
    return Painter().eval()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Grid]:
    """The grids behind the pictures."""
    grids: list[Grid] = []
    draw = Grid.draw
    monkeypatch.setattr(Grid, "draw", lambda grid: (grids.append(grid), draw(grid))[1])
    return grids
