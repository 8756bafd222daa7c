"""Volumes of brains, with or without a lesion, drawn from a few numbers: `brain_phantom` with
`data.dims: 3`.

A brain lies in its cube as after registration and without a skull. Positions are in units of the
brain, half its length. x runs to the right, y to the back and z to the feet, as the last, the
second and the first axis of a volume (D, H, W) do. A lesion is drawn over the brain and moves
nothing.

Age widens the ventricles and the fluid around the brain and thins the cortex, in both sets. Each
site has its own brightness and contrast, in both sets. Patients have a lesion near one place on the
left, and its radius is their severity.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

from studio.data.phantom import MODALITIES, SITES
from studio.data.phantom_anatomy import Factors, Tissues, coverage, plane_waves, positions

__all__ = ["BRAIN", "LESION", "draw_volumes", "label_volumes", "place_in_range"]

# Factor -> lowest and highest value. Lengths are in units of the brain unless stated otherwise.
BRAIN: dict[str, tuple[float, float]] = {
    "age": (20.0, 80.0),  # years
    "brain_size": (0.84, 0.96),  # length of the brain, relative to the cube
    "brain_shape": (0.76, 0.86),  # width of the brain, relative to its length
    "ventricles": (0.8, 1.2),  # width, relative to the usual one at this age
    "folds_x": (-0.12, 0.12),  # position of the pattern of the folds
    "folds_y": (-0.12, 0.12),
    "folds_z": (-0.12, 0.12),
}
LESION: dict[str, tuple[float, float]] = {
    "severity": (0.0, 1.0),  # of the disease
    "lesion_x": (-0.40, -0.20),  # centre, within the ellipsoid that these sides enclose
    "lesion_y": (-0.15, 0.25),
    "lesion_z": (-0.20, 0.05),
}
RADII = 0.15, 0.33  # of a lesion at severity 0 and 1
HEIGHT = 0.74  # of the brain, relative to its length
FOLD = 0.42  # wavelength of the folds
CHUNK = 1 << 17  # voxels drawn at a time, so that intermediate arrays stay in the cache


def place_in_range(uniform: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Maps uniform columns in [0, 1) to factors, float32, and `site` to the number of a site.

    The centre of a lesion becomes uniform in an ellipsoid. Other columns stay as they are.
    """
    ranges = BRAIN | LESION
    factors = {
        n: low + (high - low) * uniform[n] for n, (low, high) in ranges.items() if n in uniform
    }
    if "lesion_x" in uniform:
        radius, rise = np.cbrt(uniform["lesion_x"]), 2 * uniform["lesion_z"] - 1
        angle, flat = 2 * np.pi * uniform["lesion_y"], np.sqrt(1 - rise * rise)
        unit = {"x": flat * np.cos(angle), "y": flat * np.sin(angle), "z": rise}
        for axis, direction in unit.items():
            low, high = LESION[f"lesion_{axis}"]
            factors[f"lesion_{axis}"] = (low + high + (high - low) * radius * direction) / 2
    placed = {name: values.astype(np.float32) for name, values in factors.items()}
    site = {"site": (uniform["site"] * len(SITES)).astype(np.int64)} if "site" in uniform else {}
    return {**uniform, **placed, **site}


def draw_volumes(
    factors: Factors, side: int, modality: str = "t1ce", lesions: bool = True
) -> np.ndarray:
    """Draws volumes.

    Args:
        factors: all of `BRAIN`, `site` and, for lesions, all of `LESION`, (n,) each.
        side: side of the volumes in voxels.
        modality: one of `MODALITIES`.
        lesions: whether to draw the lesions.

    Returns:
        (n, side, side, side) float32, from 0 (black) to slightly more than 1.
    """
    tissues = MODALITIES[modality]
    volumes = np.empty((len(factors["age"]), side, side, side), np.float32)
    for rows, part in _chunks(factors, side):
        x, y, z, voxel = _places(part, side)
        depth = _depth(part, x, y, z)
        volume = _draw_brain(part, (x, y, z), depth, voxel, tissues)
        if lesions:
            volume += (tissues.ring - volume) * _cover_lesions(part, (x, y, z), voxel)
        volume *= coverage(depth, voxel)
        volume *= part["gain"]
        volumes[rows] = volume
    return volumes


def label_volumes(factors: Factors, side: int) -> np.ndarray:
    """Returns the voxels that a lesion covers at least half, (n, side, side, side) bool."""
    found = np.empty((len(factors["age"]), side, side, side), bool)
    for rows, part in _chunks(factors, side):
        x, y, z, voxel = _places(part, side)
        inside = coverage(_depth(part, x, y, z), voxel)
        found[rows] = _cover_lesions(part, (x, y, z), voxel) * inside >= 0.5
    return found


