"""MNIST and CIFAR-10 from their layouts, files that are missing or cut short, and cifar_mnist's composition and splits."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.source_files import TEST, TRAIN, cifar_arrays, mnist_arrays, write_bin, write_idx
from torch.nn.functional import avg_pool2d

from studio.config import resolve
from studio.data import DATASETS
from studio.data.catalogue import check
from studio.data.cifar_mnist import CifarMnist, CifarMnistConfig
from studio.data.io.files import open_npz
from studio.data.sources.cifar import open_cifar
from studio.data.sources.mnist import open_mnist, pad_digits, resize_digits
from studio.errors import StudioError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    np.savez(place / "mnist.npz", **mnist_arrays())
    np.savez(place / "cifar10.npz", **cifar_arrays())
    return place


def open_data(root: Path, **options: object) -> CifarMnist:
    return CifarMnist(CifarMnistConfig(root=str(root), **options))


@pytest.mark.parametrize("layout", ["stored", "compressed", "idx", "idx.gz", "torchvision"])
def test_every_layout_of_mnist_gives_the_same(tmp_path: Path, layout: str) -> None:
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
def test_every_layout_of_cifar_gives_channels_first(tmp_path: Path, layout: str) -> None:
    # Peers' trap 3: a reshape instead of a permutation scrambles colour images.
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


def test_plain_arrays_are_mapped_and_opening_reads_no_images(root: Path) -> None:
    arrays = open_npz(root / "cifar10.npz", {"x_train": (None, 32, 32, 3)})
    assert not arrays["x_train"].is_open
    assert isinstance(arrays["x_train"].values, np.memmap)
    # A loader process maps the file itself.
    assert not pickle.loads(pickle.dumps(arrays["x_train"])).is_open
    data = open_data(root)
    assert not any(array.is_open for part in open_cifar(root)[0].values() for array in part.arrays)
    assert data.size("train", "target")


def test_what_is_missing_is_named_with_its_place_and_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDIO_DATA", raising=False)
    assert "the environment variable STUDIO_DATA is not set" in problems(None)
    assert f"no folder {tmp_path}/nowhere" in problems(tmp_path / "nowhere")
    both = problems(tmp_path)
    for words in (
        f"no CIFAR-10 in {tmp_path}",
        "cifar-10-batches-bin/",
        f"no MNIST in {tmp_path}",
        "train-images-idx3-ubyte",
    ):
        assert words in both
    write_bin(tmp_path / "cifar-10-batches-bin", cifar_arrays())
    (tmp_path / "cifar-10-batches-bin/data_batch_3.bin").unlink()
    write_idx(tmp_path, mnist_arrays())
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    both = problems(tmp_path)
    assert f"{tmp_path}/cifar-10-batches-bin/data_batch_3.bin: missing" in both
    assert f"{tmp_path}: no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz" in both


def problems(root: Path | None) -> str:
    report = check(CifarMnistConfig(root=None if root is None else str(root)))
    assert report["ok"] is (not report["problems"])
    return "\n".join(report["problems"])


def test_the_environment_says_where_files_are_unless_the_config_does(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(root))
    raw = {"data": {"name": "cifar_mnist"}, "method": {"name": "dig"}}
    assert resolve(raw, "x", "x").data.root == str(root)
    assert resolve(raw, "x", "x", ["data.root=elsewhere"]).data.root == "elsewhere"
    assert check(resolve(raw, "x", "x").data)["ok"]


def test_the_python_version_is_refused_by_name_and_never_opened(tmp_path: Path) -> None:
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
def test_damaged_files_are_named(tmp_path: Path, kind: str) -> None:
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
def test_an_npz_of_another_layout_is_refused_with_what_was_found(
    tmp_path: Path, change: dict, expected: str
) -> None:
    arrays = {k: v for k, v in (mnist_arrays() | change).items() if v is not None}
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(StudioError) as caught:
        open_mnist(tmp_path)
    assert expected in str(caught.value)


def test_an_entry_that_is_shorter_than_its_header_says_is_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", **mnist_arrays())
    with (
        zipfile.ZipFile(tmp_path / "whole.npz") as whole,
        zipfile.ZipFile(tmp_path / "mnist.npz", "w") as short,
    ):
        for name in whole.namelist():
            short.writestr(name, whole.read(name)[: -100 if name == "x_train.npy" else None])
    with pytest.raises(StudioError, match="x_train is cut short"):
        open_mnist(tmp_path)


def test_target_is_half_of_either_and_background_half_alone(root: Path) -> None:
    data, cifar, mnist = open_data(root, resolution=32), cifar_arrays(), mnist_arrays()
    for split in ("train", "test"):
        x, y = (data.images(split, domain, range(20)) for domain in ("background", "target"))
        assert x.shape == y.shape == (20, 3, 32, 32)
        assert x.dtype == torch.float32
        tables = [data.composition(split, domain) for domain in ("background", "target")]
        photographs = [
            torch.from_numpy(cifar[f"x_{split}"][t["object"][:20]] / 255).permute(0, 3, 1, 2)
            for t in tables
        ]
        digits = torch.zeros(20, 1, 32, 32, dtype=torch.float64)
        digits[:, 0, 2:30, 2:30] = torch.from_numpy(
            mnist[f"x_{split}"][tables[1]["digit"][:20]] / 255
        )
        assert torch.allclose(x.double(), photographs[0] - 1, atol=1e-5)
        assert torch.allclose(y.double(), photographs[1] + digits - 1, atol=1e-5)
        assert x.max() <= 0
        assert y.abs().max() <= 1


def test_both_sizes_show_the_same_items_resized_to_the_frame(root: Path) -> None:
    small, large = open_data(root, resolution=32), open_data(root)
    assert large.shape == (3, 64, 64)
    a, b = (
        small.images("test", "background", range(8)),
        large.images("test", "background", range(8)),
    )
    assert np.corrcoef(a.flatten(), avg_pool2d(b, 2).flatten())[0, 1] > 0.94
    assert np.array_equal(
        small.labels("test", "target")["digit"], large.labels("test", "target")["digit"]
    )
    digit = np.zeros((1, 28, 28), np.uint8)
    digit[0, 0, 0], digit[0, 27, 20] = 255, 255
    at_64, at_32 = resize_digits(digit, 64)[0], pad_digits(digit, 32)[0]
    assert at_64[0, 0] == 1  # resized to the whole frame, corner on corner
    assert at_64[63, 47] > 0.5
    assert at_32[2, 2] == at_32[29, 22] == 1
    assert at_32.sum() == 2


def test_domains_share_no_image_and_splits_share_no_digit(root: Path) -> None:
    # The authors' evaluation shows digits of the training part.
    data = open_data(root)
    for split, n in (("train", TRAIN), ("test", TEST)):
        used = [data.composition(split, domain)["object"] for domain in ("background", "target")]
        assert sorted(np.concatenate(used)) == list(range(n))
        assert data.size(split, "background") == data.size(split, "target") == n // 2
        assert data.composition(split, "target")["digit"].max() < n
    shown = {}
    for split in ("train", "test"):
        y = open_data(root, resolution=32, background_amplitude=0).images(
            split, "target", range(20)
        )
        shown[split] = {
            tuple(digit.flatten().tolist()) for digit in y[:, 0, 2:30, 2:30].mul(255).round().int()
        }
        own = mnist_arrays()[f"x_{split}"].astype(int) - 255
        assert shown[split] <= {tuple(digit.ravel().tolist()) for digit in own}
    assert not shown["train"] & shown["test"]


def test_labels_say_what_is_shown(root: Path) -> None:
    data, cifar, mnist = open_data(root), cifar_arrays(), mnist_arrays()
    assert data.attributes["digit"].target_only
    assert (data.attributes["digit"].belongs, data.attributes["object"].belongs) == (
        "salient",
        "common",
    )
    assert set(data.labels("train", "background")) == {"object"}
    labels, table = data.labels("test", "target"), data.composition("test", "target")
    assert np.array_equal(labels["object"], cifar["y_test"][table["object"]])
    assert np.array_equal(labels["digit"], mnist["y_test"][table["digit"]])


def test_item_i_is_the_same_for_ever(root: Path) -> None:
    data = open_data(root)
    chosen = data.images("train", "target", [3, 44])
    assert torch.equal(data.images("train", "target", [44, 0])[0], chosen[1])
    assert torch.equal(open_data(root).images("train", "target", [3, 44]), chosen)
    columns = [
        data.composition(split, "target")[name]
        for split in ("train", "test")
        for name in ("object", "digit")
    ]
    digest = hashlib.sha256(np.concatenate(columns).astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("dd9914122ad37bd8"), digest


def test_contamination_is_seeded_nested_and_only_in_train(root: Path) -> None:
    clean = open_data(root)
    some, more = (
        open_data(root, contamination_background=share, contamination_target=share)
        for share in (0.3, 0.6)
    )
    for domain, usual in (("background", False), ("target", True)):
        odd = [d.composition("train", domain)["salient"] != usual for d in (clean, some, more)]
        assert odd[0].sum() == 0 < odd[1].sum() < odd[2].sum() < 45
        assert not (odd[1] & ~odd[2]).any()
        a, b = clean.images("train", domain, range(45)), some.images("train", domain, range(45))
        assert np.array_equal((a != b).flatten(1).any(1), odd[1])
        assert torch.equal(
            clean.images("test", domain, range(20)), some.images("test", domain, range(20))
        )
    assert np.array_equal(
        some.labels("train", "target")["digit"] == -1,
        ~some.composition("train", "target")["salient"],
    )


def test_background_amplitude_dims_the_targets_alone(root: Path) -> None:
    full, none = (
        open_data(root, resolution=32),
        open_data(root, resolution=32, background_amplitude=0),
    )
    assert torch.equal(
        full.images("train", "background", range(4)), none.images("train", "background", range(4))
    )
    y = none.images("train", "target", range(4))
    assert (y[:, :, 0] == -1).all()  # the padding around the digit
    assert torch.equal(y[:, 0], y[:, 2])
    with pytest.raises(ValueError, match=r"less than or equal to 0\.5"):
        open_data(root, background_amplitude=0.8)


def test_a_spare_image_is_stated(root: Path) -> None:
    arrays = cifar_arrays()
    np.savez(
        root / "cifar10.npz",
        **(arrays | {"x_train": arrays["x_train"][:89], "y_train": arrays["y_train"][:89]}),
    )
    data = open_data(root)
    assert data.size("train", "target") == 44
    assert (
        "one image of CIFAR-10's train part is left over: both domains get as many" in data.notes()
    )


@pytest.mark.skipif(
    "STUDIO_DATA" not in os.environ,
    reason="needs the real MNIST and CIFAR-10: set STUDIO_DATA to their folder",
)
def test_the_real_files() -> None:
    config = CifarMnistConfig(root=os.environ["STUDIO_DATA"])
    if not check(config)["ok"]:
        pytest.skip(check(config)["problems"][0])
    data = CifarMnist(config)
    mnist, cifar = (open_source(Path(config.root))[0] for open_source in (open_mnist, open_cifar))
    assert mnist["train"].classes[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert mnist["test"].classes[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(cifar["test"].classes, minlength=10).std() == 0
    for domain in ("background", "target"):
        images = data.images("train", domain, range(64))
        assert images.abs().max() <= 1
        # Neighbouring pixels of a photograph are alike in every channel. Those of a scrambled photograph are not.
        assert (images[..., 1:] - images[..., :-1]).abs().mean() < 0.5 * images.std()


@pytest.mark.skipif(
    "STUDIO_DATA" not in os.environ,
    reason="needs the real MNIST and CIFAR-10: set STUDIO_DATA to their folder",
)
@pytest.mark.parametrize("name", ["cifar_mnist", "grassy_mnist"])
def test_labels_of_the_real_files_belong_to_their_pictures(name: str) -> None:
    """A linear classifier of pixels tells digits: hopeless if a label were that of another picture."""
    from sklearn.linear_model import LogisticRegression

    options = (
        {"resolution": 32, "background_amplitude": 0.0}
        if name == "cifar_mnist"
        else {"grass_scale": 0.0}
    )
    config = DATASETS[name].Config(root=os.environ["STUDIO_DATA"], **options)
    if not check(config)["ok"]:
        pytest.skip(check(config)["problems"][0])
    data = DATASETS[name](config)
    pixels, digits = {}, {}
    for split, n in (("train", 2000), ("test", 1000)):
        pixels[split] = data.images(split, "target", range(n))[:, 0].flatten(1).numpy()
        digits[split] = data.labels(split, "target")["digit"][:n]
    classifier = LogisticRegression(C=0.01, max_iter=200).fit(pixels["train"], digits["train"])
    assert classifier.score(pixels["test"], digits["test"]) > 0.8
    assert (
        classifier.score(pixels["test"], np.roll(digits["test"], 1)) < 0.2
    )  # the labels of the neighbours do not do
