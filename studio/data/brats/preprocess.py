"""Cutting a patient's volumes into slices, with a description of the tumour from the mask.

The brain is everything except the background, which is the value that fills the border of the
volume: 0 in BraTS, another one in scans that were standardised.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from studio.data.brats.cache import PatientSlices
from studio.data.brats.editions import Edition, Tissue
from studio.data.brats.layout import MASK
from studio.data.io.background import NanRule, find_background
from studio.data.io.fitting import fit
from studio.data.io.images import Picture, UnreadableError
from studio.data.io.volumes import Volume, axial_slice, read_volume

__all__ = [
    "COLUMNS",
    "LEVELS",
    "CuttingOptions",
    "Scans",
    "SingleVolume",
    "cut_patient",
    "cut_single_volume",
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
FILLED = (
    0.01  # share of a scan that is 0 at least if 0 is the background without filling the border
)
NEAR = 0.01  # relative difference up to which voxels have the same size
SAME_PLACE = 1.0  # largest distance in mm between volumes of one patient


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


@dataclass(frozen=True)
class Scans:
    """The files of a patient that are read.

    Attributes:
        files: modality -> file, and that of the mask.
        edition: decides the meaning of the mask's labels.
        volumes: modality -> number of its volume in a 4-D file. Empty for other files.
    """

    files: Mapping[str, str]
    edition: Edition
    volumes: Mapping[str, int]


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
    files = {name: Path(file).name for name, file in scans.files.items()}
    volumes = {
        name: _read(
            root / scans.files[name], scans.volumes.get(name), None if name == MASK else cutting.nan
        )
        for name in files
    }
    first = volumes[cutting.modalities[0]]
    for name, volume in volumes.items():
        _check_aligned(files[name], volume, files[cutting.modalities[0]], first)
    scans.edition.check_labels(files[MASK], volumes[MASK].values)
    side = _crop_side(first, cutting)
    found = {name: _background(volumes[name].values) for name in cutting.modalities}
    grounds = {name: ground or 0.0 for name, ground in found.items()}
    windows = {
        name: _window(files[name], volumes[name].values, cutting.percentiles, ground)
        for name, ground in grounds.items()
    }
    arrays = _cut_slices(volumes, windows, grounds, side, scans.edition, cutting)
    facts = {
        "shape": list(first.values.shape),
        "spacing": [round(size, 3) for size in first.spacing],
        "empty": len(cutting.slices) - len(arrays["images"]),
        "orientation": sorted({v.orientation for v in volumes.values() if v.orientation}),
        "filled": sum(volume.filled > 0 for volume in volumes.values()),
        "background": {name: ground for name, ground in found.items() if ground != 0},
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
            [_apply_window(planes[name], window, grounds[name]) for name, window in windows.items()]
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
    background = _background(volume.values) or 0.0
    numbers = chosen(volume.values.shape[2])
    side = _crop_side(volume, replace(cutting, slices=tuple(numbers)))
    framed = {n: _crop_centre(axial_slice(volume.values, n), side) for n in numbers}
    dark = np.float32(background)
    shown = tuple(number for number, plane in framed.items() if (plane != dark).any())
    if not shown:
        raise UnreadableError("shows no brain in these slices")
    window = _window(path.name, volume.values, cutting.percentiles, background)
    planes = [_apply_window(framed[number], window, background)[None] for number in shown]
    images = np.stack([to_levels(_resize(plane, cutting.resolution)) for plane in planes])
    return SingleVolume(
        images * np.float32(2 / LEVELS) - 1,
        shown,
        window,
        side,
        volume.values.shape,
        background,
    )


def _read(path: Path, volume: int | None, nan: NanRule) -> Volume:
    """Reads a volume. Error messages begin with its name."""
    try:
        return read_volume(path, volume, nan)
    except UnreadableError as error:
        raise type(error)(f"{path.name} {error}") from None


def _check_aligned(name: str, volume: Volume, other: str, reference: Volume) -> None:
    """Refuses volumes of one patient that do not match voxel by voxel."""
    if volume.values.shape != reference.values.shape:
        raise UnreadableError(
            f"{name} has {_format_sizes(volume.values.shape)} voxels, {other} has "
            f"{_format_sizes(reference.values.shape)}"
        )
    if not np.allclose(volume.spacing, reference.spacing, rtol=NEAR, atol=0):
        raise UnreadableError(
            f"{name} has voxels of {_format_sizes(volume.spacing)} mm, {other} of "
            f"{_format_sizes(reference.spacing)} mm"
        )
    apart = float(np.abs(np.subtract(volume.origin, reference.origin)).max())
    if apart > SAME_PLACE:
        raise UnreadableError(f"{name} and {other} lie {apart:.3g} mm apart")


def _format_sizes(numbers: Sequence[float]) -> str:
    """Returns numbers joined by x."""
    return " x ".join(f"{number:.4g}" for number in numbers)


def _crop_side(volume: Volume, cutting: CuttingOptions) -> int:
    """Returns the side of the centred square in voxels."""
    across, along, slices = volume.values.shape
    if max(cutting.slices) >= slices:
        raise UnreadableError(
            f"has {slices} slices, but data.slices asks for number {max(cutting.slices)}"
        )
    if abs(volume.spacing[0] / volume.spacing[1] - 1) > NEAR:
        raise UnreadableError(
            f"has pixels of {_format_sizes(volume.spacing[:2])} mm, expected square ones"
        )
    if cutting.crop > min(across, along):
        raise UnreadableError(
            f"has slices of {along} x {across}, smaller than data.crop: {cutting.crop}"
        )
    return cutting.crop or min(across, along)


def _background(values: np.ndarray) -> float | None:
    """Returns the value around the brain, or None if there is none."""
    found = find_background(values)
    if found is not None:
        return found
    return 0.0 if np.mean(values == 0) >= FILLED else None


def _window(
    name: str, values: np.ndarray, percentiles: tuple[float, float], background: float
) -> tuple[float, float]:
    """Returns two percentiles of the brain, i.e. of the voxels that are not background."""
    brain = values != np.float32(background)
    if not brain.any():
        same = f"has the value {background:g}" if background else "is zero"
        raise UnreadableError(f"{name} {same} everywhere")
    low, high = np.percentile(values[brain], percentiles)
    if low >= high:
        raise UnreadableError(
            f"{name} has the same value, {low:g}, in nearly all voxels that are not {background:g}"
        )
    return low, high


def _apply_window(plane: np.ndarray, window: tuple[float, float], background: float) -> np.ndarray:
    """Maps a window to 0 and 1. The background becomes 0."""
    low, high = window
    brain = plane != np.float32(background)
    return np.where(brain, ((plane - low) / (high - low)).clip(0, 1), 0).astype(np.float32)


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
    inside = labels[rows, columns]
    parts: tuple[Tissue, ...] = ("enhancing", "oedema", "core", "cyst")
    shares = [
        float(np.mean(inside == edition.label(part))) if edition.has(part) else np.nan
        for part in parts
    ]
    return [len(rows) * pixel, float(x), float(y), float(right), *shares, cavity_area]