def _chunks(factors: Factors, side: int) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Yields chunks of the factors, columns of float32 (chunk, 1, 1, 1), with their rows."""
    sites = np.array(list(SITES.values()), np.float32)[factors["site"]]
    table = {**factors, "gain": sites[:, 0], "contrast": sites[:, 1]}
    columns = {
        name: np.asarray(values, np.float32)[:, None, None, None] for name, values in table.items()
    }
    size = max(1, CHUNK // side**3)
    for start in range(0, len(factors["age"]), size):
        rows = slice(start, start + size)
        yield rows, {name: values[rows] for name, values in columns.items()}


def _places(part: Factors, side: int) -> tuple[np.ndarray, ...]:
    """Returns x (n, 1, 1, W), y (n, 1, H, 1), z (n, D, 1, 1), and the width of a voxel."""
    line, size = positions(side), part["brain_size"]
    return (
        line / size,
        line[:, None] / size,
        line[:, None, None] / size,
        2 / side / size,
    )


def _depth(part: Factors, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns the approximate depth below the outside of the brain, (n, D, H, W)."""
    across, up = x / part["brain_shape"], z / HEIGHT
    depth = np.sqrt(up * up + y * y + across * across)
    depth -= 1
    depth *= -0.86  # between half the length and half the height
    return depth


def _draw_brain(
    part: Factors,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    depth: np.ndarray,
    voxel: np.ndarray,
    tissues: Tissues,
) -> np.ndarray:
    """Draws white matter, cortex, nuclei, ventricles and fluid, (n, D, H, W)."""
    x, y, z = places
    older = (part["age"] - BRAIN["age"][0]) / (BRAIN["age"][1] - BRAIN["age"][0])
    folds = _pattern(part, places)
    surface = depth - (0.02 + 0.07 * older)
    surface -= 0.035 * folds
    # The fissure between the hemispheres reaches down to the middle of the brain.
    fissure = np.abs(x) - (0.01 + 0.02 * older) + np.maximum(z + 0.25, 0)
    np.minimum(surface, fissure, out=surface)
    brain = coverage(surface, voxel)
    surface -= 0.15 - 0.06 * older
    surface -= 0.04 * folds
    white = coverage(surface, voxel)
    nuclei = (np.abs(x) - 0.24) ** 2 + (y - 0.02) ** 2 / 2 + (z - 0.08) ** 2
    white *= 1 - 0.7 * coverage(0.14 - np.sqrt(nuclei), voxel)
    usual = (tissues.grey + tissues.white) / 2
    brain *= usual + (tissues.grey - usual) * part["contrast"] - tissues.fluid
    white *= (tissues.white - tissues.grey) * part["contrast"]
    brain += white
    width = part["ventricles"] * (0.6 + 1.0 * older)
    bow = (np.abs(x) - 0.10 - 0.02 * width) / (0.055 * width)
    bow = bow * bow + ((y - 0.04) / 0.40) ** 2 + ((z + 0.08) / (0.10 * width)) ** 2
    brain *= 1 - coverage(0.07 * width * (1 - np.sqrt(bow)), voxel)
    brain += tissues.fluid
    return brain


@lru_cache(maxsize=1)
def _waves() -> tuple[np.ndarray, np.ndarray]:
    return plane_waves(FOLD, 12)


def _pattern(part: Factors, places: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Returns a smooth random pattern of variance 1, (n, D, H, W).

    exp(i(u + v + w)) is the product of three factors, so a sum of plane waves is a product of
    matrices.
    """
    vectors, phases = _waves()
    across, down, through = (
        np.exp(1j * ((place - part[f"folds_{axis}"]).reshape(len(place), -1, 1) * wave))
        for axis, place, wave in zip("xyz", places, vectors.T, strict=True)
    )
    through = through * np.exp(1j * phases)
    sheet = through[:, :, None] * down[:, None]  # (n, D, H, waves)
    n, side, _, waves = sheet.shape
    left = np.concatenate([sheet.real, -sheet.imag], 3).astype(np.float32)
    right = np.concatenate([across.real, across.imag], 2).astype(np.float32).transpose(0, 2, 1)
    right *= np.float32(np.sqrt(2 / waves))
    return np.matmul(left.reshape(n, side * side, -1), right).reshape(n, side, side, side)


def _cover_lesions(
    part: Factors, places: tuple[np.ndarray, np.ndarray, np.ndarray], voxel: np.ndarray
) -> np.ndarray:
    """Returns the share of each voxel that a lesion covers, (n, D, H, W)."""
    x, y, z = (place - part[f"lesion_{axis}"] for axis, place in zip("xyz", places, strict=True))
    distance = np.sqrt(z * z + y * y + x * x)
    low, high = RADII
    return coverage(low + (high - low) * part["severity"] - distance, voxel)
