"""Images that never were: the grid of samples."""

import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import Dataset
from studio.method import Code, Method
from studio.render.grid import Grid
from studio.render.selection import matrix, note, positive

__all__ = ["grid"]

SALIENT_SAMPLES = 7  # columns of `grid`
MOST = 500  # its rows: test images do not bound them


def grid(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """New images: one common code per row, one salient code per column, the blank one first.

    Carton et al. (2024), Fig. 4 and 6.
    """
    n = 6 if n is None else positive(n, MOST)
    code = sampling.prior(method, n + SALIENT_SAMPLES, "target", seed)
    made = matrix(method, Code(code.z[:n], torch.cat([sampling.blank(method, 1), code.s[n:]])))
    head = ["", "background", *(f"target s{i + 1}" for i in range(SALIENT_SAMPLES))]
    return Grid(
        [head, *([f"z{i + 1}", *row] for i, row in enumerate(made))],
        "New images",
        "All of them are made up. Each row has one common code z, each column one salient code s, all drawn from the "
        f"prior; the first column's s is blank, which makes background images. {note(method, dataset, seed)}",
        column_breaks=[2],
    ).draw()
