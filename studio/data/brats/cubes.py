"""Whole brains of BraTS as cubes: `brats` with `data.dims: 3`.

1. The brain is everything except the background (`studio.data.brats.scans`). The cube lies around
   its middle, which is half way between the ends of the brain along each axis. An end is where a
   thousandth of the brain's voxels lies beyond.
2. The values from the lower to the upper percentile of the brain become 0 to 1, and the background
   0. Volume and mask are then resampled to the same voxels, as `vbm` does
   (`studio.data.vbm.preprocess`). Where a tumour covers half of a voxel, the mask has it.
3. If items are halves of brains, the plane between the halves is the middle of the cube. The left
   half is mirrored, so that all halves look alike, and lies where the right half is. The other half
   of the cube is background. The plane is that of the scanner or the template, in which the scans
   of BraTS are upright, and not that of the falx.

The axes of a cube run from head to feet, from front to back, and from left to right.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.data.brats.cache import PatientSlices
from studio.data.brats.editions import EDITIONS, Edition
from studio.data.brats.layout import MASK
from studio.data.brats.preprocess import share_tissues, to_levels
from studio.data.brats.scans import ReadScans, Scans, apply_window, read_scans
from studio.data.fingerprint import project
from studio.data.io.background import NanRule
from studio.data.io.images import UnreadableError
from studio.data.io.volumes import Volume
from studio.data.vbm.preprocess import (
    FEWEST_KEPT,
    Cube,
    CubeOptions,
    place_cube,
    refuse_thin,
    resample,
    share_inside,
    to_cube_axes,
    without_values,
)

__all__ = [
    "HALVES",
    "VOLUME_COLUMNS",
    "BrainOptions",
    "cut_brain",
    "join_halves",
    "read_brain",
    "take_half",
]

# Columns of `numbers`, one row per half or one per brain. Volumes are in cm3. `side` is 0 for the
# left half and 1 for the right one. `anywhere` is the volume of all labels. The place of a tumour
# is that in the item, -1 to 1 from left to right, front to back, and head to feet.
VOLUME_COLUMNS = (
    "side",
    "brain_volume",
    "anywhere",
    "tumour_volume",
    "tumour_x",
    "tumour_y",
    "tumour_z",
    "right",
    "enhancing",
    "oedema",
    "core",
    "cyst",
    "cavity_volume",
)
HALVES = ("left", "right")  # the patient's
BEYOND = 0.001  # share of the brain's voxels beyond each of its ends


@dataclass(frozen=True)
class BrainOptions:
    """How brains become cubes. The fields are part of the cache's key.

    Attributes:
        modalities: one channel each.
        percentiles: of the brain's voxels that become 0 and 1.
        resolution: side of the cube in voxels, an even number.
        voxel: size of its voxels in mm.
        halves: whether the items are halves of brains.
        nan: see `studio.data.io.background.fill_nan`.
        version: of the rules in this module.
    """

    modalities: tuple[str, ...]
    percentiles: tuple[float, float]
    resolution: int
    voxel: float
    halves: bool
    nan: NanRule = None
    version: int = 1

    def key(self) -> dict[str, Any]:
        """Returns everything that decides the voxels, as JSON."""
        return {"dims": 3, **asdict(self)}

    @property
    def grid(self) -> CubeOptions:
        """Returns the options of the cube's grid."""
        return CubeOptions(self.resolution, self.voxel)


