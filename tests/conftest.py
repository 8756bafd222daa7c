"""One thread, and the tiny experiments that the batteries run on."""

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# pytest-xdist sets the width of a terminal, but the output of a test is not a terminal's.
os.environ.pop("COLUMNS", None)

import pytest
import torch

torch.set_num_threads(1)

# The first backward pass decides whether autograd starts threads for devices. `torch.export` makes
# torch believe that there are eight devices. If an export came before the first backward pass, no
# forked process could train, because autograd's threads do not survive a fork.
torch.ones(1, requires_grad=True).backward()


@pytest.fixture(autouse=True, scope="session")
def _same_precision_everywhere() -> Iterator[None]:
    """`train.mixed_precision: auto` is float32 in the test process, whatever the machine can do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studio.training.precision.choose_precision", lambda: ("no", "tests use it"))
        yield


@pytest.fixture(autouse=True)
def _threads_and_place(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Every test has a folder of its own as current directory, so that `runs/` goes there."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    torch.manual_seed(0)
