"""Axial slices of heads, with or without tumours, drawn from a few numbers: the pictures of
`brain_phantom`.

Positions are in units of the head, so that a position means the same place in every head. Half the
length of the head is 1, x runs to the right of the picture and y to the back, and the front is at
y = -1. `studio.data.phantom_anatomy` draws the head. A tumour is drawn over the brain and moves
nothing: everything else is the same with and without it.
"""

from collections.abc import Iterator

import numpy as np

from studio.data.phantom_anatomy import (
    HEIGHT,
    Factors,
    Places,
    Tissues,
    add_skull_,
    coverage,
    depth_below_skull,
    draw_brain,
    place_pixels,
)

__all__ = [
    "ANATOMY",
    "HEIGHT",
    "LESIONS",
    "MODALITIES",
    "SITES",
    "TUMOUR",
    "Factors",
    "draw_slices",
    "label_lesions",
]

# Factor -> lowest and highest value. Lengths are in units of the head unless stated otherwise.
ANATOMY: dict[str, tuple[float, float]] = {
    "head_size": (0.80, 0.95),  # length of the head, relative to the picture
    "head_shape": (0.75, 0.87),  # width of the head, relative to its length
    "shift_x": (-0.04, 0.04),  # of the head in the picture, in half pictures
    "shift_y": (-0.04, 0.04),
    "tilt": (-8.0, 8.0),  # degrees, clockwise
    # Height of the slice: 0 through the thalami, 1 through the roofs of the lateral ventricles.
    "level": (0.0, 1.0),
    "scalp": (0.04, 0.07),  # thickness
    "skull": (0.05, 0.09),  # thickness
    "sulci": (0.004, 0.022),  # half the width of the fluid between the folds
    "folds_x": (-0.12, 0.12),  # position of the pattern of the folds
    "folds_y": (-0.12, 0.12),
    "ventricles": (0.5, 1.6),  # width, relative to the usual one
    "midline": (-0.05, 0.05),  # how far the fissure between the hemispheres bows to the right
    "contrast": (0.75, 1.25),  # between white and grey matter, relative to the usual one
    "gain": (0.85, 1.05),  # brightness, relative to the usual one
    "shade_x": (-0.12, 0.12),  # how much brighter the right edge of the picture is
    "shade_y": (-0.12, 0.12),  # how much brighter the lower edge is
}
TUMOUR: dict[str, tuple[float, float]] = {
    "tumour_x": (-0.46, 0.46),  # centre, within the ellipse with these half axes
    "tumour_y": (-0.60, 0.60),
    "tumour_radius": (0.13, 0.28),
    "tumour_oval": (-0.2, 0.2),  # above 0: wider than long, relative to the radius
    "tumour_slant": (-0.2, 0.2),  # above 0: elongated from the upper left to the lower right
    "tumour_lobes": (-0.15, 0.15),  # three bulges. Above 0 one of them points to the right.
    "tumour_core": (0.0, 1.0),  # brightness. 0: fluid in dead tissue, 1: grey matter.
    "tumour_ring": (0.0, 1.0),  # how much contrast agent the rim takes up
    "tumour_oedema": (0.0, 0.2),  # how far the swelling reaches beyond the rim
}
SITES = {"north": (0.90, 0.90), "south": (0.97, 1.05), "west": (1.03, 1.15)}  # gain, contrast
LESIONS = {"core": 1, "oedema": 2, "ring": 4}  # the labels of BraTS
CHUNK = 1 << 16  # pixels drawn at a time, so that intermediate arrays stay in the processor's cache
RIM = 0.05  # thickness of a tumour's rim

MODALITIES = {
    "t1": Tissues(0.88, 0.08, 0.30, 0.15, 0.50, 0.74, 0.24, 0.52, 0.40),
    "t1ce": Tissues(0.88, 0.08, 0.30, 0.15, 0.50, 0.74, 0.24, 0.98, 0.40),  # after a contrast agent
    "t2": Tissues(0.70, 0.06, 0.30, 0.95, 0.52, 0.36, 0.88, 0.62, 0.78),
    "flair": Tissues(0.60, 0.06, 0.26, 0.10, 0.50, 0.40, 0.34, 0.72, 0.85),
}


