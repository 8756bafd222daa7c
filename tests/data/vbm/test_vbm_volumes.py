"""`vbm`: from files to cubes."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from support.bids_files import ORIGIN, SHAPE, VOXEL, brain, grid, save

from studio.data.io.slices import UnreadableError
from studio.data.vbm.preprocess import (
    Cube,
    CubeOptions,
    cut_cube,
    from_cube_axes,
    prepare_cube,
    to_cube_axes,
)

PLAIN = CubeOptions(32, VOXEL)


def written(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    save(path, values, affine)
    return path


def deep(cube: Cube) -> np.ndarray:
    """Returns the voxels of a cube that are far from the surface of its brain."""
    brain = restore(cube.values, cube.mean, cube.reach) > 0.1
    return to_cube_axes(binary_erosion(brain, iterations=2))


def restore(values: np.ndarray, mean: float, reach: float) -> np.ndarray:
    """Returns the values of a file from those of a cube, in canonical axes."""
    return from_cube_axes(values) * reach + mean


def test_cube_has_the_voxels_of_the_file_when_their_size_is_that_of_the_cube(
    tmp_path: Path,
) -> None:
    values = brain(0)
    cube = prepare_cube(written(tmp_path / "a.nii.gz", values), PLAIN)
    restored = restore(cube.values, cube.mean, cube.reach)
    # The cube begins at -96, -114, -78 mm: one voxel before the file in x and z, two inside in y.
    np.testing.assert_allclose(restored[1:, :, 1:], values[:, 2:34], atol=1e-6)
    np.testing.assert_array_equal(cube.affine[:3, 3], [-96, -114, -78])
    assert cube.kept == 1


def test_brain_of_a_cube_has_mean_0_and_deviation_1(tmp_path: Path) -> None:
    values = brain(1)
    cube = prepare_cube(written(tmp_path / "a.nii.gz", values), PLAIN)
    inside = restore(cube.values, cube.mean, cube.reach) > 0.1
    scores = cube.values[to_cube_axes(inside)] * PLAIN.spread
    assert scores.mean() == pytest.approx(0, abs=1e-5)
    assert scores.std() == pytest.approx(1, abs=1e-5)
    outside = cube.values[to_cube_axes(~inside)]
    np.testing.assert_allclose(outside, max(-1, -cube.mean / cube.reach), atol=1e-6)


def test_values_beyond_the_spread_are_clipped_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii.gz", brain(1))
    wide, narrow = (prepare_cube(path, CubeOptions(32, VOXEL, spread=s)) for s in (4.0, 1.0))
    expected = (4 * wide.values).clip(-1, 1)
    np.testing.assert_allclose(narrow.values, expected, atol=1e-5)
    inside = to_cube_axes(restore(wide.values, wide.mean, wide.reach) > 0.1)
    assert narrow.clipped == pytest.approx(np.mean(np.abs(4 * wide.values[inside]) > 1))
    assert wide.clipped == 0


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_cube_does_not_depend_on_the_order_of_stored_voxels(tmp_path: Path, axes: str) -> None:
    image = nibabel.Nifti1Image(brain(2), grid())
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(axes))
    )
    nibabel.save(image.as_reoriented(turn), tmp_path / "a.nii.gz")
    expected = prepare_cube(written(tmp_path / "b.nii.gz", brain(2)), PLAIN)
    found = prepare_cube(tmp_path / "a.nii.gz", PLAIN)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)


def test_axes_of_a_cube_run_from_head_to_feet_front_to_back_and_left_to_right(
    tmp_path: Path,
) -> None:
    values = brain(3)
    head, front, left = np.zeros((3, *SHAPE), np.float32)
    head[:, :, 20:], front[:, 24:], left[:12] = 1, 1, 1
    for i, part in enumerate((head, front, left)):
        mark = np.where(values > 0, 1 + part, 0).astype(np.float32)
        cube = prepare_cube(written(tmp_path / f"{i}.nii.gz", mark), PLAIN).values
        bright = np.argwhere(cube > 0).mean(0)
        assert bright[i] < 15
        assert all(12 < place < 20 for place in np.delete(bright, i))


@pytest.mark.parametrize("voxel", [3.0, 12.0])
def test_volumes_of_another_voxel_size_show_the_same_brain(tmp_path: Path, voxel: float) -> None:
    shape = tuple(round((n - 1) * VOXEL / voxel) + 1 for n in SHAPE)
    affine = grid(voxel)
    other = prepare_cube(written(tmp_path / "a.nii.gz", brain(4, shape, affine), affine), PLAIN)
    plain = prepare_cube(written(tmp_path / "b.nii.gz", brain(4)), PLAIN)
    inside = deep(plain)
    found, expected = other.values[inside], plain.values[inside]
    assert np.corrcoef(found, expected)[0, 1] > 0.99
    shifted = np.roll(other.values, 2, 2)[inside]
    assert np.corrcoef(shifted, expected)[0, 1] < np.corrcoef(found, expected)[0, 1]


def test_oblique_volume_is_turned_back(tmp_path: Path) -> None:
    angle = np.deg2rad(20)
    turned = grid()
    turned[:2, :2] = VOXEL * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    turned[:3, 3] += np.array([0, -18, 18]) - (turned @ [15, 18, 15, 1])[:3]
    oblique = prepare_cube(written(tmp_path / "a.nii.gz", brain(5, affine=turned), turned), PLAIN)
    plain = prepare_cube(written(tmp_path / "b.nii.gz", brain(5)), PLAIN)
    inside = deep(plain)
    assert np.corrcoef(oblique.values[inside], plain.values[inside])[0, 1] > 0.99


@pytest.mark.parametrize(("side", "voxel"), [(128, 1.5), (64, 3.0)])
def test_a_map_of_cat12_fits_into_64_and_128_voxels(
    tmp_path: Path, side: int, voxel: float
) -> None:
    affine, shape = grid(1.5), (121, 145, 121)
    path = written(tmp_path / "a.nii", brain(6, shape, affine), affine)
    cube = prepare_cube(path, CubeOptions(side, voxel))
    assert cube.values.shape == (side,) * 3
    assert cube.kept == 1


def test_centre_of_each_volume_is_used_when_align_says_so(tmp_path: Path) -> None:
    values, far = brain(7), grid(origin=np.add(ORIGIN, 500))
    path = written(tmp_path / "a.nii.gz", values, far)
    with pytest.raises(UnreadableError, match=r"only 0% of its brain .* set data\.align: centre"):
        prepare_cube(path, PLAIN)
    found = prepare_cube(path, CubeOptions(32, VOXEL, align="centre"))
    restored = restore(found.values, found.mean, found.reach)
    # 31 of 32 voxels in x and z, and the middle 32 of 37 in y.
    np.testing.assert_allclose(restored[1:, :, 1:], values[:, 2:34], atol=1e-6)
    np.testing.assert_allclose(found.affine[:3, 3], far[:3, 3] + [-VOXEL, 2 * VOXEL, -VOXEL])


def test_background_that_is_not_0_is_no_brain(tmp_path: Path) -> None:
    values = brain(8)
    plain = prepare_cube(written(tmp_path / "a.nii.gz", values), PLAIN)
    other = prepare_cube(
        written(tmp_path / "b.nii.gz", np.where(values > 0, values, -7).astype(np.float32)), PLAIN
    )
    inside = to_cube_axes(restore(plain.values, plain.mean, plain.reach) > 0.1)
    np.testing.assert_allclose(other.values[inside], plain.values[inside], atol=1e-5)
    assert (other.values[~inside] == -1).all()


def test_threshold_leaves_faint_voxels_out_of_the_brain(tmp_path: Path) -> None:
    values = brain(9)
    values[values == 0] = 0
    faint = values.copy()
    faint[1:-1, 1:-1, 1:-1][values[1:-1, 1:-1, 1:-1] == 0] = 0.01
    path = written(tmp_path / "a.nii.gz", faint)
    plain = prepare_cube(written(tmp_path / "b.nii.gz", values), PLAIN)
    found = prepare_cube(path, CubeOptions(32, VOXEL, threshold=0.05))
    assert found.mean == pytest.approx(plain.mean, rel=1e-6)
    assert prepare_cube(path, PLAIN).mean < 0.9 * plain.mean


def test_stored_levels_differ_from_the_cube_by_less_than_a_level(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii.gz", brain(10))
    stored, cube = cut_cube(path, PLAIN), prepare_cube(path, PLAIN)
    image = stored.arrays["image"]
    assert (image.shape, image.dtype) == ((1, 32, 32, 32), np.uint16)
    np.testing.assert_allclose(image[0] * (2 / 65_535) - 1, cube.values, atol=1.6e-5)
    assert stored.facts["spacing"] == [6, 6, 6]
    assert stored.facts["shape"] == list(SHAPE)


NOISE = np.random.default_rng(0).normal(5, 1, SHAPE).astype(np.float32)
MASK = np.where(brain(0) > 0, 1, 0).astype(np.float32)
HOLED = np.where(brain(0) > 0.7, np.nan, brain(0)).astype(np.float32)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(SHAPE, np.float32), "has the value 0 everywhere"),
        (np.full(SHAPE, 3, np.float32), "has the value 3 everywhere"),
        (MASK, "has the same value, 1, in all voxels of the brain: is it a mask"),
        (NOISE, r"no value that fills its border.* set data\.brain: all"),
        (HOLED, r"voxels that are NaN.*data\.nan"),
        (np.stack([brain(0)] * 2, -1), "expected one volume of three axes"),
        (brain(0)[:, :, 10:13], "has 31 x 37 x 3 voxels, expected a volume"),
    ],
)
def test_prepare_cube_refuses_by_name(tmp_path: Path, values: np.ndarray, words: str) -> None:
    path = written(tmp_path / "a.nii.gz", values)
    with pytest.raises(UnreadableError, match=words):
        prepare_cube(path, PLAIN)


def test_options_repair_what_is_refused(tmp_path: Path) -> None:
    noise = prepare_cube(written(tmp_path / "a.nii.gz", NOISE), CubeOptions(32, VOXEL, brain="all"))
    assert noise.mean == pytest.approx(5, abs=0.1)
    holed = prepare_cube(
        written(tmp_path / "b.nii.gz", HOLED), CubeOptions(32, VOXEL, nan="background")
    )
    assert holed.volume.filled == np.isnan(HOLED).sum()


def test_prepare_cube_refuses_a_file_without_a_place_in_space(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(brain(0), grid())
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(UnreadableError, match="states no place in space"):
        prepare_cube(tmp_path / "a.nii.gz", PLAIN)
    cube = prepare_cube(tmp_path / "a.nii.gz", CubeOptions(32, VOXEL, align="centre"))
    assert cube.volume.orientation == "unknown"


def test_prepare_cube_refuses_a_truncated_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii.gz", brain(0))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UnreadableError):
        prepare_cube(path, PLAIN)
