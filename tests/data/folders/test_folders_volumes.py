"""Folders: slices of arrays and of NIfTI volumes."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydantic import ValidationError
from support.folder_files import DOMAINS, noise, open_folders, shown, write

from studio.data.folders import FoldersConfig
from studio.data.io.images import UnreadableError, read_image


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16, np.uint16])
def test_read_image_takes_arrays_with_channels_first_or_last(tmp_path: Path, dtype: type) -> None:
    values = noise(0, (6, 7, 3), dtype=dtype)
    for name, array in {"last": values, "first": np.moveaxis(values, -1, 0)}.items():
        picture = read_image(write(tmp_path / f"{name}.npy", array))
        np.testing.assert_array_equal(picture.values, np.moveaxis(values, -1, 0))
        assert picture.values.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    for array in (values[..., 0], values[..., :1], values[None, ..., 0]):
        np.testing.assert_array_equal(
            read_image(write(tmp_path / "gray.npy", array)).values, values[None, ..., 0]
        )


def test_read_image_returns_the_requested_slice_of_an_array(tmp_path: Path) -> None:
    values = noise(0, (6, 7, 9), dtype=np.float32)
    path = write(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(read_image(path).values[0], values[:, :, 4])
    np.testing.assert_array_equal(read_image(path, at=8).values[0], values[:, :, 8])
    with pytest.raises(UnreadableError, match=r"has 9 slices, but data\.slice is 9"):
        read_image(path, at=9)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        *(
            ({"slice": n}, "expected middle, all, a number from 0")
            for n in (-1, 1.0, True, "first")
        ),
        *(({"axis": n}, "expected auto, 0, 1 or 2") for n in (-1, 3, 1.0, "x")),
        *(({"nan": n}, "expected a number, background or null") for n in (np.nan, True, "zero")),
        ({"volume": -1}, "greater than or equal to 0"),
    ],
)
def test_config_refuses_when_an_option_of_volumes_is_invalid(fields: dict, expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FoldersConfig(root="x", **fields)
    assert expected in str(caught.value)
    assert "literal" not in str(caught.value)


def brain(shape: tuple[int, int, int] = (10, 12, 8)) -> np.ndarray:
    """Returns a volume with axes to the right, front and head. All voxels differ."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("stored", ["RAS", "LPS", "LAS", "SAR", "PIR", "IPL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_read_image_orients_nifti_by_its_affine(tmp_path: Path, stored: str, suffix: str) -> None:
    canonical = nibabel.Nifti1Image(brain(), np.diag([1.0, 1.0, 1.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(stored)
    )
    path = tmp_path / f"a{suffix}"
    nibabel.save(canonical.as_reoriented(turn), path)
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == stored
    for at, number in {"middle": 4, 0: 0, 6: 6}.items():
        values = read_image(path, at).values[0]
        assert values[0, 0] == brain()[0, -1, number]  # front left
        assert values[-1, -1] == brain()[-1, 0, number]  # back right
        np.testing.assert_array_equal(values, brain()[:, :, number].T[::-1])


def test_read_image_takes_nifti_with_a_single_slice(tmp_path: Path) -> None:
    plane = brain()[:, :, 0]
    for values in (plane, plane[..., None], plane[..., None, None]):
        nibabel.save(
            nibabel.Nifti1Image(values, np.diag([-2.0, 1.0, 3.0, 1.0])), tmp_path / "a.nii"
        )
        picture = read_image(tmp_path / "a.nii", at=5)
        np.testing.assert_array_equal(picture.values[0], plane[::-1].T[::-1])
        assert picture.spacing == (1, 2)
    sagittal = nibabel.Nifti1Image(brain()[4:5], np.diag([1.0, 1.0, 3.0, 1.0]))
    nibabel.save(sagittal, tmp_path / "b.nii")
    picture = read_image(tmp_path / "b.nii")
    np.testing.assert_array_equal(
        picture.values[0], brain()[4].T[::-1]
    )  # head up, front to the right
    assert picture.spacing == (3, 1)


def test_read_image_applies_the_scale_of_nifti(tmp_path: Path) -> None:
    values = noise(0, (8, 8, 8), high=4000, dtype=np.int16) - np.int16(1000)
    volume = nibabel.Nifti1Image(values, np.eye(4))
    volume.header.set_slope_inter(0.5, 10)
    nibabel.save(volume, tmp_path / "a.nii.gz")
    expected = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)[:, :, 4].T[::-1]
    picture = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(picture.values[0], expected, rtol=1e-6)
    assert picture.values.dtype == np.float32


def test_folders_read_a_set_of_volumes(tmp_path: Path) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for i in range(12):
            values = noise((domain, i), (8, 8, 6), high=900, dtype=np.int16)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / domain / f"{i}.nii.gz")
    dataset = open_folders(tmp_path, window=[0, 900], slice=2)
    expected = noise(("target", 3), (8, 8, 6), high=900, dtype=np.int16)[:, :, 2].T[::-1]
    np.testing.assert_allclose(shown(dataset, "target/3.nii.gz")[0], expected / 450 - 1, atol=1e-6)
