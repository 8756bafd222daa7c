"""Where: the average of reconstruction minus healed image, per group, and its permutation test.

The map of a subject is the mean over its images and channels of the reconstruction minus the healed
image. The test asks at every pixel whether the maps of a group and of the controls differ. The
largest |t| over all pixels of each permutation gives p-values that hold for all pixels together
(Nichols and Holmes 2002, Nonparametric permutation tests for functional neuroimaging, Human Brain
Mapping 15(1), maximum statistic).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from studio.analyse.permutation import orthonormal, residual, shuffle_within
from studio.data.io.images import UnreadableError, read_image
from studio.data.io.nifti import open_nifti
from studio.errors import StudioError, reason_of
from studio.method import Code, Method
from studio.sampling import blank, decode

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

__all__ = [
    "MapTest",
    "maximum_test",
    "read_atlas",
    "region_means",
    "subject_maps",
    "summarise_test",
]

CHUNK = 256  # images decoded at a time
BATCH = 100  # permutations at a time
MOST_NUMBERS = 150_000_000  # subjects times pixels that are kept in memory
VOXELS = 50_000  # pixels at a time
Say = Callable[[str], object]


def subject_maps(
    method: Method, z: np.ndarray, s: np.ndarray, owner: np.ndarray, say: Say
) -> np.ndarray:
    """Returns the mean of reconstruction minus healed image of each subject, (subjects, *space).

    Args:
        method: in eval mode.
        z: common codes of images, (n, k).
        s: salient codes of images, (n, m).
        owner: subject of each image, 0 to subjects - 1, (n,).
        say: called with a line about the work that goes on.

    Raises:
        StudioError: the maps of all subjects do not fit in memory.
    """
    subjects = int(owner.max()) + 1
    sums: np.ndarray | None = None
    for start in range(0, len(z), CHUNK):
        rows = slice(start, start + CHUNK)
        code = Code(*(torch.from_numpy(np.float32(part[rows])) for part in (z, s)))
        healed = decode(method, Code(code.z, blank(method, len(code.z))))
        maps = (decode(method, code) - healed).numpy()
        maps = maps.mean(1) if maps.ndim > 2 else maps
        if sums is None:
            if subjects * maps[0].size > MOST_NUMBERS:
                raise StudioError(
                    f"maps: {subjects} subjects of {maps[0].size:,} pixels do not fit in memory; "
                    "analysis.images or --no-maps makes the work smaller"
                )
            sums = np.zeros((subjects, *maps.shape[1:]), np.float32)
        np.add.at(sums, owner[rows], maps)
        say(f"maps: {min(start + CHUNK, len(z)):,} of {len(z):,} images")
    assert sums is not None
    counts = np.bincount(owner, minlength=subjects).reshape(-1, *[1] * (sums.ndim - 1))
    return sums / counts


class MapTest(NamedTuple):
    """The test of a group against the controls at each place.

    Attributes:
        t: statistic of the difference, NaN where all maps are equal, (places,).
        p: p-value corrected for all places, (places,).
        threshold: |t| from which the corrected p-value is at most 0.05.
    """

    t: np.ndarray
    p: np.ndarray
    threshold: float


def maximum_test(
    maps: np.ndarray,
    group: np.ndarray,
    covariates: np.ndarray,
    blocks: np.ndarray,
    permutations: int,
    seed: int,
    say: Say = lambda line: None,
) -> MapTest:
    """Tests the difference of two groups at each place, with p-values corrected for all places.

    The permutation is that of `studio.analyse.permutation`, with the residuals of the maps.

    Args:
        maps: one row per subject, (n, places).
        group: (n,) bool.
        covariates: (n, c), without the constant.
        blocks: block of each subject, (n,).
        permutations: number of random permutations.
        seed: of the permutations.
        say: called with a line about the work that goes on.
    """
    nuisance = orthonormal(np.column_stack([np.ones(len(maps)), covariates]))
    direction = residual(group.astype(float)[:, None], nuisance)
    direction = direction[:, 0] / np.linalg.norm(direction)
    rng = np.random.default_rng(seed)
    orders = [np.arange(len(maps))]
    orders += [shuffle_within(blocks, rng) for _ in range(permutations)]
    # A permutation of the maps' rows is the inverse one of the directions', which are small.
    inverse = [np.argsort(order) for order in orders]
    free = len(maps) - nuisance.shape[1] - 1
    places = maps.shape[1]
    observed, largest = np.full(places, np.nan), np.zeros(permutations + 1)
    for first in range(0, places, VOXELS):
        part = maps[:, first : first + VOXELS].astype(np.float64)
        rest = residual(part, nuisance)
        whole = np.sum(rest**2, 0)
        flat = whole <= 1e-12 * np.maximum(np.sum(part**2, 0), 1e-300)
        rest = rest.astype(np.float32)
        for start in range(0, permutations + 1, BATCH):
            some = inverse[start : start + BATCH]
            lines = np.stack([direction[order] for order in some]).astype(np.float32)
            explained = (lines @ rest).astype(np.float64)
            lost = np.zeros_like(explained)
            for column in nuisance.T:
                moved = np.stack([column[order] for order in some]).astype(np.float32)
                lost += (moved @ rest) ** 2
            with np.errstate(invalid="ignore", divide="ignore"):
                left = np.maximum(whole - lost - explained**2, 1e-12 * whole)
                t = explained * np.sqrt(free / left)
            t[:, flat] = 0
            if start == 0:
                observed[first : first + VOXELS] = np.where(flat, np.nan, t[0])
            end = start + len(some)
            largest[start:end] = np.maximum(largest[start:end], np.abs(t).max(1, initial=0))
            say(f"maps: {end:,} of {permutations + 1:,} permutations")
    ordered = np.sort(largest)
    size = np.abs(np.nan_to_num(observed))
    reached = len(ordered) - np.searchsorted(ordered, size * (1 - 1e-6), "left")
    p = np.where(np.isfinite(observed), np.maximum(reached, 1) / len(ordered), np.nan)
    return MapTest(observed, p, float(np.quantile(ordered, 0.95, method="higher")))


def read_atlas(path: Path, space: tuple[int, ...], affine: np.ndarray | None = None) -> np.ndarray:
    """Returns the regions of the pixels or voxels of the images, (*space) whole numbers.

    A slice of a volume is turned upright as `folders` turns the slices of its files. A volume
    takes the nearest region of the file at each of its voxels, if both state their place in space.

    Args:
        path: a NIfTI file.
        space: shape of the images without their channels.
        affine: of volumes, see `Dataset.affine`.

    Raises:
        StudioError: the file cannot be read, has another shape, or holds no whole numbers.
    """
    try:
        if len(space) == 2:
            found = read_image(path, "middle", space[0]).values[0]
        else:
            found = _place_atlas(open_nifti(path), space, affine)
    except (UnreadableError, OSError, ValueError, EOFError) as error:
        raise StudioError(f"analysis.atlas: {path}: {reason_of(error)}") from None
    except Exception as error:  # nibabel's ImageFileError is no OSError
        if type(error).__module__.split(".")[0] != "nibabel":
            raise
        raise StudioError(f"analysis.atlas: {path}: {reason_of(error)}") from None
    if found.shape != space:
        sizes = (" x ".join(map(str, shape)) for shape in (found.shape, space))
        raise StudioError(
            "analysis.atlas: {}: is {}, expected the shape of the images, {}".format(path, *sizes)
        )
    numbers = np.round(found).astype(np.int64)
    if not np.isfinite(found).all() or np.abs(found - numbers).max() > 1e-3:
        raise StudioError(f"analysis.atlas: {path}: holds numbers that are not whole")
    if not numbers.any():
        raise StudioError(f"analysis.atlas: {path}: is 0 everywhere, so it has no regions")
    return numbers


def _place_atlas(
    image: "SpatialImage", space: tuple[int, ...], affine: np.ndarray | None
) -> np.ndarray:
    """Returns the values of an atlas at the voxels of volumes, (*space)."""
    from nibabel.nifti1 import Nifti1Image
    from nibabel.processing import resample_from_to

    values, given = np.squeeze(np.asarray(image.dataobj)), image.affine
    if affine is None or given is None or values.ndim != 3 or np.allclose(given, np.eye(4)):
        return values
    made = resample_from_to(Nifti1Image(np.float64(values), given), (space, affine), order=0)
    return np.asarray(made.dataobj)


def region_means(maps: np.ndarray, atlas: np.ndarray) -> dict[int, np.ndarray]:
    """Returns region -> mean of each subject's map in it, (n,).

    Args:
        maps: (n, places).
        atlas: region of each place, (places,). 0 is no region.
    """
    return {int(r): maps[:, atlas == r].mean(1) for r in np.unique(atlas) if r}


def summarise_test(test: MapTest, space: tuple[int, ...]) -> dict[str, Any]:
    """Returns the share of places that differ, and the place that differs most."""
    size = np.abs(np.nan_to_num(test.t))
    peak = int(size.argmax())
    return {
        "threshold": test.threshold,
        "share": float(np.mean(test.p <= 0.05)),
        "peak": [int(i) for i in np.unravel_index(peak, space)],
        "peak_t": float(np.nan_to_num(test.t)[peak]),
        "peak_p": float(test.p[peak]) if np.isfinite(test.p[peak]) else None,
    }
