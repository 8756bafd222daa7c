"""MNIST and CIFAR-10: every layout of their files, and damaged files."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.source_files import TEST, TRAIN, cifar_arrays, mnist_arrays, write_bin, write_idx

from studio.data.io.files import open_npz
from studio.data.sources.cifar import open_cifar
from studio.data.sources.mnist import open_mnist
from studio.errors import StudioError


@pytest.mark.parametrize("layout", ["stored", "compressed", "idx", "idx.gz", "torchvision"])
def test_open_mnist_gives_the_same_for_every_layout(tmp_path: Path, layout: str) -> None:
    arrays = mnist_arrays()
    if layout in ("stored", "compressed"):
        (np.savez if layout == "stored" else np.savez_compressed)(tmp_path / "mnist.npz", **arrays)
    else:
        write_idx(
            tmp_path / ("MNIST/raw" if layout == "torchvision" else ""), arrays, layout == "idx.gz"
        )
    parts, notes = open_mnist(tmp_path)
    assert (
        f"{TRAIN} of the 60000 train digits and {TEST} of the 10000 test digits are here"
        in notes[0]
    )
    for split in ("train", "test"):
        assert np.array_equal(
            parts[split].take(np.array([5, 0, 39])), arrays[f"x_{split}"][[5, 0, 39]]
        )
        assert np.array_equal(parts[split].classes, arrays[f"y_{split}"])


@pytest.mark.parametrize("layout", ["stored", "compressed", "labels (N, 1)", "binary"])
def test_open_cifar_gives_channels_first_for_every_layout(tmp_path: Path, layout: str) -> None:
    # A reshape instead of a permutation would scramble colour images.
    arrays = cifar_arrays()
    arrays["x_train"][17] = 0
    arrays["x_train"][17, 3, 20] = (
        255,
        128,
        7,
    )  # one pixel, off the diagonal, three different channels
    if layout == "binary":
        write_bin(tmp_path / "cifar-10-batches-bin", arrays)
    else:
        labels = (
            {k: v[:, None].astype(np.int64) for k, v in arrays.items() if k[0] == "y"}
            if "1" in layout
            else {}
        )
        (np.savez_compressed if layout == "compressed" else np.savez)(
            tmp_path / "cifar10.npz", **(arrays | labels)
        )
    parts, _ = open_cifar(tmp_path)
    taken = parts["train"].take(
        np.array([89, 17, 18])
    )  # from three of the five files of the binary version
    assert taken.shape == (3, 3, 32, 32)
    assert taken[1, :, 3, 20].tolist() == [255, 128, 7]
    assert taken[1].astype(int).sum() == 255 + 128 + 7
    assert np.array_equal(taken[[0, 2]], arrays["x_train"][[89, 18]].transpose(0, 3, 1, 2))
    assert np.array_equal(parts["train"].classes, arrays["y_train"])


def test_open_npz_maps_plain_arrays_on_first_use(root: Path) -> None:
    arrays = open_npz(root / "cifar10.npz", {"x_train": (None, 32, 32, 3)})
    assert not arrays["x_train"].is_open
    assert isinstance(arrays["x_train"].values, np.memmap)
    # A loader process maps the file itself.
    assert not pickle.loads(pickle.dumps(arrays["x_train"])).is_open
    parts, _ = open_cifar(root)
    assert parts["train"].size
    assert not any(array.is_open for part in parts.values() for array in part.arrays)


def test_open_cifar_refuses_the_python_version_without_opening_it(tmp_path: Path) -> None:
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    (place / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(
        StudioError,
        match=r"cifar-10-batches-py is the python version.*pickles.*cifar-10-batches-bin",
    ):
        open_cifar(tmp_path)
    assert not Path("opened").exists()


def read(root: Path, which: str) -> None:
    parts, _ = open_cifar(root) if which == "cifar" else open_mnist(root)
    parts["train"].take(np.arange(3))
    _ = parts["test"].classes


def cut(path: Path, by: int = 5) -> None:
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize(
    "kind", ["idx", "idx.gz", "idx.gz content", "idx magic", "npz", "bin", "labels", "label value"]
)
def test_sources_name_a_damaged_file(tmp_path: Path, kind: str) -> None:
    arrays, packed, expected = mnist_arrays(), kind.startswith("idx.gz"), "cut short or damaged"
    write_idx(tmp_path, arrays, packed)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' * packed}"
    if kind in ("idx", "idx.gz"):
        cut(path)
    elif kind == "idx.gz content":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
        expected = "damaged"
    elif kind == "idx magic":
        path.write_bytes(b"\0" * 4 + path.read_bytes()[4:])
        expected = "begins with 00000000, expected 00000803"
    elif kind in ("labels", "label value"):
        path = tmp_path / "mnist.npz"
        wrong = (
            {"y_test": arrays["y_test"][1:]}
            if kind == "labels"
            else {"y_test": arrays["y_test"] + np.uint8(1)}
        )
        np.savez(path, **(arrays | wrong))
        expected = (
            "39 labels for 40 images" if kind == "labels" else "a label is 10, expected 0 to 9"
        )
    elif kind == "npz":
        path = tmp_path / "mnist.npz"
        np.savez(path, **arrays)
        cut(path, 5000)
        expected = "not a whole npz file"
    else:
        write_bin(tmp_path / "cifar-10-batches-bin", cifar_arrays())
        path = tmp_path / "cifar-10-batches-bin/data_batch_2.bin"
        cut(path)
    with pytest.raises(StudioError) as caught:
        read(tmp_path, "cifar" if kind == "bin" else "mnist")
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"x_train": None},
            "no array 'x_train', found y_train, x_test, y_test; expected the arrays",
        ),
        (
            {"x_train": np.zeros((3, 32, 32), np.uint8)},
            r"x_train has the shape (3, 32, 32), expected (N, 28, 28)",
        ),
        ({"x_train": np.zeros((3, 28, 28), np.float32)}, "x_train holds float32, expected uint8"),
        ({"y_train": np.array([{}] * TRAIN)}, "y_train holds object, expected integers"),
    ],
)
def test_open_mnist_refuses_an_npz_of_another_layout(
    tmp_path: Path, change: dict, expected: str
) -> None:
    arrays = {k: v for k, v in (mnist_arrays() | change).items() if v is not None}
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(StudioError) as caught:
        open_mnist(tmp_path)
    assert expected in str(caught.value)


def test_open_mnist_refuses_an_entry_shorter_than_its_header_says(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", **mnist_arrays())
    with (
        zipfile.ZipFile(tmp_path / "whole.npz") as whole,
        zipfile.ZipFile(tmp_path / "mnist.npz", "w") as short,
    ):
        for name in whole.namelist():
            short.writestr(name, whole.read(name)[: -100 if name == "x_train.npy" else None])
    with pytest.raises(StudioError, match="x_train is cut short"):
        open_mnist(tmp_path)
