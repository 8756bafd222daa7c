"""Parts of pictures: a varied selection of test images, and grid cells made from tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from studio import sampling
from studio.data.captions import caption_images
from studio.data.dataset import Belongs, DataConfig, Dataset
from studio.errors import StudioError
from studio.method import DOMAINS, Code, Domain, Method
from studio.pixels import check_finite, to_2d, to_pixels, visible_channels
from studio.planes import describe_planes
from studio.render.grid import Scale
from studio.runs.run import Run
from studio.seeds import seed_of

__all__ = [
    "TILES",
    "DataDescription",
    "Selection",
    "check_count",
    "choose_scale",
    "count_rows",
    "decode_matrix",
    "describe_data",
    "describe_source",
    "describe_view",
    "pick_both_domains",
    "pick_targets",
    "pick_varied",
    "shuffle_indices",
    "to_cells",
    "to_coloured_cells",
]

TILES = "They are drawn as tiles, one pixel per number, row by row: -1 is black and 1 is white."
MOST_CONDITIONS = 12  # rows that conditions may add to a picture
FAINTEST = 0.1  # a difference map saturates at this value or higher, so that noise stays pale


class Selection(NamedTuple):
    """Test images with their names (`studio.data.captions`) and indices in the data set."""

    images: Tensor
    names: list[str]
    indices: np.ndarray


def check_count(n: int, most: int | None = None) -> int:
    """Returns n.

    Raises:
        StudioError: n is less than 1, or more than `most`.
    """
    if n < 1:
        raise StudioError(f"n must be at least 1, found {n}")
    if most is not None and n > most:
        raise StudioError(f"n must be at most {most}, found {n}")
    return n


def count_rows(
    dataset: Dataset, n: int | None, default: int, domains: Sequence[Domain], per_row: int = 1
) -> int:
    """Returns n if it is given, and otherwise the default or as many rows as the test images fill.

    Target rows are enough for each condition of the target set, up to `MOST_CONDITIONS`.

    Raises:
        StudioError: the test split has too few images for n rows, or for one.
    """
    sizes = {domain: dataset.size("test", domain) for domain in domains}
    for domain, size in sizes.items():
        wanted = per_row * (1 if n is None else check_count(n))
        if size < wanted:
            name = dataset.config.name
            raise StudioError(
                f"data set {name!r} has {size} {domain} images in its test split, this needs "
                f"{wanted}"
            )
    if "target" in domains and dataset.condition:
        conditions = min(len(dataset.attributes[dataset.condition].classes), MOST_CONDITIONS)
        default = max(default, -(-conditions // per_row))
    return min(default, *(size // per_row for size in sizes.values())) if n is None else n


def pick_targets(
    dataset: Dataset, n: int | None, default: int, seed: int, per_row: int = 1
) -> Selection:
    """Picks `per_row` target test images for each of n rows, varied in salient attributes."""
    n = count_rows(dataset, n, default, ["target"], per_row)
    return pick_varied(dataset, "target", n * per_row, seed, "salient")


def pick_both_domains(
    dataset: Dataset, n: int | None, default: int, seed: int
) -> dict[Domain, Selection]:
    """Picks n test images of each domain."""
    n = count_rows(dataset, n, default, DOMAINS)
    return {
        "background": pick_varied(dataset, "background", n, seed, "common"),
        "target": pick_varied(dataset, "target", n, seed, "salient"),
    }


def pick_varied(dataset: Dataset, domain: Domain, n: int, seed: int, vary: Belongs) -> Selection:
    """Picks n test images that vary in their attributes, first in those that belong to `vary`.

    Target images show the conditions of the target set in turn.
    """
    indices, labels = shuffle_indices(dataset, domain, seed), dataset.labels("test", domain)
    names = [
        name
        for name, attribute in dataset.attributes.items()
        if attribute.classes and name in labels
    ]
    names.sort(
        key=lambda name: (name != dataset.condition, dataset.attributes[name].belongs != vary)
    )
    if names:
        chosen = indices[_take_in_turn([labels[name][indices] for name in names], n)]
    else:
        chosen = indices[:n]
    images = dataset.images("test", domain, chosen)
    check_finite(images, generated=False)
    return Selection(images, caption_images(dataset, "test", domain, chosen), chosen)


def shuffle_indices(dataset: Dataset, domain: Domain, seed: int) -> np.ndarray:
    """Returns the indices of the test images in an order that depends on the seed alone."""
    rng = np.random.default_rng(seed_of("render", seed, domain))
    return rng.permutation(dataset.size("test", domain))


def _take_in_turn(labels: Sequence[np.ndarray], n: int) -> list[int]:
    """Takes n items. Each is the first of those that have the classes taken least often so far.

    Earlier labels outrank later ones.
    """
    taken, times = np.zeros(len(labels[0]), bool), np.zeros((len(labels), len(labels[0])), int)
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(np.lexsort((*times[::-1], taken))[0]))  # stable: ties go to the first
        taken[chosen[-1]] = True
        times += [column == column[chosen[-1]] for column in labels]
    return chosen


class DataDescription(NamedTuple):
    """The facts about a data set that captions state, for pictures that need no images of it."""

    shape: tuple[int, ...]
    config: DataConfig


def describe_data(run: Run) -> DataDescription:
    """Returns the facts about a run's data set without opening it."""
    return DataDescription(tuple(run.shape), run.config.data)


def describe_source(method: Method, dataset: Dataset | DataDescription, seed: int) -> str:
    """Returns the method, the data set and the seed of a picture, in brackets."""
    return f"({method.config.name} on {dataset.config.name}, seed {seed})"


def describe_view(method: Method, dataset: Dataset | DataDescription, seed: int) -> str:
    """Returns the end of a caption: the layout of volumes and vectors, and the source."""
    shape = dataset.shape
    view = ""
    if len(shape) == 1:
        view = f"Vectors of {shape[0]} numbers. {TILES} "
    elif len(shape) == 4:
        view = describe_planes(shape[1:])
    if len(shape) > 1 and shape[0] not in (1, 3):
        view += f"Only the first of {shape[0]} channels is shown. "
    return view + describe_source(method, dataset, seed)


def to_cells(images: Tensor) -> list[np.ndarray]:
    """Converts images, volumes or vectors in [-1, 1] to cells of a grid, uint8 (h, w, 1 or 3)."""
    return list(to_2d(to_pixels(visible_channels(images))))


def to_coloured_cells(colours: Scale, values: Tensor) -> list[np.ndarray]:
    """Colours numbers (B, *space) and lays them out as `to_cells` lays out images."""
    return list(to_2d(colours.paint(values.numpy())))


def decode_matrix(method: Method, code: Code) -> list[list[np.ndarray]]:
    """Decodes every common code (one row each) with every salient code (one column each)."""
    rows, columns = len(code.z), len(code.s)
    pairs = Code(code.z.repeat_interleave(columns, 0), code.s.repeat(rows, 1))
    cells = to_cells(sampling.decode(method, pairs))
    return [cells[row * columns : (row + 1) * columns] for row in range(rows)]


def choose_scale(label: str, *maps: Tensor, signed: bool = False) -> Scale:
    """Returns colours that cover the values of some maps.

    The colours of signed maps reach equally far in both directions, with white at 0.
    """
    most = max(FAINTEST, *(values.abs().max().item() for values in maps))
    return Scale(label, -most, most, "RdBu_r") if signed else Scale(label, 0, most, "cividis")
