"""`studio export`: the export equals the run and opens without its data and checkpoints."""

import json
import re
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from PIL import Image
from support.experiments import VARIANTS, tiny
from support.own_files import SIDE, folders_run, smooth
from support.shapes import SHAPES
from typer.testing import CliRunner

from studio import cli
from studio.apply import apply
from studio.build import build_method
from studio.errors import StudioError
from studio.export import graphs
from studio.export.write import export, push
from studio.render.samples import draw_grid
from studio.runs.manifest import sha256
from studio.runs.run import Run
from studio.training.session import train

PROGRAMS = {"encode.pt2", "decode.pt2", "heal.pt2"}
FILES = {"model.safetensors", "config.yaml", "preprocessing.json", "README.md", *PROGRAMS}


def needs_onnx() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: ONNX programs are not tested")
    pytest.importorskip(
        "onnxscript", reason="onnxscript is not installed: ONNX programs are not tested"
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("digits") / "run"
    done = train(tiny("dig"), folder)
    rows = [
        {
            "attribute": "digit",
            "belongs": "salient",
            "metric": "balanced_accuracy",
            "salient": 0.5,
            "common": 0.25,
            "whole": 0.5,
            "chance": 0.1,
            "error": 0.01,
            "n": 1234,
            "also": {},
        }
    ]
    separation = {
        "w2_common": None,
        "salient_distance_auc": 0.8125,
        "salient_variance_ratio": None,
        "attributes": {},
    }
    probe = {
        "images_seen": done.engine.images_seen,
        "protocol": "held-out",
        "rows": rows,
        "separation": separation,
    }
    (folder / "probe.json").write_text(json.dumps(probe))
    return Run.open(folder)


@pytest.fixture(scope="module")
def exported(digits: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "our model"
    export(digits, folder, onnx=False)
    return folder


def test_export_equals_the_run_and_is_self_contained(
    digits: Run, exported: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(exported, moved)
    again = Run.open(moved)
    images = digits.data.images("test", "target", range(5))
    for name, tensor in digits.method.state_dict().items():
        assert torch.equal(tensor, again.method.state_dict()[name]), name
    for own, theirs in zip(digits.encode(images), again.encode(images), strict=True):
        assert torch.equal(own, theirs)
    assert torch.equal(digits.heal(images), again.heal(images))
    assert again.images_seen == digits.images_seen
    assert again.shape == digits.shape
    assert (
        draw_grid(again.method, again.data, 2).size == draw_grid(digits.method, digits.data, 2).size
    )
    pictures = []
    for folder in (digits.folder, moved):
        result = CliRunner().invoke(
            cli.app, ["render", str(folder), "heal", "--n", "2", "--out", "heal.png"]
        )
        assert result.exit_code == 0, result.output
        pictures.append(Path("heal.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_programs_agree_with_the_run_for_any_number_of_images(digits: Run, exported: Path) -> None:
    encode, decode, heal = (
        torch.export.load(exported / f"{name}.pt2").module()
        for name in ("encode", "decode", "heal")
    )
    for n in (1, 2, 9):
        images = digits.data.images("test", "background", range(n))
        code = digits.encode(images)
        z, s = encode(images)
        torch.testing.assert_close(z, code.z, atol=1e-5, rtol=0)
        torch.testing.assert_close(s, code.s, atol=1e-5, rtol=0)
        torch.testing.assert_close(decode(code.z, code.s), digits.decode(code), atol=1e-5, rtol=0)
        torch.testing.assert_close(heal(images), digits.heal(images), atol=1e-5, rtol=0)


def test_export_writes_manifest_and_model_card(digits: Run, exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert (
        set(manifest["files"])
        == FILES
        == {path.name for path in exported.iterdir()} - {"manifest.json"}
    )
    assert all(sha256(exported / name) == expected for name, expected in manifest["files"].items())
    assert set(manifest["parity"]) == PROGRAMS
    assert manifest["blank"] == digits.method.blank(1)[0].tolist()
    assert manifest["license"] is None
    assert all(0 <= value <= 1e-4 for value in manifest["parity"].values())
    assert manifest["parity_images"] == "16 test images"
    card = (exported / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert set(yaml.safe_load(front)) == {"library_name", "tags"}  # nobody chose a licence
    assert "Nobody has chosen a licence for these weights" in body
    assert (
        "| digit | salient | balanced accuracy | 0.500 ↑ | 0.250 ↓ | 0.500 | 0.100 | 0.010 "
        "| 1,234 |" in body
    )
    assert (
        "- distance of salient codes from the blank code, target against background: AUC 0.812\n"
        in body
    )
    for words in (
        "Not a medical device",
        "Bias",
        "textured_digits",
        "Double InfoGAN",
        "Intended use",
        "our model",
    ):
        assert words in body, words
    [code, _] = re.findall(r"```python\n(.*?)```", body, re.S)
    code = code.replace("our model", str(exported))
    exec(compile(code, "card", "exec"), {"images": digits.data.images("test", "target", range(2))})
    text = "".join(
        path.read_text() for path in exported.iterdir() if path.suffix in (".json", ".md", ".yaml")
    )
    assert str(digits.folder) not in text


def test_model_card_ignores_a_probe_of_another_checkpoint(digits: Run, tmp_path: Path) -> None:
    shutil.copytree(digits.folder, tmp_path / "run")
    probe = json.loads((tmp_path / "run/probe.json").read_text())
    (tmp_path / "run/probe.json").write_text(json.dumps({**probe, "images_seen": 1}))
    export(Run.open(tmp_path / "run"), tmp_path / "out", onnx=False)
    assert "Not measured at 64 images" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_open_refuses_files_that_differ_from_their_hash(exported: Path, tmp_path: Path) -> None:
    for name in sorted(FILES - {"README.md"}):
        folder = tmp_path / name
        shutil.copytree(exported, folder)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(StudioError, match=name):
            Run.open(folder)
        (folder / name).unlink()
        if name not in ("config.yaml", "model.safetensors"):
            Run.open(folder)
            continue
        with pytest.raises(
            StudioError, match="config.yaml" if name == "config.yaml" else f"{name}.*no file"
        ):
            Run.open(folder)
    shutil.copytree(exported, tmp_path / "new")
    manifest = json.loads((tmp_path / "new/manifest.json").read_text())
    changes = (
        ({"format": 9}, "format 9"),
        ({"kind": "x"}, "'x'"),
        ({"files": {}}, "config"),
        ({"shape": 3}, "manifest"),
    )
    for change, words in changes:
        (tmp_path / "new/manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(StudioError, match=words):
            Run.open(tmp_path / "new")
    (tmp_path / "new/manifest.json").unlink()
    with pytest.raises(StudioError, match=r"new: an export without manifest\.json"):
        Run.open(tmp_path / "new")
    with pytest.raises(StudioError, match="an export has one: 64"):
        Run.open(exported, 3)
    with pytest.raises(StudioError, match="averaged"):
        Run.open(exported, ema=False)
    assert Run.open(exported, 64).images_seen == 64


def test_export_is_written_completely_or_not_at_all(
    digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("x")
    with pytest.raises(StudioError, match="not an empty folder"):
        export(digits, tmp_path / "full", onnx=False)
    (tmp_path / "empty").mkdir()

    def off(
        method: torch.nn.Module, images: torch.Tensor, folder: Path
    ) -> tuple[dict, dict[str, float]]:
        return {}, {"encode.pt2": 2e-4, "decode.pt2": float("nan")}

    monkeypatch.setattr("studio.export.write.torch_programs", off)
    with pytest.raises(StudioError, match=r"encode\.pt2 by 0\.0002, decode\.pt2 by nan"):
        export(digits, tmp_path / "empty", onnx=False)
    assert not list((tmp_path / "empty").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"full", "empty"}


def test_torch_programs_reports_a_program_that_differs(
    digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = digits.data.images("test", "target", range(3))
    _, same = graphs.torch_programs(digits.method, images, tmp_path)
    assert max(same.values()) <= 1e-5
    forward = graphs.Decode.forward
    monkeypatch.setattr(graphs.Decode, "forward", lambda self, z, s: forward(self, z, s) + 2e-4)
    _, other = graphs.torch_programs(digits.method, images, tmp_path)
    assert other["encode.pt2"] <= 1e-5
    assert other["decode.pt2"] == pytest.approx(2e-4, rel=0.1)
    with pytest.raises(StudioError, match=r"decode\.pt2"):
        graphs.refuse_mismatch(other)


@pytest.mark.parametrize("name", VARIANTS)
def test_export_restores_every_method(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "studio.export.write.torch_programs",
        lambda *_: ({}, {"encode.pt2": 0.0, "decode.pt2": 0.0}),
    )
    config = tiny(name, images=16)
    method = build_method(config, (1, 32, 32)).eval().requires_grad_(False)
    run = Run(tmp_path / "run", config, method, 16, (1, 32, 32))
    export(run, tmp_path / "out", onnx=False)
    again = Run.open(tmp_path / "out")
    images = run.data.images("test", "target", range(3))
    assert torch.equal(run.heal(images), again.heal(images))
    assert torch.equal(run.encode(images).s, again.encode(images).s)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gray", *SHAPES])
@pytest.mark.parametrize("name", VARIANTS)
def test_programs_convert_for_every_method_and_shape(name: str, kind: str, tmp_path: Path) -> None:
    shape = SHAPES.get(kind, (1, 32, 32))
    method = build_method(tiny(name), shape).eval().requires_grad_(False)
    images = torch.rand(4, *shape) * 2 - 1
    made, parity = graphs.torch_programs(method, images, tmp_path)
    assert max(parity.values()) <= 1e-5
    needs_onnx()
    found, said = graphs.onnx_programs(method, made, images, tmp_path)
    assert set(found) == {"encode.onnx", "decode.onnx", "heal.onnx"}, said
    graphs.refuse_mismatch(found)


@pytest.mark.parametrize("kind", ["volume", "vector"])
def test_export_works_for_volumes_and_vectors_without_data(kind: str, tmp_path: Path) -> None:
    shape = SHAPES[kind]
    config = tiny("vae").model_copy(
        update={"data": tiny("dig", "cifar_mnist").data.model_copy(update={"root": "gone"})}
    )
    run = Run(
        tmp_path / "run", config, build_method(config, shape).eval().requires_grad_(False), 0, shape
    )
    manifest = export(run, tmp_path / "out", onnx=False)
    assert manifest["parity_images"] == "16 images that the model generated"
    again = Run.open(tmp_path / "out")
    assert again.sample(2).shape == (2, *shape)
    with pytest.raises(StudioError, match="STUDIO_DATA"):
        _ = again.data


def test_onnx_programs_are_compared_or_their_absence_explained(
    digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_onnx()
    manifest = export(digits, tmp_path / "out")
    assert set(manifest["parity"]) == PROGRAMS | {f"{name[:-4]}.onnx" for name in PROGRAMS}
    assert all(value <= 1e-4 for value in manifest["parity"].values())
    assert manifest["onnx"].startswith("ONNX was run by onnx")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a trace")

    monkeypatch.setattr(torch.onnx, "export", broken)
    result = CliRunner().invoke(cli.app, ["export", str(digits.folder), "without", "--json"])
    assert result.exit_code == 0, result.exception
    said = json.loads(result.stdout)
    assert said["onnx"] == "no ONNX: not converted (RuntimeError: no such operator)"
    assert set(said["files"]) == FILES
    monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda name: None)
    _, why = graphs.onnx_programs(digits.method, {}, torch.zeros(2, 1, 32, 32), tmp_path)
    assert why.startswith("no ONNX: onnx and onnxscript not installed")


def test_export_of_folders_hides_local_paths_and_keeps_the_window(
    tmp_path: Path,
) -> None:
    run = folders_run(tmp_path, suffix=".npy", method={"name": "vae", "z": 3, "s": 2})
    window = run.data.window
    export(run, tmp_path / "out", onnx=False)
    assert str(tmp_path) not in (tmp_path / "out/config.yaml").read_text()
    shutil.rmtree(tmp_path / "photos")
    again = Run.open(tmp_path / "out")
    assert again.config.data.window == window
    Image.fromarray(smooth(1, high=900, dtype="uint16")).save(tmp_path / "x.png")
    assert apply(again, "x.png", "made", ["heal"])["files"] == 1
    with pytest.raises(StudioError, match="photos"):
        _ = again.data
    (tmp_path / "elsewhere").mkdir()
    for domain in ("background", "target"):
        (tmp_path / "elsewhere" / domain).mkdir()
        for i in range(40):
            Image.fromarray(smooth(i)).save(tmp_path / "elsewhere" / domain / f"{i}.png")
    found = Run.open(tmp_path / "out", data_root=tmp_path / "elsewhere").data
    assert found.shape == (1, SIDE, SIDE)


def fake_hub(
    monkeypatch: pytest.MonkeyPatch, token: str | None = "hf_x", fault: Exception | None = None
) -> list[dict]:
    calls: list[dict] = []

    class Hub:
        def create_repo(self, repo_id: str, exist_ok: bool) -> str:
            if fault is not None:
                raise fault
            return f"https://hub/{repo_id}"

        def upload_folder(self, **given: object) -> None:
            calls.append(given)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    return calls


def test_push_uploads_only_files_of_the_export(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_hub(monkeypatch)
    shutil.copytree(exported, tmp_path / "out")
    (tmp_path / "out/secret.txt").write_text("not ours")
    assert push(tmp_path / "out", "me/model") == "https://hub/me/model"
    [given] = calls
    assert set(given["allow_patterns"]) == FILES | {"manifest.json"}
    assert given["repo_id"] == "me/model"
    assert given["folder_path"] == str(tmp_path / "out")
    with pytest.raises(StudioError, match="not an export"):
        push(tmp_path, "me/model")


def test_push_fails_in_one_line(
    digits: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub(monkeypatch, fault=ConnectionError("no route\nto host"))
    with pytest.raises(
        StudioError, match=r"^--push me/model: ConnectionError: no route; .* complete$"
    ):
        push(exported, "me/model")
    calls = fake_hub(monkeypatch, token=None)
    for repository, words in (("me/model", "no token"), ("a/b/c", "a/b/c")):
        result = CliRunner().invoke(
            cli.app, ["export", str(digits.folder), "out", "--push", repository]
        )
        assert isinstance(result.exception, StudioError)
        assert words in str(result.exception)
        assert "\n" not in str(result.exception)
    assert not Path("out").exists()  # before anything was computed
    assert not calls
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(StudioError, match="needs huggingface_hub"):
        push(exported, "me/model")
