"""The pictures of `studio render`: one function per kind, all with one signature.

Each takes a method in eval mode, a data set, how many rows (by default as many as look well, or as there are images
for) and a seed, which picks the test images and draws the codes. The same seed gives the same pixels.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from studio import sampling
from studio.data.dataset import Belongs, CounterfactualDataset, Dataset, MaskedDataset
from studio.errors import StudioError
from studio.evaluate.counterfactual import salient_map
from studio.grids import Cell, Grid, Scale, to_pixels
from studio.method import DOMAINS, Code, Domain, Method
from studio.scatter import colourings, panels, plane
from studio.seeds import seed_of

__all__ = [
    "KINDS", "codes", "counterfactual", "grid", "heal", "interpolate", "isolate", "kinds", "reconstruct", "swap", "traverse",
]  # fmt: skip

SALIENT_SAMPLES = 7  # columns of `grid`
TRAVERSED = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # Carton et al. (2024), Fig. 9
STEPS = 7  # columns of `interpolate` and of the sweep in `isolate`
FURTHEST = 1.5  # how far that sweep goes, where the image's own salient code is 1
FAINTEST = 0.1  # full colour in a difference map means at least this much, so that no effect looks like none
POINTS = 1000  # images per domain in `codes`


class Shown(NamedTuple):
    """Test images and the names, such as `target 1234`, by which a person finds them again."""

    images: Tensor
    names: list[str]


def grid(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """New images: one common code per row, one salient code per column, the blank one first.

    Carton et al. (2024), Fig. 4 and 6.
    """
    n = 6 if n is None else _positive(n)
    code = sampling.prior(method, n + SALIENT_SAMPLES, "target", seed)
    made = _matrix(method, Code(code.z[:n], torch.cat([sampling.blank(method, 1), code.s[n:]])))
    head = ["", "background", *(f"target s{i + 1}" for i in range(SALIENT_SAMPLES))]
    return Grid(
        [head, *([f"z{i + 1}", *row] for i, row in enumerate(made))],
        "New images",
        "All of them are made up. Each row has one common code z, each column one salient code s, all drawn from the "
        f"prior; the first column's s is blank, which makes background images. {_note(method, dataset, seed)}",
        column_breaks=[2],
    ).draw()


def reconstruct(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Test images, their reconstructions, and how far these are off."""
    shown = _both(dataset, n, 6, seed)
    rebuilt = {domain: sampling.reconstruct(method, shown[domain].images, domain) for domain in DOMAINS}
    off = {domain: _difference(rebuilt[domain], shown[domain].images).abs() for domain in DOMAINS}
    scale = _scale("|reconstruction - image|", *off.values())
    halves = [
        zip(shown[d].names, _frames(shown[d].images), _frames(rebuilt[d]), scale.paint(off[d].numpy()), strict=True)
        for d in DOMAINS
    ]
    means = " and ".join(f"{(rebuilt[d] - shown[d].images).abs().mean():.3f} ({d})" for d in DOMAINS)
    return Grid(
        [["", "image", "reconstruction", "difference"] * 2, *([*x, *y] for x, y in zip(*halves, strict=True))],
        "Reconstruction of test images",
        "Each image, what is decoded from its code, and the absolute difference; background images with a blank "
        f"salient code, as in training. Images run from -1 to 1; mean difference: {means}. "
        f"{_note(method, dataset, seed)}",
        [scale],
        column_breaks=[4],
    ).draw()


