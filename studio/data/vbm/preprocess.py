"""From a file to the cube that a model sees: orientation, common grid, and normalisation.

1. The axes are those of nibabel's canonical images, to the patient's right, front and head.
2. `nibabel.processing` resamples the volume, linearly, to a cube of `resolution` voxels of `voxel`
   mm along the axes of space. A volume with smaller voxels is smoothed before, so that it does not
   alias. The voxels of the cube lie on multiples of their size, as those of templates do. A map of
   1.5 mm at 1.5 mm is therefore cropped and padded, and not interpolated.
3. The mean of the brain's voxels in the cube becomes 0, and `spread` standard deviations 1. All
   voxels have the same scale, those of the background as well, and values beyond -1 and 1 are
   clipped.

The axes of the cube run from head to feet, from front to back, and from left to right.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from studio.data.brats.cache import PatientSlices
from studio.data.brats.preprocess import to_levels
from studio.data.fingerprint import project
from studio.data.io.background import NanRule, find_background
from studio.data.io.slices import UnreadableError
from studio.data.io.volumes import Volume, read_volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

__all__ = [
    "FEWEST_KEPT",
    "Cube",
    "CubeOptions",
    "cut_cube",
    "from_cube_axes",
    "item_affine",
    "place_cube",
    "prepare_cube",
    "refuse_thin",
    "resample",
    "share_inside",
    "to_cube_axes",
    "without_values",
]

FEWEST_VOXELS = 8  # along each axis of a volume
FEWEST_KEPT = 0.9  # share of the brain that must lie in the cube
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in standard deviations


@dataclass(frozen=True)
class CubeOptions:
    """How volumes become cubes. The fields are those of the config, and part of the cache's key.

    Attributes:
        resolution: side of the cube in voxels.
        voxel: size of its voxels in mm.
        align: world, or centre of each volume.
        centre: middle of the cube in mm, if `align` is world.
        brain: background: voxels without the value of the border. all: every voxel.
        threshold: distance from the value of the border that counts as border.
        spread: standard deviations that become 1.
        nan: see `studio.data.io.background.fill_nan`.
        version: of the rules in this module.
    """

    resolution: int
    voxel: float
    align: Literal["world", "centre"] = "world"
    centre: tuple[float, float, float] = (0.0, -18.0, 18.0)
    brain: Literal["background", "all"] = "background"
    threshold: float = 0.0
    spread: float = 4.0
    nan: NanRule = None
    version: int = 2

    def key(self) -> dict[str, Any]:
        """Returns everything that decides the voxels, as JSON."""
        return {**asdict(self), "centre": list(self.centre)}


@dataclass(frozen=True, eq=False)
class Cube:
    """A volume as a model sees it.

    Attributes:
        values: (R, R, R) float32 in [-1, 1], from head to feet, front to back, and left to right.
        affine: (4, 4) from voxels in canonical axes (`to_cube_axes`) to mm.
        mean: mean of the brain in the cube, in the file's values, which becomes 0.
        reach: distance from the mean that becomes 1, in the file's values.
        background: value of the border, or None if none fills it.
        kept: share of the brain's voxels that lie in the cube, at least `FEWEST_KEPT` unless every
            voxel counts as brain.
        clipped: share of the brain's voxels in the cube that are clipped.
        shape: (X, Y, Z) of the file, in canonical axes.
        volume: the file's volume, without its values.
    """

    values: np.ndarray
    affine: np.ndarray
    mean: float
    reach: float
    background: float | None
    kept: float
    clipped: float
    shape: tuple[int, ...]
    volume: Volume


def prepare_cube(path: Path, options: CubeOptions) -> Cube:
    """Reads a NIfTI file as a cube.

    Raises:
        UnavailableError: the system fails.
        UnreadableError: the file cannot be used: see `studio.data.io.volumes.read_volume`; or no
            brain is found in it, or too little of it lies in the cube. The message continues a
            sentence that begins with the file's name.
    """
    volume = read_volume(path, nan=options.nan)
    refuse_thin(volume)
    if volume.orientation == "unknown" and options.align == "world":
        raise UnreadableError(
            "states no place in space (sform_code and qform_code are 0): correct its header, or "
            "set data.align: centre"
        )
    found = find_background(volume.values)
    brain = _find_brain(volume.values, found, options)
    affine = _place_cube(volume, options)
    kept = share_inside(brain, volume.affine, affine, options.resolution)
    if kept < FEWEST_KEPT and options.brain == "background":
        align = "data.align: centre, or " if options.align == "world" else ""
        raise UnreadableError(
            f"has only {kept:.0%} of its brain in the cube of {options.resolution} voxels of "
            f"{options.voxel:g} mm: set {align}a larger data.spacing"
        )
    outside = float(volume.values.min()) if found is None else found
    values = resample(volume.values, volume, affine, options, outside)
    inside = resample(brain.astype(np.float32), volume, affine, options, nearest=True) > 0
    mean, deviation = _measure(values[inside])
    reach = options.spread * deviation
    scaled = (values - mean) / reach
    clipped = float(np.mean(np.abs(scaled[inside]) > 1))
    return Cube(
        to_cube_axes(scaled.clip(-1, 1).astype(np.float32)),
        affine,
        mean,
        reach,
        found,
        kept,
        clipped,
        volume.values.shape,
        without_values(volume),
    )


def cut_cube(path: Path, options: CubeOptions) -> PatientSlices:
    """Reads a NIfTI file for the cache.

    Returns:
        Arrays: `image` (1, R, R, R) uint16, 0 to LEVELS, and `numbers` (1, 2) float32, which
        describe its voxels (`studio.data.fingerprint.project`). Facts: `shape`, `spacing`,
        `orientation`, `axes` and `filled` of the file, and `mean`, `reach`, `kept` and `clipped` of
        `Cube`.

    Raises:
        UnreadableError: see `prepare_cube`.
    """
    cube = prepare_cube(path, options)
    image = to_levels((cube.values + 1) / 2)[None]
    facts = {
        "shape": list(cube.shape),
        "spacing": [round(size, 3) for size in cube.volume.spacing],
        "orientation": cube.volume.orientation,
        "axes": cube.volume.axes,
        "filled": cube.volume.filled,
        "mean": cube.mean,
        "reach": cube.reach,
        "kept": cube.kept,
        "clipped": cube.clipped,
    }
    return PatientSlices(
        {"image": image, "numbers": np.array([project(cube.values)], np.float32)}, facts
    )


def without_values(volume: Volume) -> Volume:
    """Returns a volume without its voxels."""
    return replace(volume, values=np.empty((0, 0, 0), np.float32))


def refuse_thin(volume: Volume) -> None:
    """Refuses a volume of too few voxels along an axis.

    Raises:
        UnreadableError: it has fewer than `FEWEST_VOXELS`.
    """
    if min(volume.values.shape) < FEWEST_VOXELS:
        shape = " x ".join(map(str, volume.values.shape))
        raise UnreadableError(f"has {shape} voxels, expected a volume")


def resample(
    values: np.ndarray,
    volume: Volume,
    affine: np.ndarray,
    options: CubeOptions,
    outside: float = 0.0,
    nearest: bool = False,
) -> np.ndarray:
    """Resamples values on the grid of a volume to a cube, (R, R, R) float32 in canonical axes.

    Args:
        values: (X, Y, Z), one per voxel of the volume.
        volume: states the grid.
        affine: of the cube.
        options: its resolution and the size of its voxels.
        outside: value beyond the volume.
        nearest: whether each voxel takes the nearest value. Otherwise the values are smoothed, if
            the voxels become larger, and interpolated linearly.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.processing import resample_from_to

    image = Nifti1Image(values, volume.affine)
    if not nearest:
        image = _smooth(image, volume, options.voxel)
    grid = (options.resolution,) * 3, affine
    made = resample_from_to(image, grid, order=0 if nearest else 1, cval=outside)
    return np.asarray(made.dataobj, np.float32)


