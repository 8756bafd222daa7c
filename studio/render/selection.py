"""What a picture shows: test images that vary, by names that lead back to them, and how pixels are made of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from studio import sampling
from studio.data.dataset import Belongs, Dataset
from studio.errors import StudioError
from studio.method import DOMAINS, Code, Domain, Method
from studio.render.grid import Scale, flat, to_pixels
from studio.seeds import seed_of

__all__ = [
    "Shown",
    "both",
    "count",
    "difference",
    "frames",
    "matrix",
    "note",
    "order",
    "paint",
    "pick",
    "positive",
    "scale",
    "source",
    "targets",
]

FAINTEST = 0.1  # full colour in a difference map means at least this much, so that no effect looks like none


class Shown(NamedTuple):
    """Test images and the names, such as `target 1234`, by which a person finds them again."""

    images: Tensor
    names: list[str]


def positive(n: int, most: int | None = None) -> int:
    """Returns n.

    Raises:
        StudioError: it is less than 1, or more than `most`.
    """
    if n < 1:
        raise StudioError(f"n must be at least 1, found {n}")
    if most is not None and n > most:
        raise StudioError(f"n must be at most {most}, found {n}")
    return n


def count(
    dataset: Dataset, n: int | None, default: int, domains: Sequence[Domain], per_row: int = 1
) -> int:
    """Returns n, or as much of the default as there are test images for.

    Raises:
        StudioError: there are not enough test images for n, or none.
    """
    sizes = {domain: dataset.size("test", domain) for domain in domains}
    for domain, size in sizes.items():
        wanted = per_row * (1 if n is None else positive(n))
        if size < wanted:
            name = dataset.config.name
            raise StudioError(
                f"data set {name!r} has {size} {domain} images in its test split, this needs {wanted}"
            )
    return min(default, *(size // per_row for size in sizes.values())) if n is None else n


def targets(dataset: Dataset, n: int | None, default: int, seed: int, per_row: int = 1) -> Shown:
    """Picks target test images, `per_row` for each of n rows; those that vary in what is salient come first."""
    n = count(dataset, n, default, ["target"], per_row)
    return pick(dataset, "target", n * per_row, seed, "salient")


def both(dataset: Dataset, n: int | None, default: int, seed: int) -> dict[Domain, Shown]:
    """Picks n test images of each domain."""
    n = count(dataset, n, default, DOMAINS)
    return {
        "background": pick(dataset, "background", n, seed, "common"),
        "target": pick(dataset, "target", n, seed, "salient"),
    }


def pick(dataset: Dataset, domain: Domain, n: int, seed: int, vary: Belongs) -> Shown:
    """Picks n test images that vary: the classes of each attribute in turn, those that belong to `vary` first."""
    there, labels = order(dataset, domain, seed), dataset.labels("test", domain)
    names = [
        name
        for name, attribute in dataset.attributes.items()
        if attribute.classes and name in labels
    ]
    names.sort(key=lambda name: dataset.attributes[name].belongs != vary)
    chosen = there[_in_turn([labels[name][there] for name in names], n)] if names else there[:n]
    return Shown(dataset.images("test", domain, chosen), [f"{domain} {i}" for i in chosen])


def order(dataset: Dataset, domain: Domain, seed: int) -> np.ndarray:
    """Returns the test images' numbers in an order that depends on the seed alone."""
    return np.random.default_rng(seed_of("render", seed, domain)).permutation(
        dataset.size("test", domain)
    )


def _in_turn(labels: Sequence[np.ndarray], n: int) -> list[int]:
    """Takes n items, each time the first of those whose classes were taken least; earlier labels outrank later ones."""
    taken, times = np.zeros(len(labels[0]), bool), np.zeros((len(labels), len(labels[0])), int)
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(np.lexsort((*times[::-1], taken))[0]))  # stable: ties go to the first
        taken[chosen[-1]] = True
        times += [column == column[chosen[-1]] for column in labels]
    return chosen


def source(method: Method, dataset: Dataset, seed: int) -> str:
    """Says what a picture was made of and by which seed."""
    return f"({method.config.name} on {dataset.config.name}, seed {seed})"


def note(method: Method, dataset: Dataset, seed: int) -> str:
    """Says what a caption ends with: what of an image is shown, where that is not all, and `source`."""
    shape = dataset.shape
    hidden = ""
    if len(shape) == 1:
        hidden = f"Vectors of {shape[0]} numbers are drawn as tiles, a pixel each, row by row; -1 is black and 1 white. "
    elif len(shape) == 4:
        hidden = (
            "Volumes are cut through their middle in three planes: across the first axis at the top left, across the second "
            "below it, across the third beside it. "
        )
    if len(shape) > 1 and shape[0] not in (1, 3):
        hidden += f"Only the first of {shape[0]} channels is shown. "
    return hidden + source(method, dataset, seed)


def frames(images: Tensor) -> list[np.ndarray]:
    """Turns images, volumes or vectors in [-1, 1] into cells of a grid, uint8 (h, w, 1 or 3)."""
    return list(flat(to_pixels(_visible(images))))


def paint(colours: Scale, values: Tensor) -> list[np.ndarray]:
    """Turns numbers (B, *space) into coloured cells, laid out as `frames` lays out the images."""
    return list(flat(colours.paint(values.numpy())))


def _visible(images: Tensor) -> Tensor:
    """Returns one channel or three (B, C, *space): vectors get one, and of many the first is taken."""
    if images.ndim == 2:
        return images[:, None]
    return images if images.shape[1] in (1, 3) else images[:, :1]


def matrix(method: Method, code: Code) -> list[list[np.ndarray]]:
    """Decodes every z (a row) with every s (a column)."""
    rows, columns = len(code.z), len(code.s)
    made = frames(
        sampling.decode(method, Code(code.z.repeat_interleave(columns, 0), code.s.repeat(rows, 1)))
    )
    return [made[row * columns : (row + 1) * columns] for row in range(rows)]


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Returns a - b of shape (B, *space), each pixel's in the channel where it is largest."""
    values = _visible(a) - _visible(b)
    return values.gather(1, values.abs().argmax(1, keepdim=True))[:, 0]


def scale(label: str, *maps: Tensor, signed: bool = False) -> Scale:
    """Returns colours for numbers: as far as they reach, or both ways from white at 0 where they have a sign."""
    most = max(FAINTEST, *(values.abs().max().item() for values in maps))
    return Scale(label, -most, most, "RdBu_r") if signed else Scale(label, 0, most, "cividis")