def draw_slices(
    factors: Factors, side: int, modality: str = "t1ce", tumours: bool = True, skull: bool = True
) -> np.ndarray:
    """Draws slices.

    Args:
        factors: all of `ANATOMY` and, for tumours, all of `TUMOUR`, (n,) each. `tumour_height` is
            optional. It says how far above the slice a tumour's centre lies, in units of the head.
        side: side of the pictures in pixels.
        modality: one of `MODALITIES`.
        tumours: whether to draw the tumours.
        skull: whether to draw bone and scalp around the brain.

    Returns:
        (n, side, side) float32, from 0 (black) to slightly more than 1.
    """
    tissues = MODALITIES[modality]
    pictures = np.empty((len(factors["level"]), side, side), np.float32)
    for rows, part in _chunks(factors, side):
        places = place_pixels(part, side)
        picture, inside = draw_brain(part, places, tissues)
        if tumours:
            _add_tumours_(picture, part, places, inside, tissues)
        if skull:
            add_skull_(picture, part, places, tissues)
        else:
            picture *= inside
        picture *= part["gain"] * (
            1 + part["shade_x"] * places.column + part["shade_y"] * places.row
        )
        pictures[rows] = picture
    return pictures


def label_lesions(factors: Factors, side: int) -> np.ndarray:
    """Returns the tissue of a tumour in each pixel, (n, side, side) uint8: 0 or one of `LESIONS`.

    A pixel belongs to the tissue that covers at least half of it.
    """
    found = np.zeros((len(factors["level"]), side, side), np.uint8)
    for rows, part in _chunks(factors, side):
        places = place_pixels(part, side)
        covers = _cover_tumours(
            part, places, coverage(depth_below_skull(part, places), places.pixel)
        )
        for name, cover in zip(("oedema", "ring", "core"), covers, strict=True):
            found[rows][cover >= 0.5] = LESIONS[name]
    return found


def _chunks(factors: Factors, side: int) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Yields chunks of the factors, columns of float32 (chunk, 1, 1), with their rows."""
    columns = {
        name: np.asarray(values, np.float32)[:, None, None] for name, values in factors.items()
    }
    size = max(1, CHUNK // side**2)
    for start in range(0, len(columns["level"]), size):
        rows = slice(start, start + size)
        yield rows, {name: values[rows] for name, values in columns.items()}


def _cover_tumours(
    part: Factors, places: Places, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the share of each pixel that oedema, tumour and the tumour's core cover.

    Each lies within the one before.
    """
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
    if "tumour_height" in part:  # its slices have one shape and shrink towards its poles
        height = part["tumour_height"] / part["tumour_radius"]
        edge *= np.sqrt(np.maximum(1 - height * height, 0))
        edge -= part["tumour_radius"] * np.maximum(height - 1, 0)
    edge -= flat
    swelling = (edge + part["tumour_oedema"]) * (1 / 0.08)
    np.clip(swelling, 0, 1, out=swelling)
    covers = swelling, coverage(edge, places.pixel), coverage(edge - RIM, places.pixel)
    for cover in covers:
        cover *= inside
    return covers


def _add_tumours_(
    picture: np.ndarray, part: Factors, places: Places, inside: np.ndarray, tissues: Tissues
) -> None:
    """Draws tumours over pictures, in place."""
    oedema, tumour, core = _cover_tumours(part, places, inside)
    oedema *= 0.85
    ring = tissues.grey + (tissues.ring - tissues.grey) * part["tumour_ring"]
    middle = tissues.core + (tissues.grey - tissues.core) * part["tumour_core"]
    for cover, brightness in ((oedema, tissues.oedema), (tumour, ring), (core, middle)):
        picture += (brightness - picture) * cover
