"""Anatomy of drawn axial head slices: positions of pixels, brain, skull and scalp.

A head consists of layers (scalp, bone, fluid, cortex, white matter, nuclei, ventricles). Their
edges are level sets of smooth functions of the position, one pixel wide at any size. The folds
follow a sum of plane waves in three dimensions, so that slices of one head at different levels fit
together.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = [
    "HEIGHT",
    "Factors",
    "Places",
    "Tissues",
    "add_skull_",
    "coverage",
    "depth_below_skull",
    "draw_brain",
    "place_pixels",
    "plane_waves",
    "positions",
]

Factors = Mapping[str, np.ndarray]  # factor -> (n,), or (n, 1, 1) of a chunk

HEIGHT = 0.35  # between levels 0 and 1
FOLD = 0.24  # wavelength of the folds, about 23 mm
DEPTH_WAVELENGTH = 0.8  # of the pattern that varies how deep the folds reach
CORTEX = 0.047  # thickness of the cortex
REACH = 0.26  # depth of the folds


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


class Places(NamedTuple):
    """Positions of the pixels.

    Attributes:
        x: position to the right, in units of the head, (n, side, side).
        y: position to the back, in units of the head, (n, side, side).
        depth: approximate depth below the skin, in units of the head, (n, side, side).
        column: column in the picture, from -1 to 1, (1, 1, side).
        row: row in the picture, from -1 to 1, (1, side, 1).
        pixel: width of a pixel in units of the head, (n, 1, 1).
    """

    x: np.ndarray
    y: np.ndarray
    depth: np.ndarray
    column: np.ndarray
    row: np.ndarray
    pixel: np.ndarray


def coverage(depth: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Returns the share of each pixel inside an edge, 0 to 1, from the depth of its centre."""
    share = depth / pixel
    share += 0.5
    return np.clip(share, 0, 1, out=share)


def _axes(part: Factors) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Returns x and y of the head as (a, b, c), meaning a * column + b * row + c of the picture."""
    angle, size = np.deg2rad(part["tilt"]), part["head_size"]
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    x0, y0 = part["shift_x"], part["shift_y"]
    return (cos, sin, -cos * x0 - sin * y0), (-sin, cos, sin * x0 - cos * y0)


def positions(side: int) -> np.ndarray:
    """Returns the centres of pixels along one side of a picture, (side,), from -1 to 1."""
    return (np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1


def place_pixels(part: Factors, side: int) -> Places:
    """Returns the positions of all pixels of slices of `side` x `side` pixels."""
    column, row = positions(side)[None, None, :], positions(side)[None, :, None]
    x, y = ((a * column + c) + b * row for a, b, c in _axes(part))
    # A head has the shape of an egg, broader at the back.
    across = x / (part["head_shape"] * (1 + (0.10 - 0.03 * y) * y))
    across *= across
    depth = np.sqrt(across + y * y)
    depth -= 1
    depth *= -0.92  # between half the length and half the width
    return Places(x, y, depth, column, row, 2 / side / part["head_size"])


def depth_below_skull(part: Factors, places: Places) -> np.ndarray:
    """Returns the depth of pixels inside the skull, in units of the head, (n, side, side)."""
    return places.depth - (part["scalp"] + part["skull"] + 0.01)


@lru_cache(maxsize=2)
def plane_waves(wavelength: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns wave vectors (count, 3) and phases (count,) of the pattern that all heads share."""
    rng = np.random.default_rng(count)
    vectors = rng.normal(size=(count, 3))
    vectors *= 2 * np.pi / wavelength / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), rng.uniform(0, 2 * np.pi, count).astype(np.float32)


def _pattern(
    part: Factors, side: int, wavelength: float, count: int, slopes: bool = False
) -> list[np.ndarray]:
    """Returns a smooth random pattern of variance 1 and, if requested, its slopes along x and y.

    cos(u + v) = cos u cos v - sin u sin v turns the sum of plane waves into a product of matrices,
    and likewise for the slopes.

    Returns:
        One or three arrays (n, side, side).
    """
    vectors, phases = plane_waves(wavelength, count)
    (ax, bx, cx), (ay, by, cy) = _axes(part)
    wx, wy, wz = vectors.T
    start = (
        (cx - part["folds_x"]) * wx
        + (cy - part["folds_y"]) * wy
        + HEIGHT * part["level"] * wz
        + phases
    )
    position = positions(side)[:, None]
    down, along = position * (bx * wx + by * wy) + start, position * (ax * wx + ay * wy)
    cos, sin = np.cos(down), np.sin(down)
    right = np.concatenate([np.cos(along), np.sin(along)], 2).transpose(0, 2, 1)
    right *= np.float32(np.sqrt(2 / count))
    lefts = [(cos, -sin), *([(-sin * w, -cos * w) for w in (wx, wy)] if slopes else [])]
    return [np.matmul(np.concatenate(left, 2), right) for left in lefts]


