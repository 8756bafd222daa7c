"""Small files of MNIST and CIFAR-10."""

from pathlib import Path

import numpy as np
import pytest
from support.source_files import cifar_arrays, mnist_arrays


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with mnist.npz and cifar10.npz."""
    place = tmp_path / "files"
    place.mkdir()
    np.savez(place / "mnist.npz", **mnist_arrays())
    np.savez(place / "cifar10.npz", **cifar_arrays())
    return place
