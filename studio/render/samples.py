"""Generated images: a grid of samples from the prior."""

import torch
from PIL import Image

from studio import sampling
from studio.data.dataset import Dataset
from studio.method import Code, Method
from studio.render.grid import Grid
from studio.render.selection import DataDescription, check_count, decode_matrix, describe_view

__all__ = ["draw_grid"]

SALIENT_SAMPLES = 7  # columns of target images
MOST_ROWS = 500  # a limit of its own, because the number of test images does not bound the rows


def draw_grid(
    method: Method, dataset: Dataset | DataDescription, n: int | None = None, seed: int = 0
) -> Image.Image:
    """Draws generated images: one common code per row, one salient code per column.

    The blank salient code comes first.

    Carton et al. (2024), Fig. 4 and 6.
    """
    n = 6 if n is None else check_count(n, MOST_ROWS)
    code = sampling.prior(method, n + SALIENT_SAMPLES, "target", seed)
    salient = torch.cat([sampling.blank(method, 1), code.s[n:]])
    cells = decode_matrix(method, Code(code.z[:n], salient))
    head = ["", "background", *(f"target s{i + 1}" for i in range(SALIENT_SAMPLES))]
    return Grid(
        [head, *([f"z{i + 1}", *row] for i, row in enumerate(cells))],
        "Generated images",
        "The model generated all of these images. Each row has one common code z and each column "
        "one salient code s, all drawn at random from the prior. The salient code of the first "
        "column is blank (nothing salient), so its images are background images. "
        f"{describe_view(method, dataset, seed)}",
        column_breaks=[2],
    ).draw()
