"""`studio data list`, `check` and `init`."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.picture_files import write_affectnet, write_celeba, write_xrays
from support.source_files import cifar_arrays, mnist_arrays
from support.vector_files import write_mice_csv

from studio.config import load
from studio.data import DATASETS, catalogue
from studio.data.catalogue import check, describe, init_example, list_datasets
from studio.data.folders import Folders, FoldersConfig
from studio.data.sources import bundled
from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.errors import StudioError

BELONGS = {"digit": "salient", "texture": "common"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("example") / "two words é"
    init_example(root)
    return root


def config(root: Path, **fields: object) -> FoldersConfig:
    return FoldersConfig(**{"root": str(root), "attributes": BELONGS, **fields})


def test_list_datasets_states_where_files_are_expected() -> None:
    rows = list_datasets()
    assert [row["name"] for row in rows] == list(DATASETS)
    assert all(list(row) == ["name", "what", "needs_files", "expected"] for row in rows)
    assert all(row["what"].endswith(".") and "\n" not in row["what"] for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert by_name["folders"]["needs_files"] is True
    assert "ROOT/background/" in by_name["folders"]["expected"]
    assert by_name["textured_digits"]["needs_files"] is False
    assert json.loads(json.dumps(rows)) == rows


FAST = """
import sys
from typer.testing import CliRunner
from studio.cli import app
from studio.data import DATASETS
results = [CliRunner().invoke(app, ["data", "list"]).exit_code]
# rna needs scipy, brats and vbm need nibabel
names = [name for name in DATASETS if name not in ("folders", "brats", "rna", "vbm")]
results += [CliRunner().invoke(app, ["data", "check", name]).exit_code for name in names]
slow = ("torch", "sklearn", "scipy", "skimage", "matplotlib", "nibabel")
print(results, [name for name in slow if name in sys.modules])
"""


def test_list_and_check_import_no_training_libraries(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", **mnist_arrays())
    np.savez(tmp_path / "cifar10.npz", **cifar_arrays())
    for write in (write_celeba, write_xrays, write_affectnet, write_mice_csv):
        write(tmp_path)
    place = {
        "STUDIO_DATA": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", FAST],
        env=os.environ | place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("]")[0] == "[" + ", ".join("0" for _ in list(DATASETS)[3:])
    assert done.stdout.strip().endswith(" []")


@pytest.mark.parametrize("here", [True, False])
def test_bundled_images_match_their_packages_own_loaders(
    monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    import skimage.data
    from sklearn.datasets import load_digits

    if not here:  # as if the files of these packages were elsewhere
        monkeypatch.setattr(bundled, "_inside", lambda package, name: Path("nowhere"))
    pixels, classes = load_digits(return_X_y=True)
    found = bundled.load_digit_images.__wrapped__()
    assert np.array_equal(found[0].reshape(-1, 64), pixels)
    assert np.array_equal(found[1], classes)
    for name in ("brick", "camera", "coins", "grass", "gravel", "moon"):
        assert np.array_equal(bundled.load_photograph(name), getattr(skimage.data, name)())


def test_init_example_is_complete_and_passes_check(root: Path) -> None:
    report = check(config(root))
    assert report == json.loads(json.dumps(report))
    assert report["ok"]
    assert report["problems"] == report["quarantined"] == []
    assert report["counts"] == {
        "train": {"background": 160, "target": 160},
        "test": {"background": 40, "target": 40},
    }
    assert report["shape"] == [1, 64, 64]
    assert report["attributes"]["digit"] == {
        "belongs": "salient",
        "classes": list("0123456789"),
        "target_only": True,
    }
    assert report["attributes"]["texture"]["belongs"] == "common"
    assert report["attributes"]["texture"]["target_only"] is False
    few = "attribute digit: the test split has only one target image each of 1, 3"
    assert report["notes"] == ["split: 400 files as attributes.csv says", few]


def test_init_example_has_the_images_and_labels_of_textured_digits(root: Path) -> None:
    dataset, source = Folders(config(root)), TexturedDigits(TexturedDigitsConfig(resolution=64))
    for split in ("train", "test"):
        for domain in ("background", "target"):
            indices = np.arange(dataset.size(split, domain))
            expected, found = (
                source.images(split, domain, indices),
                dataset.images(split, domain, indices),
            )
            assert (expected - found).abs().max() <= 0.51 / 127.5
            for name, values in dataset.labels(split, domain).items():
                classes, others = dataset.attributes[name].classes, source.attributes[name].classes
                true = source.labels(split, domain)[name][indices]
                assert [classes[i] for i in values] == [others[i] for i in true]


def test_init_example_writes_a_config_that_loads(root: Path) -> None:
    loaded = load(str(root / "folders_dig_plus.yaml"))
    assert loaded.data.root == str(root)
    assert loaded.data.attributes == BELONGS
    assert loaded.method.name == "dig_plus"
    assert check(loaded.data)["ok"]
    assert f"'{root}/folders_dig_plus.yaml'" in (root / "README.txt").read_text(encoding="utf-8")


def test_init_example_puts_each_subject_into_one_split(root: Path) -> None:
    with (root / "attributes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400
    assert (
        len({row["subject"] for row in rows})
        == len({(row["subject"], row["split"]) for row in rows})
        == 200
    )


def test_init_example_fills_an_empty_folder_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "EXAMPLE", {"train": 2, "test": 1})
    (tmp_path / "new").mkdir()
    init_example(str(tmp_path / "new"))
    init_example(tmp_path / "made/on the way")
    names = {"README.txt", "attributes.csv", "background", "folders_dig_plus.yaml", "target"}
    for folder in ("new", "made/on the way"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == names
    assert {path.name for path in tmp_path.iterdir()} == {"new", "made"}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("folder", "not an empty folder"),
        ("file", "not an empty folder"),
        ("below a file", "cannot be written: "),
    ],
)
def test_init_example_never_overwrites_files(tmp_path: Path, kind: str, message: str) -> None:
    root = tmp_path / "mine"
    if kind == "folder":
        root.mkdir()
        (root / ".precious").write_text("x")
    else:
        root.write_text("x")
    with pytest.raises(StudioError, match=message):
        init_example(root / "below" if kind == "below a file" else root)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (root / ".precious" if kind == "folder" else root).read_text() == "x"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_init_example_leaves_nothing_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "background").mkdir()
        raise error

    monkeypatch.setattr(catalogue, "_write_images", interrupted)
    with pytest.raises(StudioError if error is OSError else error):
        init_example(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_check_refuses_another_kind_for_an_attribute_of_a_bundled_data_set() -> None:
    wrong = {"digit": {"belongs": "salient", "kind": "number"}}
    right = {"digit": {"belongs": "common", "kind": "category"}}
    assert check(TexturedDigitsConfig(attributes=wrong))["problems"] == [
        "data.attributes.digit.kind: found number, but textured_digits declares a category; "
        "leave it out"
    ]
    assert (
        check(TexturedDigitsConfig(attributes=right))["attributes"]["digit"]["belongs"] == "common"
    )


def test_check_passes_for_a_bundled_data_set() -> None:
    report = check(TexturedDigitsConfig())
    assert report["ok"]
    assert report["counts"]["train"] == {"background": 25_000, "target": 25_000}
    assert "attribute digit: salient, one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, target only" in describe(
        report
    )


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ([1, 32, 32], "images: 1 x 32 x 32 (channels, height, width)"),
        ([1, 8, 9, 10], "volumes: 1 x 8 x 9 x 10 (channels, depth, height, width)"),
        ([500], "vectors: 500 numbers"),
    ],
)
def test_check_names_the_axes_of_images_volumes_and_vectors(shape: list[int], line: str) -> None:
    report = check(TexturedDigitsConfig())
    assert line in describe({**report, "shape": shape}).splitlines()


def test_check_reports_a_fault_instead_of_raising(root: Path, tmp_path: Path) -> None:
    report = check(config(tmp_path / "nowhere"))
    assert not report["ok"]
    assert "no folder" in report["problems"][0]
    assert describe(report).startswith("folders: not usable\nproblem: data.root: no folder")
    report = check(config(root, attributes={"digits": "salient"}))
    assert report["problems"] == [
        f"data.attributes.digits: {root / 'attributes.csv'} has no such column; "
        "did you mean 'digit'?"
    ]


def test_check_lists_quarantined_files_in_either_case(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for domain in ("background", "target"):
        (tmp_path / domain).mkdir()
        for i in range(30):
            Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(
                tmp_path / domain / f"{i}.png"
            )
    for i in range(15):
        (tmp_path / f"target/bad{i}.png").touch()
    few, many = (check(config(tmp_path, attributes={}, max_bad=share)) for share in (0.2, 0.05))
    assert few["ok"]
    assert not many["ok"]
    assert few["quarantined"] == many["quarantined"]
    assert sorted(few["quarantined"]) == sorted(
        [f"target/bad{i}.png", "is empty (0 bytes)"] for i in range(15)
    )
    assert describe(many).count("set aside: ") == 15
    assert json.loads(json.dumps([few, many])) == [few, many]


def test_data_check_and_preview_take_a_data_root(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from studio.cli import app

    def run(*words: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, ["data", *words])
        return ended.exit_code, ended.output

    write_mice_csv(tmp_path)
    code, text = run("check", "mice_protein", "--data-root", str(tmp_path))
    assert (code, text.splitlines()[0]) == (0, "mice_protein: ready")
    code, text = run("check", "mice_protein", "--data-root", str(tmp_path / "none"))
    assert code == 1
    assert f"no folder {tmp_path / 'none'}" in text
    picture = tmp_path / "rows.png"
    assert run("preview", "mice", "--data-root", str(tmp_path), "--out", str(picture))[0] == 0
    assert picture.is_file()
