"""Writing back into files with several volumes, other axes, NaN and scale."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from studio.data.folders import FoldersConfig
from studio.data.intensity import Intensity
from studio.data.io.user_files import UserFile, read_user_file, reading_rule
from studio.data.io.write_back import write_back

SIDE, SLICES = 8, 6


def read(path: Path, chosen: int | str | None = None, **fields: object) -> UserFile:
    config = FoldersConfig(root=".", resolution=SIDE, **fields)
    window = Intensity("window", (0.0, 100.0))
    return read_user_file(path, reading_rule(config, (1, SIDE, SIDE), window, chosen))


def save(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def load(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else np.asarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize("suffix", [".npy", ".nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_write_back_changes_the_slice_along_the_axis_in_the_chosen_volume(
    tmp_path: Path, suffix: str, axis: int
) -> None:
    shape = [SIDE] * 3
    shape[axis] = SLICES
    values = np.random.default_rng(0).uniform(1, 99, (*shape, 3)).astype(np.float32)
    source = read(save(tmp_path / f"a{suffix}", values), volume=2, axis=axis)
    assert source.slices == SLICES
    write_back(source, source.images, tmp_path / f"b{suffix}")
    np.testing.assert_allclose(load(tmp_path / f"b{suffix}"), values, atol=1e-3)
    write_back(source, np.ones_like(source.images), tmp_path / f"c{suffix}")
    changed = load(tmp_path / f"c{suffix}") != values
    expected = np.zeros_like(changed)
    np.moveaxis(expected, axis, 0)[SLICES // 2, ..., 2] = True
    np.testing.assert_array_equal(changed, expected)


@pytest.mark.parametrize("suffix", [".npy", ".nii"])
@pytest.mark.parametrize("chosen", [None, "all"])
def test_write_back_keeps_nan_when_data_nan_replaces_it(
    tmp_path: Path, suffix: str, chosen: str | None
) -> None:
    values = np.random.default_rng(0).uniform(1, 99, (SIDE, SIDE, SLICES)).astype(np.float32)
    values[:2] = np.nan
    source = read(save(tmp_path / f"a{suffix}", values), chosen, nan=0)
    assert np.isfinite(source.images).all()
    write_back(source, np.full_like(source.images, 0.5), tmp_path / f"b{suffix}")
    made = load(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(np.isnan(made), np.isnan(values))
    assert np.unique(made[2:, :, SLICES // 2]).tolist() == [75]
    write_back(source, np.full_like(source.images, 0.5), tmp_path / f"d{suffix}", difference=True)
    difference = load(tmp_path / f"d{suffix}")
    assert np.unique(difference[2:, :, SLICES // 2]).tolist() == [25]
    assert not difference[:2].any()
