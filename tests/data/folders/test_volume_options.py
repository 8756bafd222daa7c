"""Folders: axes of slices, files with several volumes, NaN, and the notes on them."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.folder_files import DOMAINS, noise, open_folders, shown, write

from studio.data.folders import QuarantineError
from studio.data.io.images import UnreadableError, read_image
from studio.data.io.slices import VolumeOptions

SHAPE = (8, 10, 12)


def volume(key: object, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return noise(key, shape, high=900, dtype=np.float32)


def save_nifti(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def fill(root: Path, suffix: str, shape: tuple[int, ...] = SHAPE, n: int = 10) -> None:
    for domain in DOMAINS:
        for i in range(n):
            path, values = root / domain / f"{i}{suffix}", volume((domain, i), shape)
            write(path, values) if suffix == ".npy" else save_nifti(path, values)


@pytest.mark.parametrize("axis", ["auto", 0, 1, 2])
def test_read_image_takes_the_slice_of_an_array_along_the_axis(tmp_path: Path, axis: int) -> None:
    values = volume(0)
    path = write(tmp_path / "a.npy", values)
    along = 2 if axis == "auto" else axis
    for at, number in (("middle", SHAPE[along] // 2), (1, 1)):
        picture = read_image(path, at, options=VolumeOptions(axis=axis))
        np.testing.assert_array_equal(picture.values[0], np.take(values, number, along))
        assert (picture.place.number, picture.place.slices) == (number, SHAPE[along])
    with pytest.raises(UnreadableError, match=rf"expected middle or 0 to {SHAPE[along] - 1}"):
        read_image(path, SHAPE[along], options=VolumeOptions(axis=axis))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_read_image_takes_the_slice_of_nifti_along_the_direction_of_the_patient(
    tmp_path: Path, axis: int, codes: str
) -> None:
    values = volume(0)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    stored = nibabel.Nifti1Image(values, np.eye(4)).as_reoriented(turn)
    nibabel.save(stored, tmp_path / "a.nii")
    picture = read_image(tmp_path / "a.nii", 3, options=VolumeOptions(axis=axis))
    # Rows from the top: from the head, or in an axial slice from the front.
    np.testing.assert_array_equal(picture.values[0], np.take(values, 3, axis).T[::-1])
    assert picture.place.slices == SHAPE[axis]


@pytest.mark.parametrize("suffix", [".npy", ".nii", ".nii.gz"])
def test_read_image_takes_one_of_several_volumes_when_it_is_named(
    tmp_path: Path, suffix: str
) -> None:
    values, path = volume(0, (*SHAPE, 4)), tmp_path / f"a{suffix}"
    write(path, values) if suffix == ".npy" else save_nifti(path, values)
    picture = read_image(path, 2, options=VolumeOptions(volume=3))
    plane = values[:, :, 2, 3]
    np.testing.assert_array_equal(picture.values[0], plane if suffix == ".npy" else plane.T[::-1])
    with pytest.raises(UnreadableError, match=r"4 volumes: data\.volume: 0 to 3 takes one of them"):
        read_image(path)
    with pytest.raises(UnreadableError, match=r"has 4 volumes, but data\.volume is 4"):
        read_image(path, options=VolumeOptions(volume=4))


def test_read_image_refuses_a_volume_number_when_the_file_has_one_volume(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", volume(0))
    assert read_image(path, options=VolumeOptions(volume=0)).place.volumes == 1
    with pytest.raises(UnreadableError, match=r"has 1 volume, but data\.volume is 1"):
        read_image(path, options=VolumeOptions(volume=1))
    five = save_nifti(tmp_path / "b.nii", volume(0, (6, 6, 6, 2, 3)))
    with pytest.raises(UnreadableError, match="expected at most four axes"):
        read_image(five, options=VolumeOptions(volume=1))


@pytest.mark.parametrize(
    ("suffix", "fields", "shape", "expected"),
    [
        (".npy", {}, SHAPE, "20 volumes of 8 x 10 x 12: slice 6 of 12 along the last axis"),
        (".npy", {"axis": 0, "slice": 3}, SHAPE, "slice 3 of 8 along the first axis"),
        (".nii", {}, SHAPE, "20 volumes of 8 x 10 x 12: slice 6 of 12 from feet to head"),
        (".nii", {"axis": 0}, SHAPE, "slice 4 of 8 from left to right"),
        (".nii", {"volume": 1}, (*SHAPE, 2), "8 x 10 x 12: volume 1 of 2, slice 6 of 12 from feet"),
    ],
)
def test_folders_note_the_slice_of_volumes(
    tmp_path: Path, suffix: str, fields: dict, shape: tuple[int, ...], expected: str
) -> None:
    fill(tmp_path, suffix, shape)
    (note,) = [note for note in open_folders(tmp_path, **fields).notes() if "volumes of" in note]
    assert expected in note
    assert "data.slice and data.axis choose others" in note


def test_folders_note_no_slice_when_there_are_no_volumes(tmp_path: Path) -> None:
    fill(tmp_path, ".npy", (8, 8))
    assert not any("slice" in note for note in open_folders(tmp_path).notes())


def with_nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.shape[0])[:, None, None] < 3, np.nan, values)


@pytest.mark.parametrize(("rule", "becomes"), [(0, 0.0), (-7.5, -7.5), ("background", None)])
@pytest.mark.parametrize("suffix", [".npy", ".nii.gz"])
def test_folders_replace_nan_when_data_nan_says_so(
    tmp_path: Path, suffix: str, rule: object, becomes: float | None
) -> None:
    for domain in DOMAINS:
        for i in range(10):
            values = with_nan(volume((domain, i), (8, 8, 6)) + 50)
            path = tmp_path / domain / f"{i}{suffix}"
            write(path, values) if suffix == ".npy" else save_nifti(path, values)
    with pytest.raises(QuarantineError, match=r"NaN.*\(data\.nan: 0, or background, replaces NaN"):
        open_folders(tmp_path)
    data = open_folders(tmp_path, nan=rule, window=[-100, 1100])
    assert "20 images had NaN, which data.nan replaced" in data.notes()
    plane = with_nan(volume(("target", 4), (8, 8, 6)) + 50)[:, :, 3]
    whole = np.nan_to_num(plane, nan=np.nanmin(plane) if becomes is None else becomes)
    expected = (whole + 100) / 600 - 1
    image = shown(data, f"target/4{suffix}")[0]
    np.testing.assert_allclose(image, expected if suffix == ".npy" else expected.T[::-1], atol=1e-5)


def test_read_image_refuses_infinity_whatever_data_nan_says(tmp_path: Path) -> None:
    values = volume(0)
    values[2, 2, 6] = np.inf
    path = write(tmp_path / "a.npy", values)
    with pytest.raises(UnreadableError, match=r"has 1 values that are NaN, infinite .*30$"):
        read_image(path, options=VolumeOptions(nan=0.0))


@pytest.mark.parametrize(
    ("fields", "option"),
    [({"slice": 2}, "data.slice"), ({"axis": 0}, "data.axis"), ({"volume": 0}, "data.volume")],
)
def test_notes_say_when_an_option_of_volumes_has_no_effect(
    fields: dict, option: str, tmp_path: Path
) -> None:
    fill(tmp_path / "flat", ".npy", SHAPE[:2])
    shape = (*SHAPE, 2) if "volume" in fields else SHAPE
    fill(tmp_path / "deep", ".npy", shape)
    idle, used = (open_folders(tmp_path / name, **fields).notes() for name in ("flat", "deep"))
    assert [note.split(" ")[0] for note in idle if "no effect" in note] == [option]
    assert not any("no effect" in note for note in used)
    assert not any("no effect" in note for note in open_folders(tmp_path / "flat").notes())
