"""Reading and writing DICOM images, against their closed form and against pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dicom_files import pydicom, write_image

from studio.data.folders_config import FoldersConfig
from studio.data.intensity import EIGHT_BIT_RANGE, Intensity
from studio.data.io.dicom import GENERATED
from studio.data.io.images import read_image
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.write_back import write_back

STORED = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 80) % 4000


def own_file(name: str) -> Path:
    """Returns a test file that pydicom brings along."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


@pytest.mark.parametrize(
    ("fields", "expected", "kind"),
    [
        ({}, STORED, "uint16"),
        ({"RescaleSlope": 2, "RescaleIntercept": -1024}, STORED * 2.0 - 1024, "int32"),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 0}, STORED * 0.5, "float32"),
        (
            {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11},
            4095.0 - STORED,
            "uint16",
        ),
        (
            {
                "PhotometricInterpretation": "MONOCHROME1",
                "BitsStored": 12,
                "HighBit": 11,
                "RescaleSlope": 2,
                "RescaleIntercept": 5,
            },
            (4095.0 - STORED) * 2 + 5,
            "int32",
        ),
    ],
)
def test_dicom_has_the_values_of_its_modality_and_high_is_bright(
    fields: dict[str, Any], expected: np.ndarray, kind: str, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.dcm", STORED, **fields)
    picture = read_image(tmp_path / "a.dcm")
    np.testing.assert_array_equal(picture.values, expected[None].astype(np.float32))
    assert (picture.type, picture.size) == (kind, (6, 8))


def test_dicom_of_8_bits_stays_8_bit_and_colours_stay_colours(tmp_path: Path) -> None:
    eight = STORED.astype(np.uint8)[:5, :7]  # an odd number of bytes
    write_image(tmp_path / "a.dcm", eight)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").values, eight[None])
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    write_image(tmp_path / "IM0001", colours)  # many DICOM files have no ending
    picture = read_image(tmp_path / "IM0001")
    np.testing.assert_array_equal(picture.values, np.moveaxis(colours, -1, 0))
    assert picture.type == "uint8"


@pytest.mark.parametrize(
    ("fields", "window"),
    [
        ({"WindowCenter": 50, "WindowWidth": 401}, (-150.5, 249.5)),  # PS3.3 C.11.2.1.2.1
        ({"WindowCenter": [50, 9], "WindowWidth": [401, 3]}, (-150.5, 249.5)),
        ({"WindowCenter": 50, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, (-150, 250)),
        ({"WindowCenter": 50, "WindowWidth": 1}, None),
        ({}, None),
        (
            {"WindowCenter": 100.5, "WindowWidth": 201, "PhotometricInterpretation": "MONOCHROME1"},
            (65335, 65535),
        ),
    ],
)
def test_dicom_states_its_window_which_per_image_header_takes(
    fields: dict[str, Any], window: tuple[float, float] | None, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.dcm", STORED, **fields)
    picture = read_image(tmp_path / "a.dcm")
    assert picture.stated == window
    _, found = Intensity("per_image", measure="header").read(picture)
    _, plain = Intensity("per_image").read(picture)
    assert found == (window or plain)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"PixelData": None, "Modality": "SR"}, r"is DICOM without pixels \(modality SR\)"),
        ({"NumberOfFrames": 3}, "has 3 frames: expected one image per file"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colours of the kind PALETTE COLOR"),
        ({"PhotometricInterpretation": "RGB"}, "has 16 bits per colour: expected 8"),
        ({"Rows": 60}, "cannot be decoded"),
    ],
)
def test_dicom_is_refused_in_words(fields: dict[str, Any], reason: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.dcm", STORED, **fields)
    with pytest.raises(UnreadableError, match=reason):
        read_image(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(b"x" * 200)
    with pytest.raises(UnreadableError, match="is no DICOM file, despite its name"):
        read_image(tmp_path / "b.dcm")


def test_dicom_names_its_extra_when_pydicom_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.dcm", STORED)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(UnreadableError, match=r"pip install 'contrastive-studio\[dicom\]'"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm"])
def test_dicom_files_of_pydicom_read_as_pydicom_says(name: str) -> None:
    dataset = pydicom.dcmread(own_file(name))
    slope, inter = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    expected = dataset.pixel_array * float(slope) + float(inter)
    picture = read_image(own_file(name))
    np.testing.assert_array_equal(picture.values[0], expected.astype(np.float32))
    assert picture.spacing == tuple(map(float, dataset.PixelSpacing))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test-SR.dcm", "without pixels"),
        ("rtplan.dcm", "without pixels"),
        ("SC_rgb_rle_2frame.dcm", "has 2 frames"),
        ("SC_rgb_rle_16bit.dcm", "16 bits per colour"),
        ("examples_palette.dcm", "PALETTE COLOR"),
        ("MR_truncated.dcm", "cannot be decoded"),
        ("JPEGLSNearLossless_16.dcm", "is compressed as JPEG-LS"),
    ],
)
def test_dicom_files_of_pydicom_are_refused_in_words(name: str, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason) as error:
        read_image(own_file(name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"RescaleSlope": 2, "RescaleIntercept": -1024, "PatientName": "A^B"},
        {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11},
    ],
)
def test_written_dicom_reads_as_the_generated_image_and_says_that_it_is_one(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    write_image(tmp_path / "a.dcm", STORED, WindowCenter=9, WindowWidth=5, **fields)
    config = FoldersConfig(name="folders", root=".")
    rule = reading_rule(config, (1, 6, 6), Intensity("window", (-1500.0, 9000.0)))
    source = read_user_file(tmp_path / "a.dcm", rule)
    values = np.linspace(0, 3000, 36, dtype=np.float32).reshape(1, 1, 6, 6)
    (tmp_path / "heal").mkdir()
    write_back(source, (values + 1500) / 10500 * 2 - 1, tmp_path / "heal/a.dcm")
    before, after = read_image(tmp_path / "a.dcm"), read_image(tmp_path / "heal/a.dcm")
    np.testing.assert_allclose(after.values[0, :, 1:7], values[0, 0], atol=1.01)
    np.testing.assert_array_equal(after.values[0, :, 0], before.values[0, :, 0])
    old, new = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(tmp_path / "heal/a.dcm")
    assert new.DerivationDescription == GENERATED
    assert [*new.ImageType][:2] == ["DERIVED", "SECONDARY"]
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert new.get(name) != old.get(name)
    assert new.get("PatientName") == old.get("PatientName")
    write_back(source, np.zeros_like(values), tmp_path / "heal/d.dcm", difference=True)
    assert not np.any(read_image(tmp_path / "heal/d.dcm").values)


def test_reading_rule_takes_8_bit_dicom_beside_png(tmp_path: Path) -> None:
    write_image(tmp_path / "a.dcm", STORED.astype(np.uint8)[:6, :6])
    rule = reading_rule(FoldersConfig(name="folders", root="."), (1, 6, 6), EIGHT_BIT_RANGE)
    found = read_user_file(tmp_path / "a.dcm", rule).images[0, 0]
    np.testing.assert_allclose((found + 1) * 127.5, STORED.astype(np.uint8)[:6, :6], atol=1e-4)