def cut_brain(root: Path, scans: Scans, options: BrainOptions) -> PatientSlices:
    """Cuts a patient's cube, or that of a healthy person without a mask.

    Args:
        root: the folder that file names are relative to.
        scans: the files.
        options: how to cut.

    Returns:
        Arrays: `images` (1, C, R, R, R) uint16, 0 to LEVELS, `masks` (1, R, R, R) uint8, 1 in the
        tumour or a cavity, and `numbers` (2 or 1, 13) float32, see VOLUME_COLUMNS, a row for each
        half or one for the brain. Facts: those of `studio.data.brats.preprocess.cut_patient`
        without `empty`, `kept` of `Cube`, and `voxels`, two numbers that describe the cube.

    Raises:
        UnreadableError: a file cannot be used, the files do not match, or too little of the brain
            lies in the cube.
    """
    read = read_scans(root, scans, options)
    main = read.volumes[options.modalities[0]]
    brain = _find_brain(read, options)
    affine, kept = _place_brain(brain, main, options)
    images = np.stack([_window_cube(read, name, affine, options) for name in options.modalities])
    labels = read.volumes[MASK].values if MASK in read.volumes else None
    masks = np.zeros(images.shape[1:], np.uint8)
    if labels is not None:
        inside = resample((labels > 0).astype(np.float32), main, affine, options.grid)
        masks[...] = to_cube_axes(inside >= 0.5)
    measured = _Measured(main, affine, brain, labels, scans.edition, options)
    numbers = np.array([measured.half(side) for side in range(2)])
    if not options.halves:
        numbers = np.array([measured.whole()])
    facts = {
        "shape": list(main.values.shape),
        "spacing": [round(size, 3) for size in main.spacing],
        "kept": kept,
        "voxels": project(images),
        **read.facts(),
    }
    arrays = {
        "images": to_levels(images)[None],
        "masks": masks[None],
        "numbers": numbers.astype(np.float32),
    }
    return PatientSlices(arrays, facts)


def read_brain(path: Path, options: BrainOptions) -> Cube:
    """Reads a volume that comes without the patient's other files.

    Raises:
        UnreadableError: see `cut_brain`.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise UnreadableError("is not a NIfTI volume, and the run reads no other files")
    name = options.modalities[0]
    try:
        read = read_scans(path.parent, Scans({name: path.name}, EDITIONS["gli2023"], {}), options)
    except UnreadableError as error:
        raise type(error)(str(error).removeprefix(f"{path.name} ")) from None
    volume = read.volumes[name]
    brain = _find_brain(read, options)
    affine, kept = _place_brain(brain, volume, options)
    low, high = read.windows[name]
    return Cube(
        _window_cube(read, name, affine, options) * 2 - 1,
        affine,
        (low + high) / 2,
        (high - low) / 2,
        read.grounds[name],
        kept,
        float(np.mean((volume.values < low) | (volume.values > high), where=brain)),
        volume.values.shape,
        without_values(volume),
    )


def take_half(cube: np.ndarray, side: int, empty: float) -> np.ndarray:
    """Returns a half of a cube (..., R, R, R), mirrored if it is the left one.

    Args:
        cube: a brain around the middle.
        side: 0 for the left half, 1 for the right one.
        empty: value of the other half of the cube.
    """
    half = (cube if side else cube[..., ::-1]).copy()
    half[..., : cube.shape[-1] // 2] = empty
    return half


def join_halves(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns the cube (..., R, R, R) of two halves, the left one as `take_half` mirrored it."""
    whole = right.copy()
    middle = whole.shape[-1] // 2
    whole[..., :middle] = left[..., ::-1][..., :middle]
    return whole


def _find_brain(read: ReadScans, options: BrainOptions) -> np.ndarray:
    """Returns the voxels of the brain, (X, Y, Z) bool."""
    main = options.modalities[0]
    refuse_thin(read.volumes[main])
    return read.volumes[main].values != np.float32(read.grounds[main])


def _place_brain(
    brain: np.ndarray, volume: Volume, options: BrainOptions
) -> tuple[np.ndarray, float]:
    """Returns the affine of the cube, and the share of the brain that lies in it."""
    middle = [_find_middle(np.count_nonzero(brain, axis=others)) for others in OTHERS]
    centre = (volume.affine @ [*middle, 1])[:3]
    corner = centre - (options.resolution - 1) / 2 * options.voxel
    grid = CubeOptions(options.resolution, options.voxel, centre=(centre[0], centre[1], centre[2]))
    affine = place_cube(grid, corner)
    kept = share_inside(brain, volume.affine, affine, options.resolution)
    if kept < FEWEST_KEPT:
        raise UnreadableError(
            f"has only {kept:.0%} of its brain in the cube of {options.resolution} voxels of "
            f"{options.voxel:g} mm: set a larger data.spacing"
        )
    return affine, kept


