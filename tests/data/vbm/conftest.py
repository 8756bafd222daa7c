"""A BIDS folder of small brains that no test changes, and copies of it that tests may change."""

import shutil
from pathlib import Path

import pytest
from support.bids_files import write_bids

from studio.data.vbm.dataset import Vbm, VbmConfig


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bids")
    options = write_bids(root)
    Vbm(VbmConfig(root=str(root), **options))  # fills the cache, which copies of the folder have
    return root


@pytest.fixture
def root(shared: Path, tmp_path: Path) -> Path:
    """A copy of the shared folder."""
    return Path(shutil.copytree(shared, tmp_path / "bids"))
