"""Files of an export beside its weights: preprocessing, ONNX example, edited and deleted files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support.own_files import SIDE, folders_run, smooth
from support.runs import studio

from studio.apply import apply
from studio.data.captions import NamedDataset, name_images
from studio.errors import StudioError
from studio.export import heal_onnx
from studio.export.preprocessing import describe_preprocessing
from studio.export.write import export
from studio.runs.run import Run
from studio.runs.start import Start

onnx = pytest.importorskip("onnx", reason="needs the extra export")
pytest.importorskip("onnxscript", reason="needs the extra export")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("own"), method={"name": "vae", "z": 3, "s": 2})


@pytest.fixture(scope="module")
def exported(own: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "model"
    export(own, folder, license="cc-by-4.0")
    return folder


def test_export_names_the_batch_axis_of_every_onnx_program(exported: Path) -> None:
    for name in ("encode", "decode", "heal"):
        graph = onnx.load(exported / f"{name}.onnx").graph
        for value in (*graph.input, *graph.output):
            first, *rest = value.type.tensor_type.shape.dim
            assert first.dim_param == "batch", (name, value.name)
            assert all(axis.dim_value > 0 for axis in rest)
    graph = onnx.load(exported / "heal.onnx").graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["images", "healed"]


def test_export_has_the_licence_that_was_chosen(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "cc-by-4.0"
    assert "The weights have the licence `cc-by-4.0`." in card
    assert json.loads((exported / "manifest.json").read_text())["license"] == "cc-by-4.0"


def test_export_opens_with_an_edited_card_and_without_optional_files(
    own: Run, exported: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported, tmp_path / "m")
    (tmp_path / "m/README.md").write_text("Our own words.")
    for name in ("encode.pt2", "decode.pt2", "heal.pt2", "encode.onnx", "heal_onnx.py"):
        (tmp_path / "m" / name).unlink()
    images = own.data.images("test", "target", range(3))
    assert Run.open(tmp_path / "m").heal(images).equal(own.heal(images))
    (tmp_path / "m/README.md").unlink()
    Run.open(tmp_path / "m")
    (tmp_path / "m/decode.onnx").write_bytes(b"another program")
    with pytest.raises(StudioError, match=r"decode\.onnx: damaged"):
        Run.open(tmp_path / "m")
    (tmp_path / "m/decode.onnx").unlink()
    (tmp_path / "m/data.json").unlink()  # it has the rule of intensity
    with pytest.raises(StudioError, match=r"data\.json: damaged: .* found no file"):
        Run.open(tmp_path / "m")


def test_export_states_how_files_become_images(own: Run, exported: Path) -> None:
    facts = json.loads((exported / "preprocessing.json").read_text())
    assert facts == describe_preprocessing(own)
    assert (facts["shape"], facts["range"], facts["fit"]) == ([1, SIDE, SIDE], [-1, 1], "crop")
    assert facts["intensity"] == {"rule": "range", "ranges": {"uint8": [0, 255]}}
    assert facts["slices"] == "middle"


def test_preprocessing_has_the_window_of_files_of_more_bits(tmp_path: Path) -> None:
    run = folders_run(tmp_path, suffix=".npy", method={"name": "vae", "z": 3, "s": 2})
    facts = describe_preprocessing(run)
    assert facts["intensity"] == {"rule": "window", "window": list(run.intensity.window)}


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, 13), (20, 12)])
def test_onnx_example_heals_as_apply_does(
    shape: tuple[int, int], own: Run, exported: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    Image.fromarray(smooth(3, shape)).save(tmp_path / "in.png")
    command = [sys.executable, str(exported / "heal_onnx.py"), "in.png", "out.png"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads((exported / "preprocessing.json").read_text())
    image, window = heal_onnx.read("in.png", facts)
    assert window == (0, 255)
    if shape == (SIDE, SIDE):
        apply(own, "in.png", "applied", ["heal"])
        healed = np.asarray(Image.open("applied/heal/in.png")).astype(int)
        np.testing.assert_allclose(np.asarray(Image.open("out.png")), healed, atol=1)
    rows = tmp_path / "applied.npy"
    np.save(rows, image)
    subprocess.run([*command[:2], "applied.npy", "out.npy"], check=True, cwd=tmp_path)
    import torch

    expected = own.heal(torch.from_numpy(image[None].astype(np.float32)))[0].numpy()
    np.testing.assert_allclose(np.load("out.npy"), expected, atol=1e-4)


def test_onnx_example_reads_a_picture_as_the_studio_does(own: Run, exported: Path) -> None:
    from studio.data.io.user_files import read_user_file, reading_rule

    facts = json.loads((exported / "preprocessing.json").read_text())
    for shape in ((SIDE, 13), (20, 12), (9, 9)):
        Image.fromarray(smooth(5, shape)).save("in.png")
        mine, _ = heal_onnx.read("in.png", facts)
        rule = reading_rule(own.config.data, own.shape, own.intensity)
        np.testing.assert_allclose(mine, read_user_file(Path("in.png"), rule).images[0], atol=1e-6)
    Image.fromarray(smooth(5, high=900, dtype=np.uint16)).save("deep.png")
    with pytest.raises(SystemExit, match="uint16 by the rule range: give a prepared"):
        heal_onnx.read("deep.png", facts)


def test_verb_takes_the_licence(own: Run, tmp_path: Path) -> None:
    out, _ = studio("export", own.folder, "m", "--no-onnx", "--license", "mit", "--json")
    found = json.loads(out)
    assert found["license"] == "mit"
    assert not {"heal.onnx", "heal_onnx.py"}.intersection(found["files"])


def test_private_export_names_no_file_and_no_folder(own: Run, tmp_path: Path) -> None:
    shutil.copytree(own.folder, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text(encoding="utf-8"))
    config["data"]["exclude"] = ["patient-017*"]
    config["analysis"]["atlas"] = "/scans/patient-018/atlas.nii"
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    Start("/scans/patient-019", "vae", "folders", 32, "averaged", "0" * 64).write(tmp_path / "run")
    texts = {}
    for name, private in (("open", []), ("private", ["--private"])):
        out, _ = studio("export", tmp_path / "run", name, "--no-onnx", "--json", *private)
        assert json.loads(out)["private"] is bool(private)
        suffixes = {".md", ".yaml", ".json"}
        files = [file for file in Path(name).iterdir() if file.suffix in suffixes]
        assert len(files) >= 5
        texts[name] = "".join(file.read_text(encoding="utf-8") for file in files)
    names = ("patient-017", "patient-019", "photos", "atlas.nii")
    assert all(word in texts["open"] for word in names)
    assert not any(word in texts["private"] for word in (*names, "patient", "/scans"))
    assert "/scans" not in texts["open"], "no folder of this machine in either"
    assert "## Privacy" in texts["private"]
    assert "## Privacy" not in texts["open"]
    assert "![" not in texts["private"]
    for name in texts:
        data = Run.open(name, data_root=str(own.config.data.root)).data
        assert isinstance(data, NamedDataset)
        assert data.show_names is (name == "open")
        shown = name_images(data, "test", "target", [0])
        assert shown == (
            ["target 0"] if name == "private" else data.item_names("test", "target")[:1]
        )
