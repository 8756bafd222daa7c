"""Hostile data, through the command line: one clear line that names what is wrong, or a note, and never a traceback."""

import json
import os
import resource
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.source_files import cifar_arrays, mnist_arrays, write_bin, write_idx

from studio import cli
from studio.data import DATASETS
from studio.data.cifar_mnist import CifarMnist, CifarMnistConfig
from studio.data.io.files import open_npz
from studio.data.sources.cifar import RECORD
from studio.data.sources.mnist import open_mnist
from studio.errors import StudioError

FILES = ("cifar_mnist", "dsprites_mnist", "grassy_mnist")  # the sets that read files of STUDIO_DATA
KEYS = [
    "name",
    "ok",
    "root",
    "expected",
    "counts",
    "shape",
    "attributes",
    "notes",
    "quarantined",
    "problems",
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    np.savez(place / "mnist.npz", **mnist_arrays())
    np.savez(place / "cifar10.npz", **cifar_arrays())
    monkeypatch.setenv("STUDIO_DATA", str(place))
    return place


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs a command as the console script does; whatever escapes it, escapes here."""

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr("sys.argv", ["studio", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return SimpleNamespace(code=stopped.value.code or 0, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def problem(studio):
    """Checks a data set that is not usable; returns its one problem, and sees that `preview` says the same."""

    def run(name: str, *words: str) -> str:
        checked = studio("data", "check", name, "--json", *words)
        report = json.loads(checked.out)
        assert (checked.code, checked.err, report["ok"], list(report)) == (1, "", False, KEYS)
        (text,) = report["problems"]
        drawn = studio("data", "preview", name, *words)
        assert (drawn.code, drawn.out, drawn.err) == (2, "", f"error: {text}\n")
        assert not Path("preview.png").exists()
        return text

    return run


def notes(studio, name: str, *words: str) -> list[str]:
    checked = studio("data", "check", name, "--json", *words)
    report = json.loads(checked.out)
    assert (checked.code, report["ok"], list(report)) == (0, True, KEYS)
    return report["notes"]


# ---- the folder ----


@pytest.mark.parametrize("name", FILES)
def test_without_a_folder_the_report_says_what_is_expected_where(
    problem, studio, monkeypatch, name: str
) -> None:
    monkeypatch.delenv("STUDIO_DATA", raising=False)
    text = problem(name)
    assert text.startswith(
        "data.root: not given, and the environment variable STUDIO_DATA is not set; expected "
    )
    report = json.loads(studio("data", "check", name, "--json").out)
    assert report["root"] is None
    assert "ROOT/mnist.npz" in report["expected"]
    assert report["expected"] == DATASETS[name].LAYOUT


def test_the_report_has_the_same_keys_whatever_is_found(studio, root: Path) -> None:
    for name in DATASETS:
        report = json.loads(studio("data", "check", name, "--json").out)
        assert list(report) == KEYS
        assert report["ok"] is (
            name not in ("folders", "brats")
        )  # whose files are nobody's but the user's
        assert report["root"] == (str(root) if name in (*FILES, "brats") else None)
    report = json.loads(studio("data", "check", "folders", "--json").out)
    assert "data.root: missing: the folder with your images" in report["problems"][0]
    assert report["expected"].startswith("ROOT/background/... and ROOT/target/...")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("absent", "no folder "),
        ("file", "is a file, not a folder"),
        ("empty", "no MNIST in "),
        ("~", "no folder "),
    ],
)
def test_a_folder_that_is_none_or_empty(
    problem, tmp_path: Path, monkeypatch, name: str, kind: str, expected: str
) -> None:
    place = {"~": "~nobody-has-this-name/x"}.get(kind, str(tmp_path / kind))
    if kind == "file":
        Path(place).write_text("x")
    elif kind == "empty":
        Path(place).mkdir()
    monkeypatch.setenv("STUDIO_DATA", place)
    text = problem(name)
    assert expected in text
    assert place in text
    assert kind == "empty" or text.startswith("STUDIO_DATA (data.root): ")
    monkeypatch.delenv("STUDIO_DATA")
    assert kind == "empty" or problem(name, "--set", f"data.root={place}").startswith("data.root: ")


@pytest.fixture
def place_of_others() -> Iterator[Path]:
    """A folder in which this process, whoever runs it, may not read what is closed."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        was = os.geteuid()
        if was == 0:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(was)


@pytest.mark.parametrize("kind", ["folder", "file", "above"])
def test_what_must_not_be_read_is_said_to_be_so(
    problem, place_of_others: Path, monkeypatch, kind: str
) -> None:
    place = place_of_others / "mine" / "data"
    place.mkdir(parents=True)
    np.savez(place / "mnist.npz", **mnist_arrays())
    closed = {"folder": place, "file": place / "mnist.npz", "above": place.parent}[kind]
    closed.chmod(0)
    try:
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.chdir(place_of_others)
        text = problem("grassy_mnist", "--set", f"data.root={place}")
    finally:
        closed.chmod(0o700)
    assert str(place) in text
    assert "cannot be read: Permission denied" in text


# ---- files ----


def test_a_broken_file_is_named_by_every_set_that_reads_it(problem, root: Path) -> None:
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
def test_idx_files_at_fault(problem, root: Path, kind: str, packed: bool) -> None:
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


def test_the_python_version_of_cifar_is_never_opened(problem, root: Path) -> None:
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
def test_wrong_types_counts_and_labels_are_found_by_check(
    studio, root: Path, name: str, change: dict, expected: str
) -> None:
    np.savez(root / "mnist.npz", **(mnist_arrays() | change))
    checked = studio("data", "check", name)
    assert checked.code == 1
    assert f"problem: {root / 'mnist.npz'}: " in checked.out
    assert expected in checked.out


@pytest.mark.parametrize("compressed", [False, True])
def test_a_spare_axis_changes_nothing(studio, root: Path, compressed: bool) -> None:
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
def test_no_damage_to_an_npz_escapes(tmp_path: Path, compressed: bool) -> None:
    """Bytes changed in every part of the file: a StudioError that names it, or values as if nothing had happened."""
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


# ---- options, classes, counts ----


def test_names_that_do_not_exist_get_the_nearest_one(studio, problem, root: Path) -> None:
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


def test_a_picture_needs_a_name_that_says_its_format(studio, tmp_path: Path) -> None:
    for out in ("x.foo", "x", str(tmp_path)):
        done = studio("data", "preview", "textured_digits", "--out", out)
        assert (done.code, done.err) == (
            2,
            f"error: --out {out}: expected a name that ends in .png, .jpg or .webp\n",
        )


def test_constant_empty_and_single_classes_are_stated(studio, root: Path) -> None:
    arrays = mnist_arrays()
    labels = np.where(arrays["y_test"] == 7, 1, arrays["y_test"])
    labels[np.flatnonzero(labels == 5)[1:]] = 1
    np.savez(root / "mnist.npz", **(arrays | {"y_test": labels.astype(np.uint8)}))
    assert "attribute digit: the test split has no target image of 7" in notes(
        studio, "grassy_mnist"
    )
    cifar = cifar_arrays()
    cifar["y_test"] = np.where(np.arange(40) == 11, 4, 9).astype(np.uint8)
    np.savez(root / "cifar10.npz", **cifar)
    found = [note for note in notes(studio, "cifar_mnist") if "object" in note and "test" in note]
    assert "only one" in " ".join(found)
    assert any("has the same value on every" in note for note in found)
    np.savez(root / "mnist.npz", **(arrays | {"y_test": np.full(40, 3, np.uint8)}))
    same = "attribute digit has the same value on every target image of the test split"
    assert same in notes(studio, "grassy_mnist")


def test_more_targets_than_digits_are_stated_as_repetitions(studio, problem, root: Path) -> None:
    assert "25000 train targets show 90 digits of MNIST, 278 times each on average" in notes(
        studio, "grassy_mnist"
    )
    few = notes(studio, "grassy_mnist", "--set", "data.train_target=90")
    assert not [note for note in few if "train targets show" in note]
    for value, found in (
        ("0", "greater than or equal to 1"),
        ("1000000000000", "less than or equal to 10000000"),
    ):
        text = problem("grassy_mnist", "--set", f"data.train_target={value}")
        assert f"data.train_target: found {value}, expected {found}" in text
    assert "data.background_noise: found inf" in problem(
        "grassy_mnist", "--set", "data.background_noise=.inf"
    )


def test_a_folder_of_grass_that_cannot_serve(problem, studio, root: Path, tmp_path: Path) -> None:
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
    assert (
        drawn.err
        == f"error: {tmp_path / 'grass/5.png'}: is neither a PNG nor a JPEG, whatever its name says\n"
    )


# ---- larger than memory ----


def write_sparse_npz(path: Path, images: int) -> None:
    """Writes an npz whose x_train has room for many images but takes none: by hand, since zipfile would write its zeros."""
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


def test_images_beyond_memory_are_mapped_and_a_batch_reads_only_itself(root: Path) -> None:
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
