"""`studio data` with damaged files of MNIST and CIFAR-10: one clear line, never a traceback."""

import os
import resource
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.data_check import FILES
from support.source_files import cifar_arrays, mnist_arrays, write_bin, write_idx

from studio.data.cifar_mnist import CifarMnist, CifarMnistConfig
from studio.data.io.files import open_npz
from studio.data.sources.cifar import RECORD
from studio.data.sources.mnist import open_mnist
from studio.errors import StudioError


def test_check_names_a_broken_file_for_every_data_set(problem, root: Path) -> None:
    path = root / "mnist.npz"
    whole = path.read_bytes()
    for content, expected in (
        (whole[:-5000], "not a whole npz file, perhaps cut short"),
        (b"", "not a whole npz file, perhaps cut short"),
        (b"<html>404</html>", "not a whole npz file, perhaps cut short"),
    ):
        path.write_bytes(content)
        for name in FILES:
            assert problem(name).startswith(f"{path}: {expected}")
    path.unlink()
    path.mkdir()
    assert problem("grassy_mnist") == f"{path}: cannot be read: Is a directory"
    path.rmdir()
    path.symlink_to(root / "gone.npz")
    assert problem("grassy_mnist") == f"{path}: cannot be read: No such file or directory"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["magic", "cut", "empty", "folder"])
def test_check_names_a_damaged_idx_file(problem, root: Path, kind: str, packed: bool) -> None:
    (root / "mnist.npz").unlink()
    write_idx(root, mnist_arrays(), packed)
    path = root / f"t10k-images-idx3-ubyte{'.gz' * packed}"
    if kind == "magic":
        path.write_bytes((root / f"t10k-labels-idx1-ubyte{'.gz' * packed}").read_bytes())
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(path.read_bytes()[:-9] if kind == "cut" else b"")
    text = problem("grassy_mnist")
    assert text.startswith(f"{path}: ")
    expected = {
        "magic": "expected 00000803",
        "cut": "cut short or damaged",
        "empty": "begins with nothing",
    }
    assert expected.get(kind, "cannot be read: Is a directory") in text


def test_check_never_opens_the_python_version_of_cifar(problem, root: Path) -> None:
    (root / "cifar10.npz").unlink()
    (root / "cifar-10-batches-py").mkdir()
    (root / "cifar-10-batches-py/data_batch_1").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    assert "is the python version, which consists of pickles and is not opened" in problem(
        "cifar_mnist"
    )
    assert not Path("opened").exists()
    write_bin(root / "cifar-10-batches-bin", cifar_arrays())
    path = root / "cifar-10-batches-bin/test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert (
        f"{path}: cut short or damaged: {40 * 3073 - 1} bytes, expected a multiple of 3073"
        in problem("cifar_mnist")
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"x_test": np.zeros((40, 28, 28), np.float32)}, "x_test holds float32, expected uint8"),
        ({"y_test": np.zeros(40)}, "y_test holds float64, expected integers"),
        ({"y_test": np.zeros(39, np.uint8)}, "39 labels for 40 images"),
        ({"y_test": np.full(40, 10, np.uint8)}, "a label is 10, expected 0 to 9"),
        ({"y_train": np.full(90, -1)}, "a label is -1, expected 0 to 9"),
    ],
)
@pytest.mark.parametrize("name", FILES)
def test_check_detects_wrong_types_counts_and_labels(
    studio, root: Path, name: str, change: dict, expected: str
) -> None:
    np.savez(root / "mnist.npz", **(mnist_arrays() | change))
    checked = studio("data", "check", name)
    assert checked.code == 1
    assert f"problem: {root / 'mnist.npz'}: " in checked.out
    assert expected in checked.out


