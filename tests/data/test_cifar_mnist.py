"""cifar_mnist: composition, splits, options, and the real files."""

import hashlib
import os
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
from studio.data.sources.cifar import open_cifar
from studio.data.sources.mnist import open_mnist, pad_digits, resize_digits


def open_data(root: Path, **options: object) -> CifarMnist:
    return CifarMnist(CifarMnistConfig(root=str(root), **options))


def test_check_names_missing_files_with_place_and_layout(
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


def test_root_comes_from_the_environment_without_a_config(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(root))
    raw = {"data": {"name": "cifar_mnist"}, "method": {"name": "dig"}}
    assert resolve(raw, "x", "x").data.root == str(root)
    assert resolve(raw, "x", "x", ["data.root=elsewhere"]).data.root == "elsewhere"
    assert check(resolve(raw, "x", "x").data)["ok"]


def test_images_are_half_cifar_and_half_digit(root: Path) -> None:
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


def test_images_show_the_same_items_at_both_sizes(root: Path) -> None:
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
    assert at_64[0, 0] == 1  # resized to the whole frame, so corners match
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


def test_labels_match_the_composition(root: Path) -> None:
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


def test_items_never_change(root: Path) -> None:
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


def test_background_amplitude_dims_only_the_targets(root: Path) -> None:
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


def test_notes_state_an_unused_image(root: Path) -> None:
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
def test_real_files_have_the_known_classes() -> None:
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
        # Neighbouring pixels of a photograph are similar in every channel, unless it is scrambled.
        assert (images[..., 1:] - images[..., :-1]).abs().mean() < 0.5 * images.std()


@pytest.mark.skipif(
    "STUDIO_DATA" not in os.environ,
    reason="needs the real MNIST and CIFAR-10: set STUDIO_DATA to their folder",
)
@pytest.mark.parametrize("name", ["cifar_mnist", "grassy_mnist"])
def test_labels_of_the_real_files_belong_to_their_pictures(name: str) -> None:
    """A linear classifier of pixels can predict digits only from labels of the same picture."""
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
    # Not with the labels of the neighbours.
    assert classifier.score(pixels["test"], np.roll(digits["test"], 1)) < 0.2


def test_equal_test_digits_differ_by_one_at_most_and_leave_training_as_it_is(root: Path) -> None:
    usual, equal = open_data(root), open_data(root, test_digits="equal")
    spread = [
        np.ptp(np.bincount(d.labels("test", "target")["digit"], minlength=10))
        for d in (usual, equal)
    ]
    assert spread[0] > 1 >= spread[1]
    digits = [d.composition("train", "target")["digit"] for d in (usual, equal)]
    assert np.array_equal(*digits)
