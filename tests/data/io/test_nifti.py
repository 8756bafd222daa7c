from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from studio.data.folders import Folders, FoldersConfig
from studio.data.intensity import EIGHT_BIT_RANGE
from studio.data.io.images import UnreadableError, read_image
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.volumes import read_volume

VALUES = np.arange(6 * 6 * 4, dtype=np.float32).reshape(6, 6, 4)


def save(path: Path, values: np.ndarray = VALUES, kind: type = nibabel.Nifti1Image) -> Path:
    nibabel.save(kind(values, np.eye(4)), path)
    return path


def test_reading_refuses_a_nii_when_it_is_cut_short(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(path).values, VALUES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    for read in (read_volume, read_image):
        with pytest.raises(UnreadableError, match=f"cut short: {len(whole) - 4} bytes, expected"):
            read(path)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("ending", [".Nii.Gz", ".nii.GZ", ".Nii", ".NII"])
def test_reading_takes_the_named_file_when_the_ending_is_in_any_case(
    tmp_path: Path, ending: str, kind: type
) -> None:
    plain = ".nii.gz" if ending.lower().endswith("gz") else ".nii"
    path = save(tmp_path / f"b{plain}", VALUES + 1, kind).rename(tmp_path / f"a{ending}")
    save(tmp_path / f"a{plain}", VALUES)
    np.testing.assert_array_equal(read_volume(path).values, VALUES + 1)
    assert read_image(path, 0).values.max() == (VALUES + 1)[:, :, 0].max()


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_reading_names_the_remedy_when_a_plain_file_is_called_gz(
    tmp_path: Path, kind: type
) -> None:
    path = save(tmp_path / "a.nii", kind=kind).rename(tmp_path / "a.nii.gz")
    for read in (read_volume, read_image):
        with pytest.raises(UnreadableError, match=r"ends in \.gz; rename it to a\.nii$"):
            read(path)
    path.write_text("not a volume" * 100)
    with pytest.raises(UnreadableError, match="not a gzip file"):
        read_volume(path)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_reading_a_user_file_converts_when_it_is_gray_saved_as_colours(
    tmp_path: Path, mode: str
) -> None:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    Image.fromarray(gray).convert(mode).save(tmp_path / "a.png")
    rule = reading_rule(FoldersConfig(name="folders", root="."), (1, 8, 8), EIGHT_BIT_RANGE)
    found = read_user_file(tmp_path / "a.png", rule).images
    np.testing.assert_allclose((found[0, 0] + 1) * 127.5, gray, atol=1e-3)


def test_reading_a_user_file_refuses_when_it_has_colours(tmp_path: Path) -> None:
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[2, 2, 0] = 100
    Image.fromarray(colours).save(tmp_path / "a.png")
    rule = reading_rule(FoldersConfig(name="folders", root="."), (1, 8, 8), EIGHT_BIT_RANGE)
    with pytest.raises(UnreadableError, match="has 3 channels, the run's images have 1"):
        read_user_file(tmp_path / "a.png", rule)


@pytest.mark.parametrize("memory", [1.0, 1e-9])
def test_folders_count_as_gray_when_gray_is_saved_as_rgb(tmp_path: Path, memory: float) -> None:
    draw = np.random.default_rng(0)
    for domain in ("background", "target"):
        (tmp_path / domain).mkdir()
        for number in range(20):
            image = Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8))
            image = image.convert("RGB") if number < 6 else image
            image.save(tmp_path / domain / f"{domain}{number}.png")
    config = FoldersConfig(name="folders", root=str(tmp_path), resolution=8, memory_gb=memory)
    data = Folders(config)
    assert data.shape[0] == 1
    assert not data.quarantined
    (note,) = [note for note in data.notes() if "saved as RGB" in note]
    assert note == "6 background and 6 target images are gray saved as RGB and count as gray"
    names = data.item_names("train", "background")
    shown = data.images("train", "background", range(len(names)))
    for name, image in zip(names, shown.numpy(), strict=True):
        stored = np.asarray(Image.open(tmp_path / name).convert("L"))
        np.testing.assert_allclose((image[0] + 1) * 127.5, stored, atol=1e-3)


RAS, LAS = np.eye(4), np.diag([-1.0, 1, 1, 1])


def save_with_codes(path: Path, sform: np.ndarray, qform: np.ndarray, codes: tuple) -> Path:
    image = nibabel.Nifti1Image(VALUES, None)
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("sform", "qform", "codes", "fault"),
    [
        (RAS, LAS, (1, 1), "contradictory"),
        (LAS, RAS, (2, 1), "contradictory"),
        (RAS, LAS, (0, 0), "unknown"),
        (RAS, LAS, (0, 1), ""),
        (LAS, RAS, (2, 0), ""),
        (RAS, RAS, (1, 1), ""),
        (RAS * 1.001, RAS, (4, 1), ""),  # another place, but the same directions
    ],
)
def test_read_image_and_read_volume_return_the_fault_of_the_orientation(
    tmp_path: Path, sform: np.ndarray, qform: np.ndarray, codes: tuple[int, int], fault: str
) -> None:
    path = save_with_codes(tmp_path / "a.nii", sform, qform, codes)
    assert read_image(path).orientation == fault
    assert read_volume(path).orientation == fault


@pytest.mark.parametrize(("codes", "word"), [((1, 1), "contradictory"), ((0, 0), "unknown")])
def test_folders_note_files_with_a_doubtful_orientation(
    tmp_path: Path, codes: tuple[int, int], word: str
) -> None:
    draw = np.random.default_rng(0)
    for domain in ("background", "target"):
        (tmp_path / domain).mkdir()
        for number in range(10):
            path = tmp_path / domain / f"{domain}{number}.nii"
            save(path, draw.normal(size=(6, 6, 4)).astype(np.float32))
            if number < 3:
                image = nibabel.load(path)
                image.set_sform(RAS, codes[0])
                image.set_qform(LAS, codes[1])
                nibabel.save(nibabel.Nifti1Image(image.get_fdata(), None, image.header), path)
    config = FoldersConfig(name="folders", root=str(tmp_path), resolution=6)
    (note,) = [note for note in Folders(config).notes() if "orientation" in note]
    assert note.startswith(f"orientation is {word} in 6 of 20 NIfTI files: ")
    assert "correct their headers" in note


def test_folders_note_no_orientation_when_it_is_stated_once(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for domain in ("background", "target"):
        (tmp_path / domain).mkdir()
        for number in range(10):
            values = draw.normal(size=(6, 6, 4)).astype(np.float32)
            save(tmp_path / domain / f"{domain}{number}.nii", values)
    config = FoldersConfig(name="folders", root=str(tmp_path), resolution=6)
    assert not any("orientation" in note for note in Folders(config).notes())
