"""Fixtures for the tests of pictures."""

import pytest
import torch
from support.painting import Painter

from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.methods import DoubleInfoGAN
from studio.methods.double_infogan import DoubleInfoGANConfig
from studio.render.grid import Grid
from studio.schema import NetsConfig


@pytest.fixture
def painter() -> Painter:
    return Painter().eval()


@pytest.fixture(scope="module")
def digits() -> TexturedDigits:
    return TexturedDigits(TexturedDigitsConfig())


@pytest.fixture(scope="module")
def gan() -> DoubleInfoGAN:
    torch.manual_seed(0)
    return DoubleInfoGAN(DoubleInfoGANConfig(z=4, s=3), NetsConfig(width=4), (1, 32, 32)).eval()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Grid]:
    """The grids that the pictures of a test are drawn from."""
    grids: list[Grid] = []
    draw = Grid.draw
    monkeypatch.setattr(Grid, "draw", lambda grid: (grids.append(grid), draw(grid))[1])
    return grids
