"""Reading the volumes of a patient: they match, and each has its background and its window.

The brain is everything except the background, which is the value that fills the border of the
volume: 0 in BraTS, another one in scans that were standardised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from studio.data.brats.editions import Edition
from studio.data.brats.layout import MASK
from studio.data.io.background import NanRule, find_background
from studio.data.io.images import UnreadableError
from studio.data.io.volumes import Volume, read_volume

__all__ = [
    "ReadScans",
    "Scans",
    "apply_window",
    "find_ground",
    "find_window",
    "format_sizes",
    "read_scans",
]

FILLED = (
    0.01  # share of a scan that is 0 at least if 0 is the background without filling the border
)
NEAR = 0.01  # relative difference up to which voxels have the same size
SAME_PLACE = 1.0  # largest distance in mm between volumes of one patient


class ReadingOptions(Protocol):
    """The options that decide how the volumes of a patient are read, see `CuttingOptions`."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities, one channel each."""
        ...

    @property
    def percentiles(self) -> tuple[float, float]:
        """Percentiles of the brain that become 0 and 1."""
        ...

    @property
    def nan(self) -> NanRule:
        """Value that NaN become."""
        ...


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


@dataclass(frozen=True, eq=False)
class ReadScans:
    """The volumes of a patient, which match voxel by voxel.

    Attributes:
        volumes: modality, and `seg` if the patient has a mask -> volume.
        found: modality -> value around the brain, None if there is none.
        windows: modality -> values that become 0 and 1.
    """

    volumes: Mapping[str, Volume]
    found: Mapping[str, float | None]
    windows: Mapping[str, tuple[float, float]]

    @property
    def grounds(self) -> dict[str, float]:
        """Modality -> background, 0 where none was found."""
        return {name: ground or 0.0 for name, ground in self.found.items()}

    def facts(self) -> dict[str, Any]:
        """Returns `orientation`, `filled` and `background`, see `cut_patient`."""
        volumes = self.volumes.values()
        return {
            "orientation": sorted({v.orientation for v in volumes if v.orientation}),
            "filled": sum(volume.filled > 0 for volume in volumes),
            "background": {name: ground for name, ground in self.found.items() if ground != 0},
        }


def read_scans(root: Path, scans: Scans, reading: ReadingOptions) -> ReadScans:
    """Reads a patient's volumes, and the mask if `scans` names one.

    Raises:
        UnreadableError: see `cut_patient`.
    """
    files = {name: Path(file).name for name, file in scans.files.items()}
    volumes = {
        name: _read(
            root / scans.files[name], scans.volumes.get(name), None if name == MASK else reading.nan
        )
        for name in files
    }
    main = reading.modalities[0]
    for name, volume in volumes.items():
        _check_aligned(files[name], volume, files[main], volumes[main])
    if MASK in volumes:
        scans.edition.check_labels(files[MASK], volumes[MASK].values)
    found = {name: find_ground(volumes[name].values) for name in reading.modalities}
    windows = {
        name: find_window(files[name], volumes[name].values, reading.percentiles, ground or 0.0)
        for name, ground in found.items()
    }
    return ReadScans(volumes, found, windows)


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
            f"{name} has {format_sizes(volume.values.shape)} voxels, {other} has "
            f"{format_sizes(reference.values.shape)}"
        )
    if not np.allclose(volume.spacing, reference.spacing, rtol=NEAR, atol=0):
        raise UnreadableError(
            f"{name} has voxels of {format_sizes(volume.spacing)} mm, {other} of "
            f"{format_sizes(reference.spacing)} mm"
        )
    apart = float(np.abs(np.subtract(volume.origin, reference.origin)).max())
    if apart > SAME_PLACE:
        raise UnreadableError(f"{name} and {other} lie {apart:.3g} mm apart")


def format_sizes(numbers: Sequence[float]) -> str:
    """Returns numbers joined by x."""
    return " x ".join(f"{number:.4g}" for number in numbers)


def find_ground(values: np.ndarray) -> float | None:
    """Returns the value around the brain, or None if there is none."""
    found = find_background(values)
    if found is not None:
        return found
    return 0.0 if np.mean(values == 0) >= FILLED else None


def find_window(
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


def apply_window(plane: np.ndarray, window: tuple[float, float], background: float) -> np.ndarray:
    """Maps a window to 0 and 1. The background becomes 0."""
    low, high = window
    brain = plane != np.float32(background)
    return np.where(brain, ((plane - low) / (high - low)).clip(0, 1), 0).astype(np.float32)
