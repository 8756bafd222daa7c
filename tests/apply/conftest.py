"""Runs on a user's own folders."""

import pytest
from support.own_files import folders_run

from studio.runs.run import Run


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("gray"))


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("colour"), channels=3)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("deep"), suffix=".npy")