def swap(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Every common code of 2n test images with every salient code of the same: four blocks, one per pair of domains.

    All columns of Carton et al. (2024), Fig. 3, are in it, and swaps within a domain besides.
    """
    shown = _both(dataset, n, 4, seed)
    images = torch.cat([shown[domain].images for domain in DOMAINS])
    names = [*chain.from_iterable(shown[domain].names for domain in DOMAINS)]
    originals, made = _frames(images), _matrix(method, sampling.encode(method, images))
    rows: list[list[Cell]] = [
        ["", "", *names],
        ["common code of ↓", "salient code of →", *originals],
        *([name, original, *row] for name, original, row in zip(names, originals, made, strict=True)),
    ]
    breaks = [2, 2 + len(names) // 2]
    return Grid(
        rows,
        "Salient content swapped",
        "Top and left: test images. Every other image takes its common code from the image at the left of its row and "
        "its salient code from the image at the top of its column, so what only target images have should follow the "
        f"column and all else the row. The diagonal is the plain reconstruction. {_note(method, dataset, seed)}",
        breaks=breaks,
        column_breaks=breaks,
    ).draw()


def heal(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Target images without their salient content, and what was taken away.

    Carton et al. (2024), Fig. 7.
    """
    shown = _targets(dataset, n, 6, seed)
    rebuilt, healed = sampling.reconstruct(method, shown.images), sampling.heal(method, shown.images)
    removed = _difference(rebuilt, healed)
    scale = _scale("reconstruction - healed", removed, signed=True)
    columns = shown.names, _frames(shown.images), _frames(rebuilt), _frames(healed), scale.paint(removed.numpy())
    return Grid(
        [["", "image", "reconstruction", "healed", "removed"], *zip(*columns, strict=True)],
        "Salient content removed",
        "Target test images, decoded with their own salient code (reconstruction) and with a blank one (healed). The "
        "difference between these two is what the salient code had added: red where it made the image brighter, blue "
        f"where darker. {_note(method, dataset, seed)}",
        [scale],
    ).draw()


def isolate(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """The salient content of target images alone, and growing from nothing.

    Abid and Zou (2019), Fig. 6b; "Towards principled objectives for contrastive disentanglement" (2020), Fig. 5.
    """
    shown = _targets(dataset, n, 6, seed)
    code, nothing = sampling.encode(method, shown.images), sampling.blank(method, 1)[0]
    no_z = torch.zeros_like(code.z[0])
    sweeps = [sampling.interpolate(method, no_z, nothing, torch.lerp(nothing, s, FURTHEST), STEPS) for s in code.s]
    shares = np.linspace(0, FURTHEST, STEPS)
    alone = zip(shown.names, _frames(shown.images), _frames(sampling.isolate(method, shown.images)), strict=True)
    return Grid(
        [
            ["", "image", "z = 0, own s", *(f"{share:.3g} s" for share in shares)],
            *([*left, *_frames(sweep)] for left, sweep in zip(alone, sweeps, strict=True)),
        ],
        "Salient content alone",
        "Target test images, and what is decoded from their salient code s with the common code z set to 0. On the "
        f"right, still at z = 0, s goes from blank (0 s) through the image's own (1 s) to {FURTHEST:g} times that. "
        f"{_note(method, dataset, seed)}",
        column_breaks=[3],
    ).draw()


def traverse(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """One salient coordinate per row, moved while the rest of one target image's code stays; largest effect first.

    Carton et al. (2024), Fig. 9.
    """
    most = 8 if n is None else _positive(n)
    shown = _targets(dataset, 1, 1, seed)
    image, length = shown.images[0], method.blank(1).shape[1]
    moved = [sampling.traverse(method, image, k, TRAVERSED) for k in range(length)]
    effect = torch.stack([images.std(0).mean() for images in moved])
    share = effect / effect.sum().clamp(min=1e-12)
    rebuilt = _frames(sampling.reconstruct(method, shown.images))[0]
    rows: list[list[Cell]] = [
        [shown.names[0], _frames(shown.images)[0], "reconstruction →", rebuilt, *[None] * (len(TRAVERSED) - 3)],
        ["", *(f"{value:g}" for value in TRAVERSED)],
        *([f"s[{k}] {share[k]:.1%}", *_frames(moved[k])] for k in effect.argsort(descending=True)[:most].tolist()),
    ]
    return Grid(
        rows,
        "Salient coordinates, one at a time",
        f"Each row sets one coordinate of s (of {length}) to the values above and leaves the rest of the image's "
        "code as it is. The percentage is the coordinate's share of the change that all of them make to this image "
        f"(standard deviation along the row, averaged over pixels); the largest come first. "
        f"{_note(method, dataset, seed)}",
        breaks=[1],
    ).draw()


def interpolate(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """From the salient code of one target image to that of another, at the common code of the first.

    "Towards principled objectives for contrastive disentanglement" (2020), Fig. 8 and 10.
    """
    shown = _targets(dataset, n, 6, seed, per_row=2)
    code = sampling.encode(method, shown.images)
    frames = _frames(shown.images)
    rows: list[list[Cell]] = [["", "image 1", "s of 1", *[""] * (STEPS - 2), "s of 2", "image 2", ""]]
    for a in range(0, len(frames), 2):
        between = _frames(sampling.interpolate(method, code.z[a], code.s[a], code.s[a + 1], STEPS))
        rows.append([shown.names[a], frames[a], *between, frames[a + 1], shown.names[a + 1]])
    return Grid(
        rows,
        "Interpolation of the salient code",
        "Between two target test images: all images between them keep the common code of image 1 while the salient "
        f"code moves on a straight line from that of image 1 to that of image 2. {_note(method, dataset, seed)}",
        column_breaks=[2, 2 + STEPS],
    ).draw()


def codes(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """The salient and the common codes of n test images per domain in two dimensions, coloured by each attribute."""
    n = _count(dataset, n, POINTS, DOMAINS)
    indices: dict[Domain, np.ndarray] = {domain: _order(dataset, domain, seed)[:n] for domain in DOMAINS}
    read = [sampling.encode(method, dataset.images("test", domain, indices[domain])) for domain in DOMAINS]
    mixed = np.random.default_rng(seed).permutation(2 * n)  # so that no colour lies on top of the others
    planes = {name: plane(torch.cat([getattr(code, name) for code in read]).numpy()[mixed]) for name in ("s", "z")}
    coloured = {name: (attribute, values[mixed]) for name, (attribute, values) in colourings(dataset, indices).items()}
    return Grid(
        [[panels(planes, coloured)]],
        "Codes in two dimensions",
        f"The first two principal components of the salient code s (left) and of the common code z (right) of {n} "
        f"background and {n} target test images; one row per attribute. What belongs to a code should be seen there "
        f"and not in the other. {_source(method, dataset, seed)}",
        zoom=1,
    ).draw()


def counterfactual(method: Method, dataset: Dataset, n: int | None = None, seed: int = 0) -> Image.Image:
    """Target images, healed, with the map of what was taken away beside the mask of what should be."""
    if not isinstance(dataset, MaskedDataset):
        raise StudioError(
            f"render counterfactual: data set {dataset.config.name!r} has no masks of its salient content; see heal"
        )
    shown = _targets(dataset, n, 6, seed)
    indices = [int(name.split()[1]) for name in shown.names]
    rebuilt, healed = sampling.reconstruct(method, shown.images), sampling.heal(method, shown.images)
    found, masks = salient_map(rebuilt, healed), dataset.masks("test", indices)
    scale = _scale("|reconstruction - healed|", found)
    truth = {"truly healthy": _frames(dataset.healthy("test", indices))} if isinstance(dataset, CounterfactualDataset) else {}
    columns = {
        "image": _frames(shown.images), "reconstruction": _frames(rebuilt), "healed": _frames(healed), **truth,
        "map": list(scale.paint(found.numpy())), "mask": list(masks.numpy()[..., None] * np.uint8(255)),
    }  # fmt: skip
    inside, outside = (found[where].mean() if where.any() else float("nan") for where in (masks, ~masks))
    return Grid(
        [["", *columns], *zip(shown.names, *columns.values(), strict=True)],
        "Healed images, and the truth",
        "Target test images, decoded with their own salient code (reconstruction) and with a blank one (healed)"
        f"{', and what they would look like without their salient content' if truth else ''}; the absolute difference "
        "of reconstruction and healed image (map), and where salient content is marked (mask), white. Images run from -1 to "
        f"1; the map's mean is {inside:.3f} inside the masks and {outside:.3f} outside. {_note(method, dataset, seed)}",
        [scale],
    ).draw()


KINDS: dict[str, Callable[..., Image.Image]] = {
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


def kinds(dataset: Dataset) -> dict[str, Callable[..., Image.Image]]:
    """Returns the pictures that a data set has: `counterfactual` needs masks."""
    return {kind: draw for kind, draw in KINDS.items() if kind != "counterfactual" or isinstance(dataset, MaskedDataset)}


def _positive(n: int) -> int:
    if n < 1:
        raise StudioError(f"n must be at least 1, found {n}")
    return n


def _count(dataset: Dataset, n: int | None, default: int, domains: Sequence[Domain], per_row: int = 1) -> int:
    """Returns n, or as much of the default as there are test images for."""
    sizes = {domain: dataset.size("test", domain) for domain in domains}
    for domain, size in sizes.items():
        wanted = per_row * (1 if n is None else _positive(n))
        if size < wanted:
            name = dataset.config.name
            raise StudioError(f"data set {name!r} has {size} {domain} images in its test split, this needs {wanted}")
    return min(default, *(size // per_row for size in sizes.values())) if n is None else n


def _targets(dataset: Dataset, n: int | None, default: int, seed: int, per_row: int = 1) -> Shown:
    n = _count(dataset, n, default, ["target"], per_row)
    return _pick(dataset, "target", n * per_row, seed, "salient")


def _both(dataset: Dataset, n: int | None, default: int, seed: int) -> dict[Domain, Shown]:
    n = _count(dataset, n, default, DOMAINS)
    return {
        "background": _pick(dataset, "background", n, seed, "common"),
        "target": _pick(dataset, "target", n, seed, "salient"),
    }


def _pick(dataset: Dataset, domain: Domain, n: int, seed: int, vary: Belongs) -> Shown:
    """Picks n test images that vary: the classes of each attribute in turn, those that belong to `vary` first."""
    order, labels = _order(dataset, domain, seed), dataset.labels("test", domain)
    names = [name for name, attribute in dataset.attributes.items() if attribute.classes and name in labels]
    names.sort(key=lambda name: dataset.attributes[name].belongs != vary)
    chosen = order[_in_turn([labels[name][order] for name in names], n)] if names else order[:n]
    return Shown(dataset.images("test", domain, chosen), [f"{domain} {i}" for i in chosen])


def _order(dataset: Dataset, domain: Domain, seed: int) -> np.ndarray:
    return np.random.default_rng(seed_of("render", seed, domain)).permutation(dataset.size("test", domain))


def _in_turn(labels: Sequence[np.ndarray], n: int) -> list[int]:
    """Takes n items, each time the first of those whose classes were taken least; earlier labels outrank later ones."""
    taken, times = np.zeros(len(labels[0]), bool), np.zeros((len(labels), len(labels[0])), int)
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(np.lexsort((*times[::-1], taken))[0]))  # stable: ties go to the first
        taken[chosen[-1]] = True
        times += [column == column[chosen[-1]] for column in labels]
    return chosen


def _source(method: Method, dataset: Dataset, seed: int) -> str:
    return f"({method.config.name} on {dataset.config.name}, seed {seed})"


def _note(method: Method, dataset: Dataset, seed: int) -> str:
    channels = dataset.shape[0]
    hidden = "" if channels in (1, 3) else f"Only the first of {channels} channels is shown. "
    return hidden + _source(method, dataset, seed)


def _visible(images: Tensor) -> Tensor:
    """Returns gray and RGB images as they are, and the first channel of others."""
    if images.ndim != 4:
        raise StudioError(f"only images of shape (C, H, W) can be shown, found {tuple(images.shape[1:])}")
    return images if images.shape[1] in (1, 3) else images[:, :1]


def _frames(images: Tensor) -> list[np.ndarray]:
    return list(to_pixels(_visible(images)))


def _matrix(method: Method, code: Code) -> list[list[np.ndarray]]:
    """Decodes every z (a row) with every s (a column)."""
    rows, columns = len(code.z), len(code.s)
    frames = _frames(sampling.decode(method, Code(code.z.repeat_interleave(columns, 0), code.s.repeat(rows, 1))))
    return [frames[row * columns : (row + 1) * columns] for row in range(rows)]


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """Returns a - b of shape (B, H, W), each pixel's in the channel where it is largest."""
    difference = _visible(a) - _visible(b)
    return difference.gather(1, difference.abs().argmax(1, keepdim=True))[:, 0]


def _scale(label: str, *maps: Tensor, signed: bool = False) -> Scale:
    most = max(FAINTEST, *(values.abs().max().item() for values in maps))
    return Scale(label, -most, most, "RdBu_r") if signed else Scale(label, 0, most, "cividis")
