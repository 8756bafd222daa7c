"""A user's volume as the cube that a run on volumes sees, and back into a copy of the file.

A run of `vbm` reads files as its data set does. Other runs on volumes (`brain_phantom` in 3-D) have
no files of their own. Their cube is the smallest one around the volume, in its middle. Black and
white are given (`--window`) or those of 8-bit files.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from studio.data.intensity import EIGHT_BIT_RANGE, Intensity
from studio.data.io.slices import UnreadableError
from studio.data.io.stored_volume import open_stored, save_stored
from studio.data.io.volume_files import has_volumes, open_volume
from studio.data.vbm.preprocess import Cube, CubeOptions, from_cube_axes, prepare_cube

__all__ = ["read_cube", "write_cube"]

WIDE = 1e3  # standard deviations, so that nothing is clipped before the window is applied


def read_cube(
    path: Path, options: CubeOptions | None, resolution: int, intensity: Intensity, remedy: str
) -> Cube:
    """Reads a file as a cube.

    Args:
        path: a NIfTI file.
        options: of `vbm`. None for other runs.
        resolution: side of the cube.
        intensity: values of black and white, without the options of `vbm`.
        remedy: what to do about a file whose type the rule does not cover.

    Raises:
        UnreadableError: the file cannot be used.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise UnreadableError("is not a NIfTI volume, and a run on volumes reads no other files")
    if options is not None:
        return prepare_cube(path, options)
    low, high = _window(path, intensity, remedy)
    cube = prepare_cube(path, _surround(path, resolution))
    middle, reach = (low + high) / 2, (high - low) / 2
    values = (cube.values * cube.reach + cube.mean - middle) / reach
    return replace(
        cube,
        values=values.clip(-1, 1).astype(np.float32),
        mean=middle,
        reach=reach,
        background=None,
    )


def write_cube(path: Path, cube: Cube, image: np.ndarray, out: Path, difference: bool) -> None:
    """Writes a copy of a file with a generated cube in it.

    Voxels outside of the cube or of the brain stay unchanged, or become 0 in a difference. So do
    affine, header, type and scale of the voxels.

    Args:
        path: the file.
        cube: the file as it was read.
        image: the generated cube, (R, R, R) in [-1, 1], or in [0, 2] for a difference.
        out: the file to write.
        difference: whether the cube holds absolute differences.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.processing import resample_from_to

    stored = open_stored(path)
    values = image * cube.reach + (0 if difference else cube.mean)
    made = Nifti1Image(from_cube_axes(values).astype(np.float32), cube.affine)
    grid = stored.image.shape[:3], stored.image.affine
    values = np.asarray(resample_from_to(made, grid, order=1, cval=np.nan).dataobj)
    own = stored.read.reshape(values.shape)
    kept = np.isnan(values) | np.isnan(own)
    if cube.background is not None:
        kept |= own == np.float32(cube.background)
    new = stored.begin(difference)
    new[(~kept).reshape(new.shape)] = stored.store(values[~kept])
    save_stored(path, stored, new, out)


def _window(path: Path, intensity: Intensity, remedy: str) -> tuple[float, float]:
    """Returns the values of black and white."""
    if intensity != EIGHT_BIT_RANGE:
        assert intensity.window is not None
        return intensity.window
    if not has_volumes(path) or open_volume(path).get_data_dtype() != np.uint8:
        raise UnreadableError(f"is not 8-bit, and all volumes of the run are{remedy}")
    return 0.0, 255.0


def _surround(path: Path, resolution: int) -> CubeOptions:
    """Returns the options of the smallest cube around a volume."""
    from nibabel.affines import voxel_sizes

    image = open_volume(path)
    sides = np.array(image.shape[:3]) * voxel_sizes(image.affine)
    voxel = float(sides.max() / resolution)
    return CubeOptions(resolution, voxel, "centre", brain="all", spread=WIDE)