@pytest.mark.parametrize("compressed", [False, True])
def test_images_are_the_same_with_an_extra_axis(studio, root: Path, compressed: bool) -> None:
    before = [
        CifarMnist(CifarMnistConfig()).images("train", domain, range(9))
        for domain in ("background", "target")
    ]
    for name, arrays in (("mnist", mnist_arrays()), ("cifar10", cifar_arrays())):
        save = np.savez_compressed if compressed else np.savez
        save(root / f"{name}.npz", **{key: value[..., None] for key, value in arrays.items()})
    after = [
        CifarMnist(CifarMnistConfig()).images("train", domain, range(9))
        for domain in ("background", "target")
    ]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    for name in FILES:
        assert studio("data", "preview", name).code == 0


@pytest.mark.parametrize("compressed", [False, True])
def test_open_mnist_reports_every_damage_to_an_npz(tmp_path: Path, compressed: bool) -> None:
    """Changed bytes in any part of the file lead to a StudioError that names it, or to values."""
    path = tmp_path / "mnist.npz"
    arrays = {key: value[:2] for key, value in mnist_arrays().items()}
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    whole, rng, refusals = path.read_bytes(), np.random.default_rng(0), []
    headers = [i for i in range(len(whole) - 4) if whole[i : i + 2] == b"PK"]
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.choice(headers, 2) + rng.integers(0, 180, 2):
            damaged[min(place, len(whole) - 1)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            parts, _ = open_mnist(tmp_path)
            parts["train"].take(np.arange(2))
            _ = parts["test"].classes
        except StudioError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(str(path) in refusal for refusal in refusals)


def write_sparse_npz(path: Path, images: int) -> None:
    """Writes a sparse npz with many images in x_train. zipfile would write all their zeros."""
    small = mnist_arrays()
    with zipfile.ZipFile(path, "w") as archive:
        for key, values in (small | {"y_train": np.zeros(images, np.uint8)}).items():
            if key != "x_train":
                with archive.open(f"{key}.npy", "w") as entry:
                    np.lib.format.write_array(entry, values)
        start = archive.fp.tell()
        head = tempfile.SpooledTemporaryFile()  # noqa: SIM115
        np.lib.format.write_array_header_1_0(
            head, {"descr": "|u1", "fortran_order": False, "shape": (images, 28, 28)}
        )
        size = head.tell() + images * 784
        head.seek(0)
        zip64 = struct.pack("<HHQQ", 1, 16, size, size)
        local = struct.pack(
            "<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, 0, 2**32 - 1, 2**32 - 1, 11, len(zip64)
        )
        archive.fp.write(local + b"x_train.npy" + zip64 + head.read())
        archive.fp.truncate(archive.fp.tell() + images * 784)
        archive.fp.seek(0, os.SEEK_END)
        info = zipfile.ZipInfo("x_train.npy")
        info.header_offset, info.file_size, info.compress_size, info.CRC = start, size, size, 0
        archive.filelist.append(info)
        archive.NameToInfo[info.filename] = info
        archive.start_dir = archive.fp.tell()


def test_images_are_mapped_beyond_memory(root: Path) -> None:
    images = 6_000_000  # 4.7 GB of digits
    write_sparse_npz(root / "mnist.npz", images)
    records = 800_000  # 2.5 GB of photographs, in one of the five files
    write_bin(root / "cifar-10-batches-bin", cifar_arrays())
    (root / "cifar10.npz").unlink()
    os.truncate(root / "cifar-10-batches-bin/data_batch_2.bin", records * RECORD.itemsize)
    if sum(path.stat().st_blocks for path in root.rglob("*") if path.is_file()) * 512 > 2**28:
        pytest.skip("this file system has no sparse files")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = CifarMnist(CifarMnistConfig(root=str(root)))
    assert data.size("train", "target") > records // 2
    shown = data.images("train", "target", np.arange(64))
    assert shown.shape == (64, 3, 64, 64)
    stored = open_npz(root / "mnist.npz", {"x_train": (None, 28, 28)})["x_train"]
    assert isinstance(stored.values, np.memmap)
    assert stored.values.shape == (images, 28, 28)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 400, f"{grown:.0f} MB for a batch of 64"
