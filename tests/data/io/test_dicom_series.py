"""A series of DICOM files reads to the same pixels as its NIfTI, or is refused in words."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from support.dicom_files import AXES, pydicom, write_image, write_series

from studio.data.folders_config import FoldersConfig
from studio.data.intensity import Intensity
from studio.data.io.images import read_image
from studio.data.io.scan import scan_images
from studio.data.io.slices import Axis, UnreadableError, VolumeOptions
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.volume_files import file_stamp
from studio.data.io.volume_slices import read_slices
from studio.data.io.write_back import result_name, write_back

VALUES = np.random.default_rng(0).integers(0, 900, (9, 6, 7)).astype(np.int16)  # slices first


@pytest.fixture(params=AXES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A series, and the same voxels as NIfTI."""
    affine = write_series(tmp_path / "series", VALUES, request.param, RescaleIntercept=-1000)
    image = nibabel.Nifti1Image(VALUES.T - np.int16(1000), np.diag([-1.0, -1, 1, 1]) @ affine)
    nibabel.save(image, tmp_path / "volume.nii.gz")
    return tmp_path / "series", tmp_path / "volume.nii.gz"


@pytest.mark.parametrize("axis", ["auto", 0, 1, 2])
def test_series_reads_to_the_pixels_of_its_nifti(pair: tuple[Path, Path], axis: Axis) -> None:
    options = VolumeOptions(axis)
    for at in ("middle", 0, 4):
        series, nifti = (read_image(path, at, options=options) for path in pair)
        np.testing.assert_array_equal(series.values, nifti.values)
        np.testing.assert_allclose(series.spacing, nifti.spacing, rtol=1e-6)
        assert series.place == nifti.place
    (series, numbers), (nifti, others) = (read_slices(path, "all", options) for path in pair)
    assert numbers == others
    for one, other in zip(series, nifti, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_series_has_the_affine_that_nibabel_finds(tmp_path: Path) -> None:
    """nibabel reads the header of one slice on its own, so the two are independent."""
    from nibabel.nicom.dicomwrappers import wrapper_from_file

    from studio.data.io.volume_files import open_volume

    write_series(tmp_path / "s", VALUES, "oblique", SliceThickness=2)
    image = open_volume(tmp_path / "s")
    affines = [wrapper_from_file(path).affine for path in (tmp_path / "s").iterdir()]
    lps = np.diag([-1.0, -1, 1, 1]) @ np.asarray(image.affine)
    first = min(affines, key=lambda affine: np.abs(affine[:3, 3] - lps[:3, 3]).sum())
    # nibabel counts rows before columns.
    np.testing.assert_allclose(lps[:3, [1, 0]], first[:3, :2], atol=1e-6)
    # The direction in which slices are counted does not follow from one slice.
    np.testing.assert_allclose(np.abs(lps[:3, 2]), np.abs(first[:3, 2]), atol=1e-6)


def test_scan_takes_a_series_for_one_image_and_x_rays_for_many(tmp_path: Path) -> None:
    write_series(tmp_path / "p1/t1", VALUES)
    write_series(tmp_path / "p1/one_slice", VALUES[:1])
    for number in range(3):  # each of a series of its own
        write_image(tmp_path / f"chests/{number}.dcm", VALUES[0], Modality="DX")
    for number in range(2):  # two views of one series, without a place in space
        write_image(
            tmp_path / f"views/{number}.dcm", VALUES[0], Modality="DX", SeriesInstanceUID="1.2"
        )
    found = scan_images(tmp_path)
    chests = [f"chests/{number}.dcm" for number in range(3)]
    views = ["views/0.dcm", "views/1.dcm"]
    assert found.names == [*chests, "p1/one_slice/0000.dcm", "p1/t1", *views]
    assert found.series == ["p1/t1"]
    note = next(found.notes())
    assert note == "1 folders with a series of DICOM files count as one volume each: p1/t1"


def mixed(folder: Path) -> None:
    write_series(folder, VALUES, SeriesDescription="T1", SeriesNumber=2)
    write_image(folder / "scout.dcm", VALUES[0], SeriesDescription="scout", SeriesNumber=1)


def colours(folder: Path) -> None:
    write_series(folder, np.stack([VALUES.astype(np.uint8)] * 3, -1))


def twice(folder: Path) -> None:
    write_series(folder, VALUES, SeriesInstanceUID="1.2")
    write_series(folder / "x", VALUES, SeriesInstanceUID="1.2")
    for path in list((folder / "x").iterdir()):
        path.rename(folder / f"echo{path.name}")


def gap(folder: Path) -> None:
    write_series(folder, VALUES)
    next(path for path in folder.iterdir() if path.stem.endswith("4")).unlink()


def bent(folder: Path) -> None:
    write_series(folder, VALUES, SeriesInstanceUID="1.2")
    tilted = [1, 0, 0, 0, 0.8, -0.6]
    own = {"ImageOrientationPatient": tilted, "ImagePositionPatient": [0, 0, 99]}
    size = {"PixelSpacing": [0.75, 0.5]}
    write_image(folder / "tilted.dcm", VALUES[0], SeriesInstanceUID="1.2", **own, **size)


def placeless(folder: Path) -> None:
    write_series(folder, VALUES, ImagePositionPatient=None)


def broken(folder: Path) -> None:
    write_series(folder, VALUES)
    (folder / "bad.dcm").write_bytes(b"x" * 300)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            mixed,
            r"of 2 DICOM series: 2 T1 \(9 of the files\), 1 scout \(1 of the files\); give each",
        ),
        (colours, r"in colour \(RGB\)"),
        (twice, "images at the same place"),
        (gap, "lacks slices: they are 2 to 4 mm apart"),
        (bent, r"several directions \(ImageOrientationPatient\)"),
        (placeless, r"without places in 9 of 9 files \(ImagePositionPatient\)"),
        (broken, r"has bad\.dcm, which is no DICOM file"),
    ],
)
def test_folder_that_is_no_volume_is_refused_in_words(
    write: Any, reason: str, tmp_path: Path
) -> None:
    write(tmp_path / "in/s")
    assert scan_images(tmp_path / "in").names == ["s"]
    with pytest.raises(UnreadableError, match=reason):
        read_image(tmp_path / "in/s")


