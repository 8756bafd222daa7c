"""The registry of pictures of `studio render`: one function per kind, all with one signature.

Each function takes a method in eval mode, a data set, a number of rows and a seed. The number is
optional. By default it is a number that looks well, or fewer if the test split has fewer images.
The seed selects the test images and draws the codes. The same seed gives the same pixels.

`curves` and `training` are drawn from a run's directory, by `studio.render.curves` and
`studio.render.animation`.
"""

from collections.abc import Callable, Iterator

from PIL import Image

from studio.data.dataset import Dataset, MaskedDataset
from studio.errors import StudioError, warn
from studio.method import Method
from studio.progress import mark_step
from studio.render.codes import draw_codes
from studio.render.edits import (
    draw_counterfactual,
    draw_heal,
    draw_overview,
    draw_reconstruct,
    draw_swap,
)
from studio.render.samples import draw_grid
from studio.render.traversals import draw_interpolate, draw_isolate, draw_square, draw_traverse

__all__ = [
    "ON_DEMAND",
    "PICTURES",
    "PICTURES_OF_DIRECTORIES",
    "WITHOUT_DATA",
    "draw_pictures",
    "pictures_of",
]

PICTURES: dict[str, Callable[..., Image.Image]] = {
    "overview": draw_overview,
    "grid": draw_grid,
    "reconstruct": draw_reconstruct,
    "swap": draw_swap,
    "heal": draw_heal,
    "isolate": draw_isolate,
    "traverse": draw_traverse,
    "square": draw_square,
    "interpolate": draw_interpolate,
    "codes": draw_codes,
    "counterfactual": draw_counterfactual,
}
# Drawn from the files of a run's directory: its log, and the grids or checkpoints of its training.
PICTURES_OF_DIRECTORIES = ("curves", "training")
# Drawn without images of the data set: `describe_data` takes its place.
WITHOUT_DATA = ("grid", "square")
ON_DEMAND = ("square",)  # not part of a training's pictures and its report


def pictures_of(dataset: Dataset) -> dict[str, Callable[..., Image.Image]]:
    """Returns the pictures of a training on a data set: `counterfactual` needs masks."""
    return {
        kind: draw
        for kind, draw in PICTURES.items()
        if kind not in ON_DEMAND
        and (kind != "counterfactual" or isinstance(dataset, MaskedDataset))
    }


def draw_pictures(method: Method, dataset: Dataset, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Yields each kind with its picture.

    A picture that cannot be drawn is skipped with a warning, e.g. if one test image is too few to
    swap.
    """
    for kind, draw in pictures_of(dataset).items():
        mark_step(f"picture {kind}")
        try:
            yield kind, draw(method, dataset, seed=seed)
        except StudioError as error:
            warn(f"no picture {kind}: {error}")
