"""BraTS: scans whose background is not 0, NaN, and doubtful orientations."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.brats_files import AFFINE, TUMOUR, everything, head, open_brats, tumour, write_patient

from studio.data.brats.dataset import Brats
from studio.data.folders import QuarantineError
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.write_back import write_back

N = 12


def standardised(number: int, background: float) -> np.ndarray:
    """Returns a head with z-scores in the brain, and the background."""
    values = head(number)
    brain = values != 0
    scores = (values - values[brain].mean()) / values[brain].std()
    return np.where(brain, scores, background).astype(np.float32)


def write_all(root: Path, background: float) -> Path:
    for number in range(N):
        scan = standardised(number, background)
        write_patient(root / f"BraTS2021_{number:05}", t1=scan, seg=tumour(TUMOUR))
    return root


def background_notes(data: Brats) -> list[str]:
    return [note for note in data.notes() if "background is not 0" in note]


@pytest.mark.parametrize("background", [-2.0, -5.5, 7.25])
def test_brats_finds_the_brain_when_the_background_is_not_0(
    tmp_path: Path, background: float
) -> None:
    plain = open_brats(write_all(tmp_path / "plain", 0.0))
    other = open_brats(write_all(tmp_path / "other", background))
    for split in ("train", "test"):
        for domain in ("background", "target"):
            one, two = plain.labels(split, domain), other.labels(split, domain)
            for name, values in one.items():
                np.testing.assert_array_equal(values, two[name], err_msg=name)
    images = everything(plain)
    for place, values in everything(other).items():
        np.testing.assert_allclose(values, images[place], atol=1e-4)
    assert background_notes(plain) == []
    (note,) = background_notes(other)
    assert note.startswith(f"the background is not 0 but {background:g} in scans of 12 of 12")


def test_brats_finds_the_lowest_value_as_background(tmp_path: Path) -> None:
    for number in range(N):
        scan = standardised(number, 0.0)
        scan[scan == 0] = scan.min()
        write_patient(tmp_path / f"BraTS2021_{number:05}", t1=scan, seg=tumour(TUMOUR))
    data = open_brats(tmp_path)
    brain = np.count_nonzero(head(0)[:, :, 7]) / 100
    assert np.abs(data.labels("train", "target")["brain_area"] - brain).max() < 0.011
    (note,) = background_notes(data)
    assert " to " in note


def test_brats_notes_scans_without_background(tmp_path: Path) -> None:
    for number in range(N):
        scan = np.random.default_rng(number).normal(100, 9, head(0).shape).astype(np.float32)
        write_patient(tmp_path / f"BraTS2021_{number:05}", t1=scan, seg=tumour(TUMOUR))
    (note,) = [note for note in open_brats(tmp_path).notes() if "no background" in note]
    assert note.startswith("scans of 12 of 12 patients have no background: ")


def test_brats_takes_0_as_background_when_the_brain_fills_the_border(tmp_path: Path) -> None:
    for number in range(N):
        scan = np.random.default_rng(number).normal(100, 9, head(0).shape).astype(np.float32)
        scan[:, :2] = 0
        write_patient(tmp_path / f"BraTS2021_{number:05}", t1=scan, seg=tumour(TUMOUR))
    data = open_brats(tmp_path)
    assert np.unique(data.labels("train", "target")["brain_area"]).tolist() == [
        pytest.approx(24 * 22 / 100)
    ]
    assert not any("background is" in note or "no background" in note for note in data.notes())


@pytest.mark.parametrize("rule", [0, "background"])
def test_brats_reads_nan_outside_of_the_brain_when_data_nan_says_so(
    tmp_path: Path, rule: object
) -> None:
    plain = open_brats(write_all(tmp_path / "plain", 0.0))
    root = write_all(tmp_path / "nan", np.nan)
    with pytest.raises(QuarantineError, match=r"\(data\.nan: 0, or background, replaces NaN\)"):
        open_brats(root)
    data = open_brats(root, nan=rule)
    np.testing.assert_allclose(
        data.labels("train", "target")["brain_area"],
        plain.labels("train", "target")["brain_area"],
        atol=0.011,  # `background` makes the lowest voxel one of the background
    )
    assert any("of 12 of 12 patients had NaN, which data.nan replaced" in n for n in data.notes())


@pytest.mark.parametrize(("codes", "word"), [((1, 1), "contradictory"), ((0, 0), "unknown")])
def test_brats_notes_patients_with_a_doubtful_orientation(
    tmp_path: Path, codes: tuple[int, int], word: str
) -> None:
    for number in range(N):
        name = f"BraTS2021_{number:05}"
        folder = write_patient(tmp_path / name, t1=head(number), seg=tumour(TUMOUR))
        if number < 3:
            for path in sorted(folder.iterdir()):
                image = nibabel.load(path)
                image.set_sform(AFFINE, codes[0])
                image.set_qform(AFFINE @ np.diag([-1, 1, 1, 1]), codes[1])
                nibabel.save(nibabel.Nifti1Image(image.dataobj, None, image.header), path)
    (note,) = [note for note in open_brats(tmp_path).notes() if "orientation" in note]
    assert note.startswith(f"orientation is {word} in 3 of 12 patients: ")


@pytest.mark.parametrize("difference", [False, True])
def test_write_back_keeps_the_background_of_a_scan(tmp_path: Path, difference: bool) -> None:
    data = open_brats(write_all(tmp_path, -2.0))
    path = tmp_path / "BraTS2021_00001" / "BraTS2021_00001_t1.nii.gz"
    rule = reading_rule(data.config, data.shape, lambda: (0, 1))
    source = read_user_file(path, rule)
    assert source.background == -2
    write_back(source, np.full_like(source.images, 0.5), tmp_path / "new.nii.gz", difference)
    before, after = (np.asarray(nibabel.load(p).dataobj) for p in (path, tmp_path / "new.nii.gz"))
    number = source.numbers[0]
    outside = before[:, :, number] == -2
    assert np.unique(after[:, :, number][outside]).tolist() == [0 if difference else -2]
    assert len(np.unique(after[:, :, number][~outside])) == 1