def draw_brain(part: Factors, places: Places, tissues: Tissues) -> tuple[np.ndarray, np.ndarray]:
    """Draws the brain and the fluid around it.

    Also returns the share of each pixel that lies inside the skull.
    """
    below, middle = (
        depth_below_skull(part, places),
        np.abs(places.x - part["midline"] * (1 - places.y * places.y)),
    )
    surface = _distance_to_surface(part, places, below, middle)
    surface -= part["sulci"]
    brain = coverage(surface, places.pixel)
    surface -= CORTEX
    white = coverage(surface, places.pixel)
    white *= 1 - 0.75 * _nuclei_greyness(part, places, middle)
    usual = (tissues.grey + tissues.white) / 2
    grey_level = usual + (tissues.grey - usual) * part["contrast"]
    brain *= grey_level - tissues.fluid
    white *= (tissues.white - tissues.grey) * part["contrast"]
    brain += white
    brain *= 1 - _cover_ventricles(part, places, middle)
    brain += tissues.fluid
    return brain, coverage(below, places.pixel)


def _distance_to_surface(
    part: Factors, places: Places, below: np.ndarray, middle: np.ndarray
) -> np.ndarray:
    """Returns the distance of pixels to the surface of the brain, with its folds and fissures."""
    level = part["level"]
    fissure = np.maximum(0.42 - 0.3 * level - np.abs(places.y + 0.02), 0)
    fissure *= 0.8
    fissure += middle
    # Sylvian fissures, shallow in high slices.
    lateral = np.maximum(0.44 + 0.2 * level - middle, 0)
    lateral += np.abs(places.y + 0.22 - 0.35 * middle)
    nearest = _distance_to_sulcus(part, places, below)
    for other in (fissure, lateral, below - 0.015):
        np.minimum(nearest, other, out=nearest)
    return nearest


def _distance_to_sulcus(part: Factors, places: Places, below: np.ndarray) -> np.ndarray:
    """Returns the distance of pixels to the bottom line of a sulcus, (n, side, side).

    Sulci lie where a pattern changes sign, and its value over its slope is the distance. A line
    that ran along the skull instead of inwards would cut gyri off from the white matter, so it is
    moved away.
    """
    side = places.x.shape[1]
    folds, slope_x, slope_y = _pattern(part, side, FOLD, 24, slopes=True)
    along = slope_x * places.x
    along += slope_y * places.y
    along *= along
    slope_x *= slope_x
    slope_y *= slope_y
    slope_x += slope_y
    slope_x += 30  # a fifteenth of its usual square, against division by zero
    along /= slope_x * (places.x * places.x + places.y * places.y + 0.01)
    np.abs(folds, out=folds)
    folds /= np.sqrt(slope_x, out=slope_x)
    along -= 0.4
    np.maximum(along, 0, out=along)
    along *= np.maximum(below - 0.05, 0)
    along *= 1.5
    folds += along
    deep = below - REACH
    deep -= 0.06 * _pattern(part, side, DEPTH_WAVELENGTH, 8)[0]
    folds += np.maximum(deep, 0, out=deep)
    folds += 0.004  # so that the narrowest sulci close
    return folds


def _nuclei_greyness(part: Factors, places: Places, middle: np.ndarray) -> np.ndarray:
    """Returns how grey the white matter is at the thalami and basal nuclei, 0 to 1."""
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
    """Returns an ellipse with soft edges, 1 inside and 0 outside."""
    u, v = (x - centre[0]) * (1.2 / radii[0]), (y - centre[1]) * (1.2 / radii[1])
    u *= u
    v *= v
    u += v
    return np.clip(1.5 - u, 0, 1, out=u)


def _cover_ventricles(part: Factors, places: Places, middle: np.ndarray) -> np.ndarray:
    """Returns the share of each pixel that the lateral and the third ventricle cover.

    In low slices, the lateral ventricles are two horns on each side of the thalami. In high
    slices, they are one long body.
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
    lateral = coverage(half, places.pixel)
    lateral *= square < 0.41**2
    third = coverage(0.02 * width * low - middle, places.pixel)
    third *= coverage(0.17 - np.abs(y - 0.1), places.pixel)
    third *= low > 0
    return np.maximum(lateral, third, out=lateral)


def add_skull_(picture: np.ndarray, part: Factors, places: Places, tissues: Tissues) -> None:
    """Draws bone with marrow and the scalp around the brain, in place.

    Outside everything becomes 0.
    """
    depth, scalp, skull = places.depth, part["scalp"], part["skull"]
    bone = np.abs(depth - (scalp + 0.45 * skull))
    bone *= -1 / (0.22 * skull)
    bone += 1
    np.clip(bone, 0, 1, out=bone)
    bone *= tissues.marrow - tissues.bone
    bone += tissues.bone
    for outer, edge in ((bone, scalp + skull), (tissues.fat, scalp)):
        picture -= outer
        picture *= coverage(depth - edge, places.pixel)
        picture += outer
    picture *= coverage(depth, places.pixel)
