"""`studio apply` on TIFF, DICOM, series and ranges of slices."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.applied import read_codes
from support.dicom_files import pydicom, write_image, write_series
from support.own_files import SIDE, smooth
from support.runs import studio

from studio.apply import apply
from studio.errors import StudioError
from studio.runs.run import Run


def write_inputs(folder: Path) -> np.ndarray:
    """Writes a series, a DICOM image, a TIFF and what is refused. Returns the series (z, y, x)."""
    values = np.stack([smooth(i).astype(np.int16) for i in range(5)])
    write_series(folder / "p1/t1", values, spacing=(1.0, 1.0, 2.0))
    write_series(folder / "p2/mixed", values)
    write_image(folder / "p2/mixed/scout.dcm", values[0])
    write_image(folder / "p3/x.dcm", smooth(9))
    write_image(folder / "p3/report.dcm", smooth(9), PixelData=None, Modality="SR")
    Image.fromarray(smooth(8)).save(folder / "y.tif")
    return values


def test_apply_writes_dicom_as_dicom_and_a_series_as_nifti(gray: Run, tmp_path: Path) -> None:
    values = write_inputs(tmp_path / "in")
    done = apply(gray, "in", "out", ["reconstruct"], chosen="all", window=(0, 255))
    reasons = dict(done["set_aside"])
    assert reasons.keys() == {"p2/mixed", "p3/report.dcm"}
    assert "a folder of 2 DICOM series" in reasons["p2/mixed"]
    assert "without pixels" in reasons["p3/report.dcm"]
    made = nibabel.load("out/reconstruct/p1/t1.nii.gz")
    np.testing.assert_allclose(np.asarray(made.dataobj), values.T, atol=1)
    picture = pydicom.dcmread("out/reconstruct/p3/x.dcm")
    np.testing.assert_allclose(picture.pixel_array.astype(int), smooth(9), atol=1)
    np.testing.assert_allclose(
        np.asarray(Image.open("out/reconstruct/y.tif")).astype(int), smooth(8), atol=1
    )
    rows = read_codes(tmp_path / "out/codes.csv")
    assert [(row["file"], row["slice"]) for row in rows] == [
        *(("p1/t1", str(number)) for number in range(5)),
        ("p3/x.dcm", ""),
        ("y.tif", ""),
    ]
    again = apply(
        gray, "in", "out", ["reconstruct"], chosen="all", window=(0, 255), skip_existing=True
    )
    assert (again["files"], again["skipped"], len(again["set_aside"])) == (0, 3, 2)


def test_apply_takes_the_folder_of_a_series_as_one_input(gray: Run, tmp_path: Path) -> None:
    write_inputs(tmp_path / "in")
    studio("apply", gray.folder, "in/p1/t1", "out", "--window", 0, 255, "--slice", "1:3")
    assert [row["slice"] for row in read_codes(tmp_path / "out/codes.csv")] == ["1", "2", "3"]
    assert [str(p.relative_to("out")) for p in Path("out").rglob("*.gz")] == ["heal/t1.nii.gz"]
    studio("apply", gray.folder, "in/p1/t1", "odd", "--window", 0, 255, "--slice", "0:4:2")
    assert [row["slice"] for row in read_codes(tmp_path / "odd/codes.csv")] == ["0", "2", "4"]
    for wrong in ("3:1", "1:2:0", "1:", "a:b", "1:2:3:4"):
        _, error = studio("apply", gray.folder, "in/p1/t1", "no", "--slice", wrong, code=2)
        assert f"--slice {wrong}: expected middle, all, a number from 0, or FIRST:LAST" in error
    _, error = studio("apply", gray.folder, "in/p1/t1", "no", "--slice", "7:9", code=2)
    assert "has 5 slices, but data.slice begins at 7" in error
    nibabel.save(nibabel.Nifti1Image(np.ones((SIDE, SIDE, 3)), np.eye(4)), "in/p1/t1.nii.gz")
    with pytest.raises(StudioError, match=r"would both be t1\.nii\.gz"):
        apply(gray, "in/p1", "no")
