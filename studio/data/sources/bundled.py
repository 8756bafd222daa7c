"""The real images that come with scikit-learn and scikit-image: handwritten digits and photographs.

Their own loaders import all of scikit-learn and every image reader of scikit-image, which takes
longer than everything else in the verbs of `studio data`. The files are therefore read directly
from these packages. The loaders are used if the files are missing there.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

__all__ = ["load_digit_images", "load_photograph"]


@lru_cache(maxsize=1)
def load_digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Returns the 1797 digits (1797, 8, 8) int64, 0 to 16, and their classes (1797,) int64."""
    path = _inside("sklearn", "datasets/data/digits.csv.gz")
    if path.is_file():
        table = np.loadtxt(path, np.int64, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return np.asarray(pixels, np.int64).reshape(-1, 8, 8), np.asarray(classes, np.int64)


def load_photograph(name: str) -> np.ndarray:
    """Returns one of scikit-image's photographs in gray, such as `grass`, (H, W) uint8."""
    path = _inside("skimage", f"data/{name}.png")
    if path.is_file():
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image)
    import skimage.data

    return getattr(skimage.data, name)()


def _inside(package: str, name: str) -> Path:
    """Returns the expected path of a file of a package, without importing the package."""
    spec = find_spec(package)
    return Path(spec.origin if spec is not None and spec.origin else package).parent / name