def to_cube_axes(values: np.ndarray) -> np.ndarray:
    """Converts canonical axes (X, Y, Z) to those of a cube (D, H, W)."""
    return values.transpose(2, 1, 0)[::-1, ::-1]


def from_cube_axes(cube: np.ndarray) -> np.ndarray:
    """Converts the axes of a cube (D, H, W) to canonical ones (X, Y, Z)."""
    return cube[::-1, ::-1].transpose(2, 1, 0)


def item_affine(affine: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the affine (4, 4) from voxels (d, h, w) of a cube to mm, from that of its canonical
    axes (x, y, z)."""
    turn = np.zeros((4, 4))  # x = w, y = last - h, z = last - d
    turn[[0, 1, 2, 3], [2, 1, 0, 3]] = 1, -1, -1, 1
    turn[1:3, 3] = resolution - 1
    return affine @ turn


def _find_brain(values: np.ndarray, background: float | None, options: CubeOptions) -> np.ndarray:
    """Returns the voxels of the brain, (X, Y, Z) bool."""
    if options.brain == "all":
        return np.ones(values.shape, bool)
    if background is None:
        raise UnreadableError(
            "has no value that fills its border, so the brain is not known: strip the skull, or "
            "set data.brain: all"
        )
    brain = np.abs(values - np.float32(background)) > options.threshold
    if not brain.any():
        near = f" up to data.threshold: {options.threshold:g}" if options.threshold else ""
        raise UnreadableError(f"has the value {background:g} everywhere{near}")
    return brain


def _place_cube(volume: Volume, options: CubeOptions) -> np.ndarray:
    """Returns the affine of the cube for a volume, see `place_cube`."""
    if options.align == "world":
        return place_cube(options)
    last = np.array([*np.subtract(volume.values.shape, 1), 1])
    first, end = (volume.affine @ [0, 0, 0, 1])[:3], (volume.affine @ last)[:3]
    return place_cube(replace(options, centre=tuple((first + end) / 2)), first)


def place_cube(options: CubeOptions, origin: np.ndarray | None = None) -> np.ndarray:
    """Returns the affine (4, 4) of a cube around `options.centre`, from canonical axes to mm.

    Its axes are those of space, and its voxels lie on multiples of their size.

    Args:
        options: of the data set.
        origin: point from which multiples are counted. None: the origin of space.
    """
    origin = np.zeros(3) if origin is None else origin
    half = (options.resolution - 1) / 2 * options.voxel
    steps = (np.array(options.centre) - half - origin) / options.voxel
    affine = np.diag([options.voxel] * 3 + [1.0])
    # Rounded half down, so that a cube of even side is as far as possible towards back and feet.
    affine[:3, 3] = origin + np.ceil(steps - 0.5 - 1e-6) * options.voxel
    return affine


def share_inside(brain: np.ndarray, affine: np.ndarray, cube: np.ndarray, resolution: int) -> float:
    """Returns the share of the brain's voxels whose middle lies in the cube."""
    to_cube = np.linalg.inv(cube) @ affine
    axes = [np.arange(length, dtype=np.float32) for length in brain.shape]
    inside = np.ones(brain.shape, bool)
    for row in to_cube[:3].astype(np.float32):
        x, y, z = np.ix_(*(axis * step for axis, step in zip(axes, row, strict=False)))
        place = x + y + z + row[3]
        inside &= (place >= -0.5) & (place <= resolution - 0.5)
    return float(np.count_nonzero(inside & brain) / np.count_nonzero(brain))


def _smooth(image: "Nifti1Image", volume: Volume, voxel: float) -> "Nifti1Image":
    """Smooths a volume before its voxels become larger.

    The standard deviation is (ratio - 1) / 2 voxels, that of skimage.transform.resize.
    """
    from nibabel.processing import smooth_image

    own = np.array(volume.spacing)
    sigma = np.maximum(0, voxel / own - 1) / 2 * own
    return smooth_image(image, sigma * FWHM) if (sigma > 1e-3 * own).any() else image


def _measure(brain: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation of the brain's voxels in the cube."""
    if not brain.size:
        raise UnreadableError("has too small a brain: no voxel of the cube shows it")
    mean, deviation = float(brain.mean(dtype=np.float64)), float(brain.std(dtype=np.float64))
    if deviation <= 1e-5 * max(abs(mean), 1e-30):
        raise UnreadableError(
            f"has the same value, {mean:g}, in all voxels of the brain: is it a mask?"
        )
    return mean, deviation
