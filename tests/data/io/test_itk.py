"""Volumes of ITK read to the same pixels as their NIfTI, and are written in their format."""

from pathlib import Path

import numpy as np
import pytest

from studio.data.folders_config import FoldersConfig
from studio.data.intensity import Intensity
from studio.data.io.images import read_image
from studio.data.io.slices import Axis, UnreadableError, VolumeOptions
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.volume_slices import read_slices
from studio.data.io.write_back import write_back

SimpleITK = pytest.importorskip("SimpleITK", reason="needs the extra itk")

VALUES = np.random.default_rng(0).integers(-500, 900, (9, 6, 7)).astype(np.int16)  # z, y, x
TURN = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def write(path: Path, values: np.ndarray = VALUES) -> None:
    image = SimpleITK.GetImageFromArray(values)
    if values.ndim == 3:
        image.SetSpacing((0.5, 0.75, 2.0))
        image.SetOrigin((-10, 20, 30))
        image.SetDirection(TURN)
    SimpleITK.WriteImage(image, str(path))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("axis", ["auto", 0, 1, 2])
def test_itk_file_reads_to_the_pixels_of_its_nifti(ending: str, axis: Axis, tmp_path: Path) -> None:
    for name in (f"a{ending}", "a.nii.gz"):  # SimpleITK writes both
        write(tmp_path / name)
    options = VolumeOptions(axis)
    (own, numbers), (nifti, others) = (
        read_slices(tmp_path / name, "all", options) for name in (f"a{ending}", "a.nii.gz")
    )
    assert numbers == others
    for one, other in zip(own, nifti, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.place == other.place
    picture = read_image(tmp_path / f"a{ending}", options=options)
    assert picture.type == "int16"
    np.testing.assert_allclose(picture.spacing, nifti[0].spacing, rtol=1e-5)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_file_is_written_in_its_format_and_place(ending: str, tmp_path: Path) -> None:
    path, out = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    write(path)
    rule = reading_rule(
        FoldersConfig(name="folders", root=".", fit="squash"),
        (1, 6, 6),
        Intensity("window", (-500, 900)),
        2,
    )
    source = read_user_file(path, rule)
    write_back(source, np.full_like(source.images, -1), out)
    before, after = (SimpleITK.ReadImage(str(p)) for p in (path, out))
    for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection", "GetPixelID"):
        assert getattr(before, fact)() == getattr(after, fact)()
    old, new = (SimpleITK.GetArrayFromImage(image) for image in (before, after))
    changed = (old != new).any((1, 2))
    assert [*np.flatnonzero(changed)] == [6]  # the third from the feet, because z points down
    assert (new[6] == -500).all()


def test_itk_file_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = SimpleITK.GetImageFromArray(np.zeros((6, 7, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(colours, str(tmp_path / "colours.mha"))
    with pytest.raises(UnreadableError, match="has 3 values per voxel"):
        read_image(tmp_path / "colours.mha")
    (tmp_path / "bad.nrrd").write_text("x" * 50)
    with pytest.raises(UnreadableError, match="cannot be read") as error:
        read_image(tmp_path / "bad.nrrd")
    assert "\n" not in str(error.value)
    write(tmp_path / "flat.nrrd", VALUES[0])  # an image
    assert read_image(tmp_path / "flat.nrrd").values.shape == (1, 6, 7)
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(UnreadableError, match=r"pip install 'contrastive-studio\[itk\]'"):
        read_image(tmp_path / "bad.nrrd")
