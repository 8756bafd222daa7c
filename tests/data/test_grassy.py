"""grassy_mnist: the three published modes, sources of grass, splits and options."""

import hashlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from support.source_files import mnist_arrays

from studio.data import grassy_mnist
from studio.data.grassy_mnist import GrassyMnist, GrassyMnistConfig
from studio.data.sources.grass import GrassFolder, GrassPhotograph
from studio.errors import StudioError

PLACES = tuple(product(("train", "test"), ("background", "target")))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(grassy_mnist, "TEST", 40)
    place = tmp_path / "files"
    place.mkdir()
    np.savez(place / "mnist.npz", **mnist_arrays())
    return place


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """60 photographs, each with its own brightness."""
    place = tmp_path / "grass"
    (place / "n12102133").mkdir(parents=True)
    for i in range(60):
        Image.new("RGB", (80, 60), (4 * i,) * 3).save(place / "n12102133" / f"{i:02}.png")
    return place


def open_data(root: Path, **options: object) -> GrassyMnist:
    return GrassyMnist(
        GrassyMnistConfig(root=str(root), **{"train_background": 50, "train_target": 60, **options})
    )


def parts(
    data: GrassyMnist, split: str, domain: str, n: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns grass and digits in [0, 1], and the images in [0, 1]."""
    table = data.composition(split, domain)
    grass = torch.from_numpy(data.grass.take(split, domain, table["where"][:n]))
    digits = torch.from_numpy(mnist_arrays()[f"x_{split}"][table["digit"][:n]] / np.float32(255))
    return grass, digits, (data.images(split, domain, range(n))[:, 0] + 1) / 2


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("mode", "amplitude"), [("linear", 0.5), ("nonlinear", 0.5), ("abid", 2 / 3)]
)
def test_images_follow_the_published_mode_and_stay_in_range(
    root: Path, mode: str, amplitude: float, split: str
) -> None:
    data = open_data(root, mode=mode)
    grass, digits, images = parts(data, split, "target", 40)
    expected = amplitude * grass + (1 - amplitude) * digits
    if mode == "nonlinear":
        assert 0.02 < (grass <= 0.3).float().mean() < 0.5
        expected = expected * (grass > 0.3)
    assert torch.allclose(images, expected, atol=1e-6)
    grass, _, images = parts(data, split, "background", 40)
    assert torch.allclose(images, amplitude * grass, atol=1e-6)  # as dim as in the targets
    assert images.min() >= 0
    assert expected.max() <= 1
    _, _, images = parts(open_data(root, mode=mode, dim_background=False), split, "background", 40)
    assert torch.allclose(images, grass, atol=1e-6)


def test_abid_mode_has_three_digits(root: Path) -> None:
    assert open_data(root).attributes["digit"].classes == tuple("0123456789")
    data = open_data(root, mode="abid")
    assert data.attributes["digit"].classes == ("0", "1", "2")
    for split in ("train", "test"):
        assert set(data.labels(split, "target")["digit"]) == {0, 1, 2}
        assert data.labels(split, "background") == {}
        assert np.array_equal(
            data.labels(split, "target")["digit"],
            mnist_arrays()[f"y_{split}"][data.composition(split, "target")["digit"]],
        )


def test_targets_show_all_digits_before_one_repeats(root: Path) -> None:
    shown = open_data(root, train_target=200).composition("train", "target")["digit"]
    assert sorted(shown[:90]) == sorted(shown[90:180]) == list(range(90))


def test_grass_photograph_has_separate_regions_per_split() -> None:
    import skimage.data

    grass = GrassPhotograph()
    train, test = grass.regions["train"], grass.regions["test"]
    assert train.shape == (256, 179)
    assert test.shape == (256, 77)
    blocks = skimage.data.grass().reshape(256, 2, 256, 2).mean((1, 3)) / 255
    assert np.allclose(np.concatenate([train, test], 1), blocks, atol=1e-5)
    corners = np.array(
        [
            [0, 0, 0, 0.9, 0.9],
            [0, 0.9999, 0.9999, 0.9, 0.9],
            [0, 0, 0, 0.1, 0.9],
            [0, 0, 0, 0.9, 0.1],
        ]
    )
    pieces = grass.take("train", "target", corners)
    assert np.array_equal(pieces[0], train[:28, :28])
    assert np.array_equal(pieces[1], train[-28:, -28:])
    assert np.array_equal(pieces[2], train[:28, :28][:, ::-1])
    assert np.array_equal(pieces[3], train[:28, :28][::-1])


def test_grass_folder_uses_a_photograph_for_one_split_and_domain(
    root: Path, photographs: Path
) -> None:
    data = open_data(root, grass_root=str(photographs), dim_background=False)
    before = {place: data.grass.file_names(*place) for place in PLACES}
    names = [name for files in before.values() for name in files]
    assert len(names) == len(set(names)) == 60
    shown = {}
    for split in ("train", "test"):
        for domain in ("background", "target"):
            grass, _, _ = parts(data, split, domain, 40)
            shown[split, domain] = {
                round(float(value) * 255 / 4) for value in grass.flatten(1).mean(1)
            }
            own = {int(Path(name).stem) for name in before[split, domain]}
            assert shown[split, domain] <= own
            assert len(shown[split, domain]) > len(own) / 2
    assert "by their names: " in data.notes()[-1]
    Image.new("L", (64, 64), 9).save(photographs / "a_new_one.png")
    after = GrassFolder(str(photographs))
    assert all(set(names) <= set(after.file_names(*place)) for place, names in before.items())


def test_grass_folder_is_named_when_unusable(root: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        StudioError, match=r"data.grass_root: no folder .*nowhere; expected data.grass_root=FOLDER"
    ):
        open_data(root, grass_root=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        StudioError, match=r"none of the 0 photographs in .*empty falls to background train"
    ):
        open_data(root, grass_root=str(tmp_path / "empty"))
    for path in photographs.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(StudioError, match=r"n12102133/\d\d.png"):
        open_data(root, grass_root=str(photographs)).images("train", "target", range(4))


def test_grass_scale_dims_only_the_targets_grass(root: Path) -> None:
    usual, none, half = (
        open_data(root, mode="abid", grass_scale=scale) for scale in (None, 0, 1.0)
    )
    grass, digits, images = parts(half, "train", "target", 20)
    assert torch.allclose(images, (grass + digits) / 3, atol=1e-6)
    _, digits, images = parts(none, "train", "target", 20)
    assert torch.allclose(images, digits / 3, atol=1e-6)
    assert torch.equal(
        usual.images("train", "background", range(9)), none.images("train", "background", range(9))
    )
    with pytest.raises(
        ValidationError, match=r"grass_scale: found 1\.5, expected at most 1 for linear"
    ):
        open_data(root, grass_scale=1.5)


def test_noise_is_per_item_and_only_in_the_training_background(root: Path) -> None:
    clean, noisy = open_data(root, mode="abid"), open_data(root, mode="abid", background_noise=1)
    a, b = (data.images("train", "background", range(50)) for data in (clean, noisy))
    assert (b - a).std() == pytest.approx(2 * (2 / 3) * clean.grass.std, rel=0.1)
    assert torch.equal(noisy.images("train", "background", [7, 3])[1], b[3])
    for split, domain in (("train", "target"), ("test", "background"), ("test", "target")):
        assert torch.equal(
            clean.images(split, domain, range(9)), noisy.images(split, domain, range(9))
        )
    assert not [note for note in clean.notes() if "beyond" in note]
    loud = open_data(root, background_noise=2)
    assert "of the training background's pixels beyond black or white" in loud.notes()[-1]
    assert loud.images("train", "background", range(9)).abs().max() == 1


def test_contamination_and_sizes_follow_the_config(root: Path) -> None:
    clean, mixed = (
        open_data(root),
        open_data(root, contamination_background=0.5, contamination_target=0.5),
    )
    assert (
        clean.size("train", "background"),
        clean.size("train", "target"),
        clean.size("test", "target"),
    ) == (50, 60, 40)
    assert clean.images("train", "target", [59]).shape == (1, 1, 28, 28)
    for domain, usual in (("background", False), ("target", True)):
        odd = mixed.composition("train", domain)["salient"] != usual
        assert 10 < odd.sum() < 40
        a, b = clean.images("train", domain, range(50)), mixed.images("train", domain, range(50))
        assert np.array_equal((a != b).flatten(1).any(1), odd[:50])
        assert torch.equal(
            clean.images("test", domain, range(9)), mixed.images("test", domain, range(9))
        )
    missing = mixed.labels("train", "target")["digit"] == -1
    assert np.array_equal(missing, ~mixed.composition("train", "target")["salient"])


def test_items_do_not_change_when_there_are_more(root: Path) -> None:
    few, many = open_data(root), open_data(root, train_background=500, train_target=500)
    for domain in ("background", "target"):
        assert torch.equal(
            few.images("train", domain, range(50)), many.images("train", domain, range(50))
        )


def test_items_never_change(root: Path) -> None:
    data = open_data(root)
    chosen = data.images("train", "target", [3, 44])
    assert torch.equal(data.images("train", "target", [44, 0])[0], chosen[1])
    where = (
        np.concatenate(
            [data.composition(split, "target")["where"][:20] for split in ("train", "test")]
        )
        * 2**30
    ).astype("<i8")
    digits = data.composition("train", "target")["digit"].astype("<i8")
    digest = hashlib.sha256(where.tobytes() + digits.tobytes()).hexdigest()
    assert digest.startswith("64e9f9a292fe17f9"), digest


def test_rho_and_threshold_are_those_of_equations_10_and_11(root: Path) -> None:
    data = open_data(root, mode="nonlinear", rho=0.7, threshold=0.4)
    grass, digits, images = parts(data, "train", "target", 40)
    assert torch.allclose(images, (0.7 * grass + 0.3 * digits) * (grass > 0.4), atol=1e-6)
    grass, _, images = parts(data, "train", "background", 40)
    assert torch.allclose(images, 0.7 * grass, atol=1e-6)
    with pytest.raises(ValidationError, match="rho: grass_scale sets the same weight"):
        open_data(root, rho=0.7, grass_scale=0.5)


def test_colour_applies_equation_11_to_each_channel(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "colour"
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(60):
        pixels = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{i:02}.png")
    data = open_data(root, mode="nonlinear", channels=3, grass_root=str(place))
    table = data.composition("train", "target")
    grass = torch.from_numpy(data.grass.take("train", "target", table["where"][:20]))
    digits = torch.from_numpy(mnist_arrays()["x_train"][table["digit"][:20]] / np.float32(255))
    images = (data.images("train", "target", range(20)) + 1) / 2
    assert images.shape == (20, 3, 28, 28)
    assert (grass[:, 0] - grass[:, 1]).abs().mean() > 0.05
    for c in range(3):
        expected = (0.5 * grass[:, c] + 0.5 * digits) * (grass[:, c] > 0.3)
        assert torch.allclose(images[:, c], expected, atol=1e-6)
    gray = open_data(root, channels=3)
    assert any("three channels are equal" in note for note in gray.notes())
    assert torch.equal(
        gray.images("test", "background", range(5)),
        open_data(root).images("test", "background", range(5)).expand(-1, 3, -1, -1),
    )


def test_equal_digits_are_on_as_many_targets(root: Path) -> None:
    def count(digits: str) -> np.ndarray:
        # Fewer targets than there are digits to draw from, or a random draw would be equal as well.
        data = open_data(root, digits=digits, train_target=53)
        return np.bincount(data.labels("train", "target")["digit"], minlength=10)

    usual, equal = count("random"), count("equal")
    assert usual.sum() == equal.sum() == 53
    assert np.ptp(usual) > 1 >= np.ptp(equal)
