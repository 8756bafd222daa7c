"""Axial slices of heads, with tumours or without, drawn from a few numbers: the pictures of `brain_phantom`.

A head is made of layers (scalp, bone, fluid, cortex, white matter, nuclei, ventricles) whose edges are level sets of smooth
functions of the position, one pixel wide at any size. Positions are in units of the head, so that a position means the same
place in every head: half its length is 1, x runs to the right of the picture and y to the back, the front is at y = -1. The
folds follow a sum of plane waves in three dimensions, so that slices of one head at different levels fit together. A tumour
lies over the brain and moves nothing: with it or without, all else stays as it was.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["ANATOMY", "HEIGHT", "LESIONS", "MODALITIES", "TUMOUR", "Factors", "draw", "lesions"]

Factors = Mapping[str, np.ndarray]  # factor -> (n,)

# Factor -> the least and the most it can be; lengths are in units of the head where nothing else is said.
ANATOMY: dict[str, tuple[float, float]] = {
    "head_size": (0.80, 0.95),  # length of the head, of the picture's
    "head_shape": (0.75, 0.87),  # its width, of its length
    "shift_x": (-0.04, 0.04),  # of the head in the picture, in half pictures
    "shift_y": (-0.04, 0.04),
    "tilt": (-8.0, 8.0),  # degrees, clockwise
    "level": (
        0.0,
        1.0,
    ),  # of the slice: 0 through the thalami, 1 through the roofs of the lateral ventricles
    "scalp": (0.04, 0.07),  # thickness
    "skull": (0.05, 0.09),  # thickness
    "sulci": (0.004, 0.022),  # half the width of the fluid between the folds
    "folds_x": (-0.12, 0.12),  # where the pattern of the folds lies
    "folds_y": (-0.12, 0.12),
    "ventricles": (0.5, 1.6),  # their width, of the usual
    "midline": (-0.05, 0.05),  # how far the fissure between the halves bows to the right
    "contrast": (0.75, 1.25),  # of white and grey matter, of the usual
    "gain": (0.85, 1.05),  # brightness, of the usual
    "shade_x": (-0.12, 0.12),  # how much brighter the right is, at the edge of the picture
    "shade_y": (-0.12, 0.12),  # and the lower edge
}
TUMOUR: dict[str, tuple[float, float]] = {
    "tumour_x": (-0.46, 0.46),  # centre, within the ellipse of these half axes
    "tumour_y": (-0.60, 0.60),
    "tumour_radius": (0.13, 0.28),
    "tumour_oval": (-0.2, 0.2),  # above 0 wider than long, of the radius
    "tumour_slant": (-0.2, 0.2),  # above 0 drawn out from the upper left to the lower right
    "tumour_lobes": (-0.15, 0.15),  # three bulges, above 0 one of them to the right
    "tumour_core": (0.0, 1.0),  # brightness, 0 that of fluid in dead tissue, 1 that of grey matter
    "tumour_ring": (0.0, 1.0),  # how much contrast agent the rim takes up
    "tumour_oedema": (0.0, 0.2),  # how far the swelling reaches beyond the rim
}
LESIONS = {"core": 1, "oedema": 2, "ring": 4}  # the numbers of BraTS

HEIGHT = 0.35  # between levels 0 and 1
CHUNK = (
    1 << 16
)  # pixels drawn at a time, so that what is computed on stays in the processor's cache
FOLD, SLOW = 0.24, 0.8  # wavelengths: of the folds (about 23 mm), and of how deep they reach
CORTEX, REACH, RIM = (
    0.047,
    0.26,
    0.05,
)  # thickness of the cortex, depth of the folds, thickness of a tumour's rim


class Tissues(NamedTuple):
    """Brightness of each tissue, from 0 to 1."""

    fat: float
    bone: float
    marrow: float
    fluid: float
    grey: float
    white: float
    core: float
    ring: float
    oedema: float


MODALITIES = {
    "t1": Tissues(0.88, 0.08, 0.30, 0.15, 0.50, 0.74, 0.24, 0.52, 0.40),
    "t1ce": Tissues(0.88, 0.08, 0.30, 0.15, 0.50, 0.74, 0.24, 0.98, 0.40),  # after a contrast agent
    "t2": Tissues(0.70, 0.06, 0.30, 0.95, 0.52, 0.36, 0.88, 0.62, 0.78),
    "flair": Tissues(0.60, 0.06, 0.26, 0.10, 0.50, 0.40, 0.34, 0.72, 0.85),
}


class Places(NamedTuple):
    """Where the pixels are.

    Attributes:
        x: to the right, in units of the head, (n, side, side).
        y: to the back, (n, side, side).
        depth: below the skin, about, (n, side, side).
        column: in the picture, from -1 to 1, (1, 1, side).
        row: in the picture, (1, side, 1).
        pixel: its width, in units of the head, (n, 1, 1).
    """

    x: np.ndarray
    y: np.ndarray
    depth: np.ndarray
    column: np.ndarray
    row: np.ndarray
    pixel: np.ndarray


def draw(
    factors: Factors, side: int, modality: str = "t1ce", tumours: bool = True, skull: bool = True
) -> np.ndarray:
    """Draws slices.

    Args:
        factors: all of `ANATOMY` and, for tumours, all of `TUMOUR`; also `tumour_height`, how far above the slice a tumour's
            centre lies, in units of the head, where that is not 0.
        side: of the pictures in pixels.
        modality: one of `MODALITIES`.
        tumours: whether to draw the tumours.
        skull: whether to draw what lies around the brain.

    Returns:
        (n, side, side) float32, from 0 (black) to little more than 1.
    """
    tissues = MODALITIES[modality]
    pictures = np.empty((len(factors["level"]), side, side), np.float32)
    for rows, part in _chunks(factors, side):
        places = _places(part, side)
        picture, inside = _brain(part, places, tissues)
        if tumours:
            _add_tumours(picture, part, places, inside, tissues)
        if skull:
            _add_skull(picture, part, places, tissues)
        else:
            picture *= inside
        picture *= part["gain"] * (
            1 + part["shade_x"] * places.column + part["shade_y"] * places.row
        )
        pictures[rows] = picture
    return pictures


def lesions(factors: Factors, side: int) -> np.ndarray:
    """Returns what each pixel of `draw` shows of a tumour, (n, side, side) uint8: 0 for nothing, or one of `LESIONS`.

    A pixel belongs to what covers at least half of it.
    """
    found = np.zeros((len(factors["level"]), side, side), np.uint8)
    for rows, part in _chunks(factors, side):
        places = _places(part, side)
        covers = _tumours(part, places, _covered(_below_skull(part, places), places.pixel))
        for name, cover in zip(("oedema", "ring", "core"), covers, strict=True):
            found[rows][cover >= 0.5] = LESIONS[name]
    return found


def _chunks(factors: Factors, side: int) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Cuts factors into chunks, each column float32 (chunk, 1, 1)."""
    columns = {
        name: np.asarray(values, np.float32)[:, None, None] for name, values in factors.items()
    }
    size = max(1, CHUNK // side**2)
    for start in range(0, len(columns["level"]), size):
        rows = slice(start, start + size)
        yield rows, {name: values[rows] for name, values in columns.items()}


def _covered(depth: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Returns how much of each pixel lies inside an edge, 0 to 1, from how deep inside its centre lies."""
    share = depth / pixel
    share += 0.5
    return np.clip(share, 0, 1, out=share)


def _axes(part: Factors) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Returns x and y of the head as (a, b, c): a * column + b * row + c of the picture."""
    angle, size = np.deg2rad(part["tilt"]), part["head_size"]
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    x0, y0 = part["shift_x"], part["shift_y"]
    return (cos, sin, -cos * x0 - sin * y0), (-sin, cos, sin * x0 - cos * y0)


def _positions(side: int) -> np.ndarray:
    """Returns where the centres of a picture's pixels are along one of its sides, (side,), from -1 to 1."""
    return (np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1


def _places(part: Factors, side: int) -> Places:
    column, row = _positions(side)[None, None, :], _positions(side)[None, :, None]
    x, y = ((a * column + c) + b * row for a, b, c in _axes(part))
    across = x / (
        part["head_shape"] * (1 + (0.10 - 0.03 * y) * y)
    )  # a head is an egg, broader at the back
    across *= across
    depth = np.sqrt(across + y * y)
    depth -= 1
    depth *= -0.92  # between half the length and half the width
    return Places(x, y, depth, column, row, 2 / side / part["head_size"])


def _below_skull(part: Factors, places: Places) -> np.ndarray:
    return places.depth - (part["scalp"] + part["skull"] + 0.01)


@lru_cache(maxsize=2)
def _waves(wavelength: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns wave vectors (count, 3) and phases (count,): one pattern, which all heads share."""
    rng = np.random.default_rng(count)
    vectors = rng.normal(size=(count, 3))
    vectors *= 2 * np.pi / wavelength / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), rng.uniform(0, 2 * np.pi, count).astype(np.float32)


def _pattern(
    part: Factors, side: int, wavelength: float, count: int, slopes: bool = False
) -> list[np.ndarray]:
    """Returns a smooth random pattern of variance 1 in the head's own space and, if asked for, its slopes along x and y.

    cos(u + v) = cos u cos v - sin u sin v makes the sum of plane waves a product of matrices, and likewise for its slopes.

    Returns:
        one or three arrays (n, side, side).
    """
    vectors, phases = _waves(wavelength, count)
    (ax, bx, cx), (ay, by, cy) = _axes(part)
    wx, wy, wz = vectors.T
    start = (
        (cx - part["folds_x"]) * wx
        + (cy - part["folds_y"]) * wy
        + HEIGHT * part["level"] * wz
        + phases
    )
    position = _positions(side)[:, None]
    down, along = position * (bx * wx + by * wy) + start, position * (ax * wx + ay * wy)
    cos, sin = np.cos(down), np.sin(down)
    right = np.concatenate([np.cos(along), np.sin(along)], 2).transpose(0, 2, 1)
    right *= np.float32(np.sqrt(2 / count))
    lefts = [(cos, -sin), *([(-sin * w, -cos * w) for w in (wx, wy)] if slopes else [])]
    return [np.matmul(np.concatenate(left, 2), right) for left in lefts]


def _brain(part: Factors, places: Places, tissues: Tissues) -> tuple[np.ndarray, np.ndarray]:
    """Draws the brain and the fluid around it, and returns how much of each pixel lies within the skull, too."""
    below, middle = (
        _below_skull(part, places),
        np.abs(places.x - part["midline"] * (1 - places.y * places.y)),
    )
    surface = _to_surface(part, places, below, middle)
    surface -= part["sulci"]
    brain = _covered(surface, places.pixel)
    surface -= CORTEX
    white = _covered(surface, places.pixel)
    white *= 1 - 0.75 * _nuclei(part, places, middle)
    usual = (tissues.grey + tissues.white) / 2
    grey_level = usual + (tissues.grey - usual) * part["contrast"]
    brain *= grey_level - tissues.fluid
    white *= (tissues.white - tissues.grey) * part["contrast"]
    brain += white
    brain *= 1 - _ventricles(part, places, middle)
    brain += tissues.fluid
    return brain, _covered(below, places.pixel)


def _to_surface(part: Factors, places: Places, below: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Returns how far pixels are from the brain's surface, which folds, and dips between its halves and at its sides."""
    level = part["level"]
    fissure = np.maximum(0.42 - 0.3 * level - np.abs(places.y + 0.02), 0)
    fissure *= 0.8
    fissure += middle
    lateral = np.maximum(
        0.44 + 0.2 * level - middle, 0
    )  # Sylvian fissures, shallow where the slice is high
    lateral += np.abs(places.y + 0.22 - 0.35 * middle)
    nearest = _folds(part, places, below)
    for other in (fissure, lateral, below - 0.015):
        np.minimum(nearest, other, out=nearest)
    return nearest


def _folds(part: Factors, places: Places, below: np.ndarray) -> np.ndarray:
    """Returns how far pixels are from the bottom line of a sulcus, (n, side, side), and more the further it is from the skull.

    Sulci lie where a pattern changes sign; its value over its slope is the distance. Where that line runs along the skull
    instead of inwards, it would cut gyri off from the white matter, and is moved away.
    """
    side = places.x.shape[1]
    folds, slope_x, slope_y = _pattern(part, side, FOLD, 24, slopes=True)
    along = slope_x * places.x
    along += slope_y * places.y
    along *= along
    slope_x *= slope_x
    slope_y *= slope_y
    slope_x += slope_y
    slope_x += 30  # a fifteenth of its usual square, so that nothing is divided by zero
    along /= slope_x * (places.x * places.x + places.y * places.y + 0.01)
    np.abs(folds, out=folds)
    folds /= np.sqrt(slope_x, out=slope_x)
    along -= 0.4
    np.maximum(along, 0, out=along)
    along *= np.maximum(below - 0.05, 0)
    along *= 1.5
    folds += along
    deep = below - REACH
    deep -= 0.06 * _pattern(part, side, SLOW, 8)[0]
    folds += np.maximum(deep, 0, out=deep)
    folds += 0.004  # so that the narrowest sulci close
    return folds


def _nuclei(part: Factors, places: Places, middle: np.ndarray) -> np.ndarray:
    """Returns how grey the white matter is where the thalami, the lentiform and the caudate nuclei are, 0 to 1."""
    level = part["level"]
    deep = np.maximum(
        _blob(middle, places.y, (0.13, 0.12), (0.11, 0.17)),
        _blob(middle, places.y, (0.33, -0.04), (0.11, 0.20)),
    )
    deep *= np.clip(1.2 - 1.6 * level, 0, 1)
    caudate = _blob(middle, places.y, (0.18, -0.24), (0.07, 0.13))
    caudate *= np.clip(1.4 - 1.2 * level, 0, 1)
    return np.maximum(deep, caudate, out=deep)


def _blob(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radii: tuple[float, float]
) -> np.ndarray:
    u, v = (x - centre[0]) * (1.2 / radii[0]), (y - centre[1]) * (1.2 / radii[1])
    u *= u
    v *= v
    u += v
    return np.clip(1.5 - u, 0, 1, out=u)


def _ventricles(part: Factors, places: Places, middle: np.ndarray) -> np.ndarray:
    """Returns how much of each pixel the lateral and the third ventricle cover.

    Low down, the lateral ones are two horns on each side of the thalami; higher up, one long body.
    """
    level, width, y = part["level"], part["ventricles"], places.y
    low = np.clip(1.2 - 1.6 * level, 0, 1)
    square = y * y
    bow = (0.55 - 0.35 * level) * square
    bow += 0.075 + 0.02 * width
    bow -= middle
    waist = (y - 0.08) * (1 / 0.2)
    waist *= waist
    waist = np.maximum(1 - waist, 0, out=waist)
    waist *= -low
    waist += 1
    half = np.sqrt(np.maximum(1 - square * (1 / 0.41**2), 0))
    half *= 0.075 * width * (1 - 0.35 * level)
    half *= waist
    half -= np.abs(bow)
    lateral = _covered(half, places.pixel)
    lateral *= square < 0.41**2
    third = _covered(0.02 * width * low - middle, places.pixel)
    third *= _covered(0.17 - np.abs(y - 0.1), places.pixel)
    third *= low > 0
    return np.maximum(lateral, third, out=lateral)


def _tumours(
    part: Factors, places: Places, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns how much of each pixel oedema, tumour and the tumour's core cover, each within the one before."""
    u, v = places.x - part["tumour_x"], places.y - part["tumour_y"]
    flat = np.sqrt(u * u + v * v)
    flat += 1e-6
    u /= flat
    v /= flat
    edge = 2 * u * v
    edge *= part["tumour_slant"]
    u *= u
    edge += part["tumour_oval"] * (2 * u - 1)
    lobes = 4 * u - 3
    lobes *= (places.x - part["tumour_x"]) / flat
    edge += part["tumour_lobes"] * lobes
    edge += 1
    edge *= part["tumour_radius"]
    if "tumour_height" in part:  # slices of a tumour are alike, and grow smaller towards its poles
        height = part["tumour_height"] / part["tumour_radius"]
        edge *= np.sqrt(np.maximum(1 - height * height, 0))
        edge -= part["tumour_radius"] * np.maximum(height - 1, 0)
    edge -= flat
    swelling = (edge + part["tumour_oedema"]) * (1 / 0.08)
    np.clip(swelling, 0, 1, out=swelling)
    covers = swelling, _covered(edge, places.pixel), _covered(edge - RIM, places.pixel)
    for cover in covers:
        cover *= inside
    return covers


def _add_tumours(
    picture: np.ndarray, part: Factors, places: Places, inside: np.ndarray, tissues: Tissues
) -> None:
    oedema, tumour, core = _tumours(part, places, inside)
    oedema *= 0.85
    ring = tissues.grey + (tissues.ring - tissues.grey) * part["tumour_ring"]
    middle = tissues.core + (tissues.grey - tissues.core) * part["tumour_core"]
    for cover, brightness in ((oedema, tissues.oedema), (tumour, ring), (core, middle)):
        picture += (brightness - picture) * cover


def _add_skull(picture: np.ndarray, part: Factors, places: Places, tissues: Tissues) -> None:
    """Draws bone with marrow in it and the scalp over it around what is there, and nothing outside."""
    depth, scalp, skull = places.depth, part["scalp"], part["skull"]
    bone = np.abs(depth - (scalp + 0.45 * skull))
    bone *= -1 / (0.22 * skull)
    bone += 1
    np.clip(bone, 0, 1, out=bone)
    bone *= tissues.marrow - tissues.bone
    bone += tissues.bone
    for outer, edge in ((bone, scalp + skull), (tissues.fat, scalp)):
        picture -= outer
        picture *= _covered(depth - edge, places.pixel)
        picture += outer
    picture *= _covered(depth, places.pixel)
