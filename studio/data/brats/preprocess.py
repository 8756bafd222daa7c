"""Cutting a patient's volumes into slices, with a description of the tumour from the mask.

The brain is everything except the background (`studio.data.brats.scans`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from studio.data.brats.cache import PatientSlices
from studio.data.brats.editions import Edition, Tissue
from studio.data.brats.layout import MASK
from studio.data.brats.scans import (
    Scans,
    apply_window,
    find_ground,
    find_window,
    format_sizes,
    read_scans,
)
from studio.data.io.background import NanRule
from studio.data.io.fitting import fit
from studio.data.io.images import Picture, UnreadableError
from studio.data.io.volumes import Volume, axial_slice, read_volume

__all__ = [
    "COLUMNS",
    "LEVELS",
    "CuttingOptions",
    "SingleVolume",
    "cut_patient",
    "cut_single_volume",
    "share_tissues",
    "to_levels",
]

LEVELS = 65_535  # images are stored in 16 bits: steps of 1.5e-5 of the window
# Columns of `numbers`, one row per slice. Areas are in cm2. `anywhere` is the area of all labels in
# the whole slice, all others refer to the cropped square. The last two are of some editions only.
COLUMNS = (
    "slice",
    "brain_area",
    "anywhere",
    "tumour_area",
    "tumour_x",
    "tumour_y",
    "right",
    "enhancing",
    "oedema",
    "core",
    "cyst",
    "cavity_area",
)
NEAR = 0.01  # relative difference up to which pixels are square


@dataclass(frozen=True)
class CuttingOptions:
    """Which slices are cut, and how.

    The names and values of these fields are part of the key of the cache
    (`studio.data.brats.cache`).

    Attributes:
        modalities: one channel each.
        slices: numbers of the slices, counted from below, 0 first.
        percentiles: percentiles of a volume's voxels other than 0 that become 0 and 1.
        crop: side of the centred square in voxels, or 0 for the whole shorter side.
        resolution: side in pixels to which the square is resized.
        nan: the value that NaN in scans become, see `studio.data.io.background.fill_nan`.
    """

    modalities: tuple[str, ...]
    slices: tuple[int, ...]
    percentiles: tuple[float, float]
    crop: int
    resolution: int
    nan: NanRule = None


def cut_patient(root: Path, scans: Scans, cutting: CuttingOptions) -> PatientSlices:
    """Cuts a patient's slices.

    Args:
        root: the folder that file names are relative to.
        scans: the files.
        cutting: which slices, and how.

    Returns:
        Arrays: `images` (n, C, R, R) uint16, 0 to LEVELS, `masks` (n, R, R) uint8, 1 in the
        tumour or a cavity, and `numbers` (n, 12) float32, see COLUMNS. Facts: `shape` and
        `spacing` of the volumes, `empty`, the number of slices that show no brain and are left
        out, `orientation`, the faults of the files, `filled`, the number of scans with replaced
        NaN, and `background`: modality -> its background where that is not 0, null for none.

    Raises:
        UnreadableError: a file cannot be used, or the files do not match each other or the
            options.
    """
    read = read_scans(root, scans, cutting)
    volumes, first = read.volumes, read.volumes[cutting.modalities[0]]
    side = _crop_side(first, cutting)
    arrays = _cut_slices(volumes, read.windows, read.grounds, side, scans.edition, cutting)
    facts = {
        "shape": list(first.values.shape),
        "spacing": [round(size, 3) for size in first.spacing],
        "empty": len(cutting.slices) - len(arrays["images"]),
        **read.facts(),
    }
    return PatientSlices(arrays, facts)


def _cut_slices(
    volumes: Mapping[str, Volume],
    windows: Mapping[str, tuple[float, float]],
    grounds: Mapping[str, float],
    side: int,
    edition: Edition,
    cutting: CuttingOptions,
) -> dict[str, np.ndarray]:
    """Returns the arrays of a patient, see `cut_patient`.

    Args:
        volumes: modality, and `seg` -> volume.
        windows: modality -> values that become 0 and 1.
        grounds: modality -> background.
        side: side of the centred square in voxels.
        edition: decides the meaning of the mask's labels.
        cutting: which slices, and how.
    """
    main = cutting.modalities[0]
    pixel = volumes[main].spacing[0] * volumes[main].spacing[1] / 100  # cm2
    images, masks, numbers = [], [], []
    for number in cutting.slices:
        planes = {
            name: _crop_centre(axial_slice(volume.values, number), side)
            for name, volume in volumes.items()
        }
        labels, brain = planes[MASK], planes[main] != np.float32(grounds[main])
        if not brain.any():
            continue
        windowed = np.stack(
            [apply_window(planes[name], window, grounds[name]) for name, window in windows.items()]
        )
        images.append(to_levels(_resize(windowed, cutting.resolution)))
        masks.append((_resize((labels > 0)[None], cutting.resolution)[0] >= 0.5).astype(np.uint8))
        anywhere = np.count_nonzero(volumes[MASK].values[:, :, number]) * pixel
        tumour = _measure_tumour(labels, brain, edition, pixel)
        numbers.append([number, np.count_nonzero(brain) * pixel, anywhere, *tumour])
    square = cutting.resolution, cutting.resolution
    return {
        "images": np.array(images, np.uint16).reshape(-1, len(windows), *square),
        "masks": np.array(masks, np.uint8).reshape(-1, *square),
        "numbers": np.array(numbers, np.float32).reshape(-1, len(COLUMNS)),
    }


@dataclass(frozen=True, eq=False)
class SingleVolume:
    """Slices of one volume that comes without the patient's other files.

    Attributes:
        images: (n, 1, R, R) float32 in [-1, 1], as in the data set.
        numbers: numbers of the slices, counted from below. Slices that show no brain are left out.
        window: values that become -1 and 1.
        side: side of the centred square in voxels.
        shape: shape of the whole volume, (X, Y, Z).
        background: value of the background.
    """

    images: np.ndarray
    numbers: tuple[int, ...]
    window: tuple[float, float]
    side: int
    shape: tuple[int, ...]
    background: float = 0.0


def cut_single_volume(
    path: Path, cutting: CuttingOptions, chosen: Callable[[int], Sequence[int]]
) -> SingleVolume:
    """Cuts slices of a volume that comes without its patient's other files.

    Args:
        path: the volume.
        cutting: how to cut. Its own slices are not used.
        chosen: number of slices of the volume -> numbers of the slices to cut.

    Raises:
        UnreadableError: the file cannot be used or does not match the options, or no slice shows a
            brain.
    """
    volume = read_volume(path, nan=cutting.nan)
    background = find_ground(volume.values) or 0.0
    numbers = chosen(volume.values.shape[2])
    side = _crop_side(volume, replace(cutting, slices=tuple(numbers)))
    framed = {n: _crop_centre(axial_slice(volume.values, n), side) for n in numbers}
    dark = np.float32(background)
    shown = tuple(number for number, plane in framed.items() if (plane != dark).any())
    if not shown:
        raise UnreadableError("shows no brain in these slices")
    window = find_window(path.name, volume.values, cutting.percentiles, background)
    planes = [apply_window(framed[number], window, background)[None] for number in shown]
    images = np.stack([to_levels(_resize(plane, cutting.resolution)) for plane in planes])
    return SingleVolume(
        images * np.float32(2 / LEVELS) - 1,
        shown,
        window,
        side,
        volume.values.shape,
        background,
    )


def _crop_side(volume: Volume, cutting: CuttingOptions) -> int:
    """Returns the side of the centred square in voxels."""
    across, along, slices = volume.values.shape
    if max(cutting.slices) >= slices:
        raise UnreadableError(
            f"has {slices} slices, but data.slices asks for number {max(cutting.slices)}"
        )
    if abs(volume.spacing[0] / volume.spacing[1] - 1) > NEAR:
        raise UnreadableError(
            f"has pixels of {format_sizes(volume.spacing[:2])} mm, expected square ones"
        )
    if cutting.crop > min(across, along):
        raise UnreadableError(
            f"has slices of {along} x {across}, smaller than data.crop: {cutting.crop}"
        )
    return cutting.crop or min(across, along)


def to_levels(planes: np.ndarray) -> np.ndarray:
    """Converts planes in [0, 1] to the 16-bit levels in which they are stored."""
    return (planes.clip(0, 1) * LEVELS).round().astype(np.uint16)


def _crop_centre(plane: np.ndarray, side: int) -> np.ndarray:
    """Returns the square in the middle of a slice (H, W)."""
    top, left = ((length - side) // 2 for length in plane.shape)
    return plane[top : top + side, left : left + side]


def _resize(planes: np.ndarray, resolution: int) -> np.ndarray:
    """Resizes squares (C, S, S), bicubic and antialiased.

    Images and masks are resized in the same way, so that they stay aligned.
    """
    return fit(Picture(planes.astype(np.float32), planes.shape[1:]), resolution)


def _measure_tumour(
    labels: np.ndarray, brain: np.ndarray, edition: Edition, pixel: float
) -> list[float]:
    """Returns the tumour's area in cm2, centroid and parts, NaN if the square shows no tumour, and
    the area of a resection cavity, which is no tumour.

    The centroid is in the image's coordinates, -1 at the left or upper edge and 1 at the right or
    lower one. `right` is the share of the tumour beyond the middle of the brain in this slice,
    towards the patient's right.
    """
    cavity = edition.label("cavity")
    cavity_area = np.count_nonzero(labels == cavity) * pixel
    rows, columns = np.nonzero((labels != 0) & (labels != cavity))
    if not len(rows):
        return [0.0, *[np.nan] * 7, cavity_area]
    x, y = ((values.mean() + 0.5) / len(labels) * 2 - 1 for values in (columns, rows))
    found = np.flatnonzero(brain.any(0))
    middle = (found[0] + found[-1]) / 2
    right = np.mean((columns > middle) + 0.5 * (columns == middle))
    shares = share_tissues(labels[rows, columns], edition)
    return [len(rows) * pixel, float(x), float(y), float(right), *shares, cavity_area]


def share_tissues(labels: np.ndarray, edition: Edition) -> list[float]:
    """Returns the shares of enhancing tumour, oedema, core and cyst, NaN if the edition lacks one.

    Args:
        labels: of the voxels of a tumour, (n,).
        edition: decides their meaning.
    """
    parts: tuple[Tissue, ...] = ("enhancing", "oedema", "core", "cyst")
    return [
        float(np.mean(labels == edition.label(part))) if edition.has(part) else np.nan
        for part in parts
    ]
