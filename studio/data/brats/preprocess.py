"""Cutting a patient's volumes into slices, with a description of the tumour from the mask."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from studio.data.brats.cache import PatientSlices
from studio.data.brats.layout import MASK
from studio.data.io.images import Picture, UnreadableError, fit
from studio.data.io.volumes import Volume, axial_slice, read_volume

__all__ = [
    "COLUMNS",
    "LEVELS",
    "CuttingOptions",
    "SingleVolume",
    "cut_patient",
    "cut_single_volume",
]

LEVELS = 65_535  # images are stored in 16 bits: steps of 1.5e-5 of the window
# Columns of `numbers`, one row per slice. Areas are in cm2. `anywhere` is the tumour's area in the
# whole slice, all others refer to the cropped square.
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
)
# Labels of the mask. That of enhancing tumour changed in 2023.
CORE, OEDEMA, ENHANCING_2023, ENHANCING_2022 = 1, 2, 3, 4
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
    """

    modalities: tuple[str, ...]
    slices: tuple[int, ...]
    percentiles: tuple[float, float]
    crop: int
    resolution: int


def cut_patient(root: Path, files: Mapping[str, str], cutting: CuttingOptions) -> PatientSlices:
    """Cuts a patient's slices.

    Args:
        root: the folder that file names are relative to.
        files: modality -> file, and that of the mask.
        cutting: which slices, and how.

    Returns:
        Arrays: `images` (n, C, R, R) uint16, 0 to LEVELS, `masks` (n, R, R) uint8, 1 in the
        tumour, and `numbers` (n, 10) float32, see COLUMNS. Facts: `shape` and `spacing` of the
        volumes, and `empty`, the number of slices that show no brain and are left out.

    Raises:
        UnreadableError: a file cannot be used, or the files do not match each other or the
            options.
    """
    volumes = {name: _read(root / file) for name, file in files.items()}
    first = volumes[cutting.modalities[0]]
    for name, volume in volumes.items():
        _check_aligned(
            Path(files[name]).name, volume, Path(files[cutting.modalities[0]]).name, first
        )
    side = _crop_side(first, cutting)
    mask = volumes[MASK].values
    enhancing = _check_labels(Path(files[MASK]).name, mask)
    windows = {
        name: _window(Path(files[name]).name, volumes[name].values, cutting.percentiles)
        for name in cutting.modalities
    }
    pixel = first.spacing[0] * first.spacing[1] / 100  # cm2
    images, masks, numbers = [], [], []
    for number in cutting.slices:
        labels, brain = (
            _crop_centre(axial_slice(values, number), side) for values in (mask, first.values)
        )
        if not brain.any():
            continue
        planes = {
            name: _crop_centre(axial_slice(volumes[name].values, number), side) for name in windows
        }
        windowed = np.stack(
            [_apply_window(planes[name], window) for name, window in windows.items()]
        )
        images.append(_quantise(_resize(windowed, cutting.resolution)))
        masks.append((_resize((labels > 0)[None], cutting.resolution)[0] >= 0.5).astype(np.uint8))
        anywhere = np.count_nonzero(mask[:, :, number]) * pixel
        numbers.append(
            [
                number,
                np.count_nonzero(brain) * pixel,
                anywhere,
                *_measure_tumour(labels, brain != 0, enhancing, pixel),
            ]
        )
    facts = {
        "shape": list(first.values.shape),
        "spacing": [round(size, 3) for size in first.spacing],
    }
    return PatientSlices(
        {
            "images": np.array(images, np.uint16).reshape(
                -1, len(windows), cutting.resolution, cutting.resolution
            ),
            "masks": np.array(masks, np.uint8).reshape(-1, cutting.resolution, cutting.resolution),
            "numbers": np.array(numbers, np.float32).reshape(-1, len(COLUMNS)),
        },
        {**facts, "empty": len(cutting.slices) - len(images)},
    )


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
    volume = read_volume(path)
    numbers = chosen(volume.values.shape[2])
    side = _crop_side(volume, replace(cutting, slices=tuple(numbers)))
    framed = {n: _crop_centre(axial_slice(volume.values, n), side) for n in numbers}
    shown = tuple(number for number, plane in framed.items() if plane.any())
    if not shown:
        raise UnreadableError("shows no brain in these slices")
    window = _window(path.name, volume.values, cutting.percentiles)
    images = [
        _quantise(_resize(_apply_window(framed[number], window)[None], cutting.resolution))
        for number in shown
    ]
    return SingleVolume(
        np.stack(images) * np.float32(2 / LEVELS) - 1, shown, window, side, volume.values.shape
    )


def _read(path: Path) -> Volume:
    """Reads a volume. Error messages begin with its name."""
    try:
        return read_volume(path)
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


def _check_labels(name: str, mask: np.ndarray) -> int:
    """Returns the label of enhancing tumour, 4 until 2022 and 3 since."""
    found = np.unique(mask)
    odd = found[~np.isin(found, (0, CORE, OEDEMA, ENHANCING_2023, ENHANCING_2022))]
    if len(odd):
        raise UnreadableError(f"{name} has the label {odd[0]:g}, expected 0, 1, 2 and 3 or 4")
    if ENHANCING_2023 in found and ENHANCING_2022 in found:
        raise UnreadableError(
            f"{name} has both labels {ENHANCING_2023} and {ENHANCING_2022}: "
            "enhancing tumour is one of them, by year"
        )
    return ENHANCING_2023 if ENHANCING_2023 in found else ENHANCING_2022


def _window(name: str, values: np.ndarray, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Returns two percentiles of the brain, i.e. of the voxels that are not 0."""
    brain = values != 0
    if not brain.any():
        raise UnreadableError(f"{name} is zero everywhere")
    low, high = np.percentile(values[brain], percentiles)
    if low >= high:
        raise UnreadableError(
            f"{name} has the same value, {low:g}, in nearly all voxels that are not 0"
        )
    return low, high


def _apply_window(plane: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Maps a window to 0 and 1. Zeros stay 0."""
    low, high = window
    return np.where(plane != 0, ((plane - low) / (high - low)).clip(0, 1), 0).astype(np.float32)


def _quantise(planes: np.ndarray) -> np.ndarray:
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
    labels: np.ndarray, brain: np.ndarray, enhancing: int, pixel: float
) -> list[float]:
    """Returns the tumour's area in cm2, centroid and parts, NaN if the square shows no tumour.

    The centroid is in the image's coordinates, -1 at the left or upper edge and 1 at the right or
    lower one. `right` is the share of the tumour beyond the middle of the brain in this slice,
    towards the patient's right.
    """
    rows, columns = np.nonzero(labels)
    if not len(rows):
        return [0.0, *[np.nan] * 6]
    x, y = ((values.mean() + 0.5) / len(labels) * 2 - 1 for values in (columns, rows))
    found = np.flatnonzero(brain.any(0))
    middle = (found[0] + found[-1]) / 2
    right = np.mean((columns > middle) + 0.5 * (columns == middle))
    inside = labels[rows, columns]
    shares = [float(np.mean(inside == label)) for label in (enhancing, OEDEMA, CORE)]
    return [len(rows) * pixel, float(x), float(y), float(right), *shares]
