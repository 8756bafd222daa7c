"""One thread, and the tiny experiments that the batteries run on."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _threads_and_place(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Every test has a folder of its own as current directory, so that `runs/` goes there."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    torch.manual_seed(0)
