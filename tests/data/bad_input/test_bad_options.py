"""`studio data` with wrong options, and notes on data that cannot be measured well."""

from pathlib import Path

import numpy as np
from PIL import Image
from support.data_check import check_notes
from support.source_files import cifar_arrays, mnist_arrays


def test_check_suggests_the_nearest_name(studio, problem, root: Path) -> None:
    assert problem("cifar_mnist", "--set", "data.attributes.digits=salient") == (
        "data.attributes.digits: cifar_mnist has no such attribute; did you mean 'digit'?"
    )
    assert "data.attributes.digit: found 'saliant'" in problem(
        "cifar_mnist", "--set", "data.attributes.digit=saliant"
    )
    for words in (
        ("check", "cifar_mnst"),
        ("preview", "cifar_mnst"),
        ("check", "cifar_mnst", "--json"),
    ):
        done = studio("data", *words)
        assert (done.code, done.out) == (2, "")
        assert (
            done.err
            == "error: cifar_mnst: no such data set or config; did you mean 'cifar_mnist'?\n"
        )


def test_preview_refuses_a_picture_name_without_a_format(studio, tmp_path: Path) -> None:
    for out in ("x.foo", "x", str(tmp_path)):
        done = studio("data", "preview", "textured_digits", "--out", out)
        assert (done.code, done.err) == (
            2,
            f"error: --out {out}: expected a name that ends in .png, .jpg, .webp, .pdf or .svg\n",
        )


def test_check_notes_constant_empty_and_single_classes(studio, root: Path) -> None:
    arrays = mnist_arrays()
    labels = np.where(arrays["y_test"] == 7, 1, arrays["y_test"])
    labels[np.flatnonzero(labels == 5)[1:]] = 1
    np.savez(root / "mnist.npz", **(arrays | {"y_test": labels.astype(np.uint8)}))
    assert "attribute digit: the test split has no target image of 7" in check_notes(
        studio, "grassy_mnist"
    )
    cifar = cifar_arrays()
    cifar["y_test"] = np.where(np.arange(40) == 11, 4, 9).astype(np.uint8)
    np.savez(root / "cifar10.npz", **cifar)
    found = [
        note for note in check_notes(studio, "cifar_mnist") if "object" in note and "test" in note
    ]
    assert "only one" in " ".join(found)
    assert any("has the same value on every" in note for note in found)
    np.savez(root / "mnist.npz", **(arrays | {"y_test": np.full(40, 3, np.uint8)}))
    same = "attribute digit has the same value on every target image of the test split"
    assert same in check_notes(studio, "grassy_mnist")


def test_check_notes_repeated_digits(studio, problem, root: Path) -> None:
    assert "25000 train targets show 90 digits of MNIST, 278 times each on average" in check_notes(
        studio, "grassy_mnist"
    )
    few = check_notes(studio, "grassy_mnist", "--set", "data.train_target=90")
    assert not [note for note in few if "train targets show" in note]
    for value in ("0", "1000000000000"):
        found = "a whole number from 1 to 10,000,000"
        text = problem("grassy_mnist", "--set", f"data.train_target={value}")
        assert f"data.train_target: found {value}, expected {found}" in text
    assert "data.background_noise: found inf" in problem(
        "grassy_mnist", "--set", "data.background_noise=.inf"
    )


def test_check_names_an_unusable_folder_of_grass(
    problem, studio, root: Path, tmp_path: Path
) -> None:
    option = ("--set", f"data.grass_root={tmp_path / 'grass'}")
    assert problem("grassy_mnist", *option).startswith(
        f"data.grass_root: no folder {tmp_path / 'grass'}; expected "
    )
    (tmp_path / "grass").mkdir()
    assert "none of the 0 photographs" in problem("grassy_mnist", *option)
    for i in range(60):
        Image.new("RGB", (80, 60), (i,) * 3).save(tmp_path / f"grass/{i}.png")
    (tmp_path / "grass/5.png").write_bytes(b"no picture")
    drawn = studio("data", "preview", "grassy_mnist", "--n", "64", *option)
    assert drawn.code == 2
    fault = "is no PNG, JPEG, TIFF, WebP or BMP, despite its name"
    assert drawn.err == f"error: {tmp_path / 'grass/5.png'}: {fault}\n"