OTHERS = ((1, 2), (0, 2), (0, 1))  # axes to count over, for each axis


def _find_middle(counts: np.ndarray) -> float:
    """Returns the middle of the brain along an axis, between two voxels.

    A cube of even side then has its voxels where those of the volume are, if they have the same
    size.
    """
    share = np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(share, [BEYOND, 1 - BEYOND])
    return float(np.floor((first + last) / 2) + 0.5)


def _window_cube(
    read: ReadScans, name: str, affine: np.ndarray, options: BrainOptions
) -> np.ndarray:
    """Returns the cube of a modality, (R, R, R) float32 in [0, 1]."""
    volume = read.volumes[name]
    values = apply_window(volume.values, read.windows[name], read.grounds[name])
    return to_cube_axes(resample(values, volume, affine, options.grid)).clip(0, 1)


class _Measured:
    """Measures brain and tumour at the voxels of the files.

    Args:
        volume: a scan.
        affine: of the cube.
        brain: voxels of the brain.
        labels: of the mask, None without one.
        edition: decides their meaning.
        options: how the brain is cut.
    """

    def __init__(
        self,
        volume: Volume,
        affine: np.ndarray,
        brain: np.ndarray,
        labels: np.ndarray | None,
        edition: Edition,
        options: BrainOptions,
    ) -> None:
        self._edition = edition
        self._each = float(np.prod(volume.spacing)) / 1000  # cm3
        # From voxels of the file to -1 and 1 at the ends of the cube, to the right, front and head.
        scale = np.diag([2 / options.resolution] * 3 + [1.0])
        scale[:3, 3] = 1 / options.resolution - 1
        self._to_cube = scale @ np.linalg.inv(affine) @ volume.affine
        right, move = self._to_cube[0, :3], self._to_cube[0, 3]
        x, y, z = np.ix_(*(np.arange(n) * step for n, step in zip(brain.shape, right, strict=True)))
        on_right = x + y + z + move > 0
        self._brain = [int(np.count_nonzero(brain & (on_right == s))) for s in (False, True)]
        self._voxels = np.argwhere(np.zeros_like(brain) if labels is None else labels > 0)
        self._labels = np.zeros(0) if labels is None else labels[tuple(self._voxels.T)]
        self._places = self._voxels @ self._to_cube[:3, :3].T + self._to_cube[:3, 3]

    def half(self, side: int) -> list[float]:
        """Returns the row of a half. Its tumour lies in the mirrored half."""
        inside = (self._places[:, 0] > 0) == bool(side)
        places = self._places[inside] * ([1, 1, 1] if side else [-1, 1, 1])
        return [side, *self._describe(self._brain[side], self._labels[inside], places)]

    def whole(self) -> list[float]:
        """Returns the row of a brain."""
        return [np.nan, *self._describe(sum(self._brain), self._labels, self._places)]

    def _describe(self, brain: int, labels: np.ndarray, places: np.ndarray) -> list[float]:
        cavity = labels == self._edition.label("cavity")
        found, where = labels[~cavity], places[~cavity]
        volumes = [brain * self._each, len(labels) * self._each, len(found) * self._each]
        hole = float(np.count_nonzero(cavity) * self._each)
        if not len(found):
            return [*volumes, *[np.nan] * 8, hole]
        x, y, z = where.mean(0) * [1, -1, -1]
        right = float(np.mean(where[:, 0] > 0))
        return [*volumes, x, y, z, right, *share_tissues(found, self._edition), hole]
