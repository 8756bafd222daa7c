"""The pictures of `studio render`: one function per kind, all with one signature.

Each takes a method in eval mode, a data set, how many rows (by default as many as look well, or as there are images
for) and a seed, which picks the test images and draws the codes. The same seed gives the same pixels. What is drawn of a
run's directory instead (`curves`, `training`) is in `studio.render.curves` and `studio.render.animation`.
"""

from collections.abc import Callable, Iterator

from PIL import Image

from studio.data.dataset import Dataset, MaskedDataset
from studio.errors import StudioError, warn
from studio.method import Method
from studio.render.codes import codes
from studio.render.edits import counterfactual, heal, overview, reconstruct, swap
from studio.render.samples import grid
from studio.render.traversals import interpolate, isolate, traverse

__all__ = [
    "KINDS",
    "OF_RUNS",
    "codes",
    "counterfactual",
    "every_picture",
    "grid",
    "heal",
    "interpolate",
    "isolate",
    "kinds",
    "overview",
    "reconstruct",
    "swap",
    "traverse",
]

KINDS: dict[str, Callable[..., Image.Image]] = {
    "overview": overview,
    "grid": grid,
    "reconstruct": reconstruct,
    "swap": swap,
    "heal": heal,
    "isolate": isolate,
    "traverse": traverse,
    "interpolate": interpolate,
    "codes": codes,
    "counterfactual": counterfactual,
}
OF_RUNS = (
    "curves",
    "training",
)  # of a run's directory: its log, and what it drew while it was trained


def kinds(dataset: Dataset) -> dict[str, Callable[..., Image.Image]]:
    """Returns the pictures that a data set has: `counterfactual` needs masks."""
    return {
        kind: draw
        for kind, draw in KINDS.items()
        if kind != "counterfactual" or isinstance(dataset, MaskedDataset)
    }


def every_picture(method: Method, dataset: Dataset, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Yields each kind with its picture; warns of one that cannot be drawn, e.g. where one test image is too few to swap."""
    for kind, draw in kinds(dataset).items():
        try:
            yield kind, draw(method, dataset, seed=seed)
        except StudioError as error:
            warn(f"no picture {kind}: {error}")