def test_series_becomes_a_nifti_with_the_generated_slices(tmp_path: Path) -> None:
    series = tmp_path / "s"
    write_series(series, VALUES, spacing=(1.0, 1.0, 2.0), RescaleIntercept=-1000)
    rule = reading_rule(
        FoldersConfig(name="folders", root="."), (1, 6, 6), Intensity("window", (-1000, 0)), (3, 5)
    )
    source = read_user_file(series, rule)
    assert source.numbers == (3, 4, 5)
    assert result_name("s", series) == "s.nii.gz"
    write_back(source, source.images, tmp_path / "s.nii.gz")
    made = nibabel.load(tmp_path / "s.nii.gz")
    np.testing.assert_allclose(np.asarray(made.dataobj), VALUES.T - 1000.0, atol=1)
    assert made.get_data_dtype() == np.int16
    write_back(source, np.zeros_like(source.images), tmp_path / "black.nii.gz")
    changed = np.asarray(nibabel.load(tmp_path / "black.nii.gz").dataobj) != VALUES.T - 1000.0
    assert [*np.flatnonzero(changed.any((0, 1)))] == [3, 4, 5]
    file = next(series.iterdir())
    before = file_stamp(series)
    file.write_bytes(file.read_bytes() + b"\0\0")
    assert file_stamp(series) != before
    with pytest.raises(UnreadableError, match="has changed since it was read"):
        write_back(source, source.images, tmp_path / "s.nii.gz")


def test_series_of_pydicoms_own_files_is_read_or_refused_in_words() -> None:
    root = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
    names = scan_images(root).names
    assert len(names) >= 20
    outcomes = []
    for name in names:
        try:
            outcomes.append(read_image(root / name).values.shape[0])
        except UnreadableError as error:
            outcomes.append(str(error))
    read = [outcome for outcome in outcomes if outcome == 1]
    assert read or any("without pixels" in str(outcome) for outcome in outcomes)
    assert all(isinstance(o, int) or "cannot be decoded" not in o for o in outcomes), outcomes
