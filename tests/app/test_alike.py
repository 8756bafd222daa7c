"""`studio apply` and the app read a file alike: the same codes, names and refusals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.applied import code_values, read_codes
from support.dicom_files import write_image
from support.own_files import SIDE, folders_run, smooth
from support.runs import studio

from studio.app.state import Explorer
from studio.apply import apply
from studio.errors import StudioError
from studio.render.selection import pick_targets
from studio.report import collect_run
from studio.runs.run import Run

SimpleITK = pytest.importorskip("SimpleITK", reason="needs the extra itk")


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("gray"))


def write(path: Path, kind: str) -> Path:
    """Writes one gray picture, saved in different ways."""
    values = smooth(700)
    picture = Image.fromarray(values)
    if kind in ("RGB", "RGBA", "LA"):
        picture = picture.convert(kind)
    if kind == "wide":
        picture = Image.fromarray(smooth(700, (SIDE, 2 * SIDE)))
    if kind == "dcm":
        write_image(path.with_suffix(".dcm"), values)
    elif kind == "mha":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path.with_suffix(".mha")))
    else:
        picture.save(path.with_suffix(f".{kind}" if kind in ("tif", "bmp") else ".png"))
    [path] = path.parent.glob(f"{path.stem}.*")
    return path


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "LA", "wide", "tif", "bmp", "dcm", "mha"])
def test_app_and_apply_give_a_file_the_same_code(gray: Run, tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "own file.png", kind)
    apply(gray, path, tmp_path / "out", "encode")
    [row] = read_codes(tmp_path / "out" / "codes.csv")
    choice = Explorer("gray", gray).upload(path)
    theirs = np.array([float(value) for value in code_values(row)], np.float32)
    np.testing.assert_allclose(choice.code.concat()[0].numpy(), theirs, rtol=1e-5, atol=1e-6)
    assert row["file"] == choice.label == path.name


def test_app_and_apply_refuse_16_bits_for_a_run_on_8_bits(gray: Run, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(smooth(700).astype(np.uint16) * 200).save(path)
    for read in (
        lambda: apply(gray, path, tmp_path / "out", "encode"),
        lambda: Explorer("gray", gray).upload(path),
    ):
        with pytest.raises(StudioError, match="is not 8-bit as the images of the data set"):
            read()


def test_app_names_the_files_of_the_data_set(gray: Run) -> None:
    choice = Explorer("gray", gray).choose("target", 0)
    [name] = gray.data.item_names("test", "target")[:1]
    assert choice.label == name
    assert choice.name == f"target {Path(name).name}"
    hidden = Run.open(gray.folder)
    assert Explorer("gray", hidden, names=False).choose("target", 0).name == "target 0"
    assert Explorer("gray", hidden, names=False).choose("target", 0).label == "target 0"


def test_render_and_report_name_files_unless_names_are_off(gray: Run, tmp_path: Path) -> None:
    run = Run.open(gray.folder)
    named = pick_targets(run.data, 2, 2, 0)
    assert all(name.startswith("target ") and name.endswith(".png") for name in named.names)
    sizes = []
    for option in ("--names", "--no-names"):
        path = tmp_path / f"{option}.png"
        studio("render", gray.folder, "heal", "--n", 2, option, "--out", path)
        with Image.open(path) as picture:
            sizes.append(np.asarray(picture).tobytes())
    assert sizes[0] != sizes[1]
    facts = collect_run(run, with_probe=False, names=False)
    assert not run.data.show_names
    assert pick_targets(run.data, 2, 2, 0).names == [f"target {i}" for i in named.indices]
    assert not any(".png" in note for note in facts.notes)
