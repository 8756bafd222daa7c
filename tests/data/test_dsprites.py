"""dSprites: the renderer and the original file. dsprites_mnist: composition, factors and splits."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.source_files import mnist_arrays

from studio.data import dsprites_mnist
from studio.data.catalogue import check
from studio.data.dsprites_mnist import DspritesMnist, DspritesMnistConfig
from studio.data.sources import dsprites
from studio.data.sources.dsprites import (
    COUNTS,
    FRAMES,
    SpritesFile,
    orientation_phase,
    render_sprites,
)
from studio.errors import StudioError

ALL = ["shape", "scale", "orientation", "pos_x", "pos_y"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    np.savez(place / "mnist.npz", **mnist_arrays())
    return place


def open_data(root: Path, **options: object) -> DspritesMnist:
    return DspritesMnist(DspritesMnistConfig(root=str(root), **options))


def some_factors(n: int, seed: int = 0) -> np.ndarray:
    return np.stack(
        [np.random.default_rng((seed, i)).integers(0, count, n) for i, count in enumerate(COUNTS)],
        1,
    )


def test_render_sprites_matches_the_published_frames() -> None:
    """All 258 different frames of the authors' animation, compared by their digests."""
    turned = [[5, orientation, 0, 0] for orientation in range(40)] + [
        [scale, 0, 0, 0] for scale in range(6)
    ]
    edge = [[x, y] for y in (0, 31) for x in range(32)] + [
        [x, y] for x in (0, 31) for y in range(32)
    ]
    groups = {
        "cf6ba0f399d2b3b5": [[0, *rest] for rest in turned],
        "4e43dcceeab45414": [[1, *rest] for rest in turned],
        "85f0bddc657cddc9": [[2, *rest] for rest in turned],
        "e50d2b5eb2c459e5": [[2, 5, 0, *place] for place in edge],
    }
    for genuine, factors in groups.items():
        digest = hashlib.sha256(
            np.packbits(render_sprites(np.array(factors))).tobytes()
        ).hexdigest()
        assert digest.startswith(genuine), (factors[0], digest)


def test_render_sprites_has_the_geometry_of_the_data_set() -> None:
    largest = [[shape, 5, 0, 15, 15] for shape in range(3)]
    rows = [np.flatnonzero(frame.any(1)) for frame in render_sprites(np.array(largest))]
    columns = [np.flatnonzero(frame.any(0)) for frame in render_sprites(np.array(largest))]
    assert [len(c) for c in columns] == [19, 25, 19]
    assert [len(r) for r in rows] == [19, 15, 19]
    square = render_sprites(np.array([[0, scale, 0, 0, 0] for scale in range(6)])).sum((1, 2))
    assert (np.diff(square) > 0).all()
    # The first position is at 16 and the last at 48 px. x is the column, y the row.
    for x, y in ((0, 31), (31, 0)):
        row, column = np.argwhere(render_sprites(np.array([[1, 3, 0, x, y]]))[0]).mean(0) + 0.5
        assert (column, row) == pytest.approx((16 + 32 * x / 31, 16 + 32 * y / 31), abs=0.05)


def test_render_sprites_turns_anticlockwise_by_a_full_circle() -> None:
    factors = some_factors(90)
    first, last = factors.copy(), factors.copy()
    first[:, 2], last[:, 2] = 0, 39
    assert np.array_equal(render_sprites(first), render_sprites(last))
    assert np.cos(orientation_phase(first)) == pytest.approx(np.cos(orientation_phase(last)))
    row, column = np.argwhere(
        render_sprites(np.array([[2, 5, 5, 15, 15]]))[0]
    ).T  # a heart, turned by 46 degrees
    upright = np.argwhere(render_sprites(np.array([[2, 5, 0, 15, 15]]))[0]).T
    assert (
        upright[0].max() - upright[0].mean() > upright[0].mean() - upright[0].min()
    )  # its tip is below
    # Anticlockwise on the screen, the tip goes from below to below right.
    tip = np.argmax(np.hypot(row - row.mean(), column - column.mean()))
    assert row[tip] > row.mean()
    assert column[tip] > column.mean()


def test_render_sprites_refuses_invalid_class_numbers() -> None:
    for factors in ([[3, 0, 0, 0, 0]], [[0, 0, -1, 0, 0]], [[0, 0, 0, 0]], [0, 0, 0, 0, 0]):
        with pytest.raises(ValueError, match="class numbers"):
            render_sprites(np.array(factors))


@pytest.mark.skipif(
    "STUDIO_DATA" not in os.environ,
    reason="needs dSprites' genuine frames: set STUDIO_DATA to their folder",
)
def test_render_sprites_matches_the_genuine_frames() -> None:
    """The frames of the authors' animation: `gif_bits` (320, 512), `gif_latents` (320, 5)."""
    path = Path(os.environ["STUDIO_DATA"]) / "dsprites.npz"
    if not path.is_file() or "gif_bits.npy" not in zipfile.ZipFile(path).namelist():
        pytest.skip(f"{path} has no genuine frames (gif_bits)")
    with np.load(path) as file:
        genuine, latents = (
            np.unpackbits(file["gif_bits"], axis=1).reshape(-1, 64, 64),
            file["gif_latents"],
        )
    exact = (render_sprites(latents) == genuine).all((1, 2))
    assert len(exact) == 320
    assert exact.sum() >= 300, f"{exact.sum()} of 320"


def test_background_is_a_grid_of_digits_at_half_brightness(root: Path) -> None:
    data, classes = open_data(root), mnist_arrays()["y_train"]
    x = data.images("train", "background", range(16))
    assert x.shape == (16, 1, 64, 64)
    assert x.dtype == torch.float32
    assert x.max() <= 0
    table = data.composition("train", "background")["digits"][:16]
    assert (classes[table] == [1, 2, 3, 4]).all()
    bright = mnist_arrays()
    for digit in (1, 2, 3, 4):  # only one class is bright
        images = np.where((bright["y_train"] == digit)[:, None, None], 255, 0) * np.ones(
            (1, 28, 28)
        )
        np.savez(root / "mnist.npz", **(bright | {"x_train": images.astype(np.uint8)}))
        image = open_data(root).images("train", "background", [0])[0, 0]
        top, left = 32 * ((digit - 1) // 2), 32 * ((digit - 1) % 2)
        assert (image[top : top + 32, left : left + 32] == 0).all()
        assert (image == 0).sum() == 32 * 32


def test_target_is_a_grid_with_a_sprite_on_top(root: Path) -> None:
    data = open_data(root)
    y, frames = (
        data.images("test", "target", range(40)),
        torch.from_numpy(render_sprites(data.factors("test")[:40])).bool(),
    )
    assert (y[:, 0][frames] == 1).all()
    assert y[:, 0][~frames].max() <= 0
    assert y.min() >= -1


def test_images_of_keeps_the_sprite_and_changes_the_grid(root: Path) -> None:
    data, factors = open_data(root), some_factors(6)
    a, b, other = (data.images_of(factors, seed) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    frames = torch.from_numpy(render_sprites(factors)).bool()
    assert (a[:, 0][frames] == 1).all()
    assert (other[:, 0][frames] == 1).all()
    assert a[:, 0][~frames].max() <= 0
    assert not torch.equal(a, other)
    with pytest.raises(ValueError, match="class numbers"):
        data.images_of(np.array([[0, 6, 0, 0, 0]]), 1)


def test_labels_follow_from_factors(root: Path) -> None:
    data = open_data(root)
    assert list(data.attributes) == ALL
    assert all(a.belongs == "salient" and a.target_only for a in data.attributes.values())
    assert data.labels("test", "background") == {}
    factors, labels = data.factors("test"), data.labels("test", "target")
    assert factors.shape == (7000, 5)
    assert (factors.min(0) == 0).all()
    assert (factors.max(0) == np.array(COUNTS) - 1).all()
    assert np.array_equal(labels["shape"], factors[:, 0])
    for name, low, high in (
        ("scale", 0.5, 1),
        ("pos_x", 0, 1),
        ("pos_y", 0, 1),
        ("orientation", -1, 1),
    ):
        assert (labels[name].min(), labels[name].max()) == pytest.approx((low, high), abs=1e-2)
    assert labels["pos_x"][0] == factors[0, 3] / 31


def test_splits_share_no_sprite_picture(root: Path) -> None:
    data = open_data(root)
    looks = {}
    for split, size in (("train", FRAMES // 10), ("test", 7000)):
        factors = data.factors(split)
        assert len(factors) == data.size(split, "target") == size
        factors[:, 2] %= 39
        looks[split] = np.ravel_multi_index(tuple(factors.T), COUNTS)
    assert not np.intersect1d(looks["train"], looks["test"]).size
    assert data.images("test", "background", [6999]).shape == (1, 1, 64, 64)


def test_splits_show_digits_of_their_own_part(root: Path) -> None:
    # The authors' evaluation shows digits of the training part.
    arrays = mnist_arrays()
    dark, bright = np.zeros_like, lambda images: np.full_like(images, 255)
    for train, test in ((dark, bright), (bright, dark)):
        np.savez(
            root / "mnist.npz",
            **(arrays | {"x_train": train(arrays["x_train"]), "x_test": test(arrays["x_test"])}),
        )
        data = open_data(root)
        for split, expected in (("train", train), ("test", test)):
            level = {dark: -1.0, bright: 0.0}[expected]
            for domain in ("background", "target"):
                images = data.images(split, domain, range(30))
                assert ((images == level) | ((images == 1) & (domain == "target"))).all()
        factors = data.factors("test")[:9]
        assert data.images_of(factors, 0).min() == {dark: -1.0, bright: 0.0}[test]


def test_items_never_change(root: Path) -> None:
    data = open_data(root)
    chosen = data.images("train", "target", [3, 70_000])
    assert torch.equal(data.images("train", "target", [70_000, 0])[0], chosen[1])
    assert torch.equal(open_data(root).images("train", "target", [3, 70_000]), chosen)
    columns = [
        data.factors("train")[:500],
        data.factors("test")[:500],
        data.composition("train", "target")["digits"][:500],
    ]
    digest = hashlib.sha256(np.concatenate(columns, 1).astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("e94e9e75add8982c"), digest


def test_dsprites_mnist_refuses_mnist_without_a_digit(root: Path) -> None:
    arrays = mnist_arrays()
    np.savez(
        root / "mnist.npz",
        **(arrays | {"y_test": np.where(arrays["y_test"] == 3, 5, arrays["y_test"])}),
    )
    assert "MNIST's test part" in check(DspritesMnistConfig(root=str(root)))["problems"][0]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """Shrinks the layout to 3 shapes, 1 scale, 2 orientations and 8 positions, 48 frames."""
    counts = (3, 1, 2, 4, 2)
    for module in (dsprites, dsprites_mnist):
        monkeypatch.setattr(module, "COUNTS", counts)
        monkeypatch.setattr(module, "FRAMES", 48)
    monkeypatch.setattr(dsprites, "BLOCK", 16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return 48


def write_sprites(
    path: Path, n: int, compressed: bool, classes: np.ndarray | None = None, high: int = 2
) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, high, (n, 64, 64), np.uint8)
    order = np.stack(np.unravel_index(np.arange(n), (1, 3, 1, 2, 4, 2)), 1)
    save = np.savez_compressed if compressed else np.savez
    save(
        path,
        imgs=images,
        latents_classes=order if classes is None else classes,
        metadata=np.array({"author": "x"}),
    )
    return images


@pytest.mark.parametrize("compressed", [False, True])
def test_sprites_file_is_mapped_or_unpacked_once(
    small: int, tmp_path: Path, compressed: bool
) -> None:
    path = tmp_path / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    images = write_sprites(path, small, compressed)
    sprites, note = dsprites.open_sprites(tmp_path, "file")
    assert path.name in note
    rows = np.array([40, 3, 3, 17])
    factors = np.stack(np.unravel_index(rows, (3, 1, 2, 4, 2)), 1)
    assert np.array_equal(sprites.take(factors), images[rows])
    kept = sorted((tmp_path / "cache").rglob("*.bits"))
    assert len(kept) == compressed
    if compressed:
        assert kept[0].stat().st_size == small * 512
        path.write_bytes(b"")  # the original is not read again
        assert np.array_equal(sprites.take(factors), images[rows])


def test_sprites_file_refuses_a_damaged_file_and_leaves_nothing(small: int, tmp_path: Path) -> None:
    path, factors = tmp_path / "dsprites.npz", np.zeros((1, 5), int)
    write_sprites(path, small, True, classes=np.zeros((small, 6), np.int64))
    with pytest.raises(StudioError, match="not in the original order"):
        SpritesFile(path).take(factors)
    write_sprites(path, small, True, high=3)
    with pytest.raises(StudioError, match="imgs has the value 2, expected 0 and 1"):
        SpritesFile(path).take(factors)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    write_sprites(path, small - 1, True)
    with pytest.raises(StudioError, match="imgs has the shape"):
        SpritesFile(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StudioError, match="not a whole npz file"):
        SpritesFile(path)


def test_sprites_file_checks_a_mapped_file(small: int, tmp_path: Path) -> None:
    path, factors = tmp_path / "dsprites.npz", np.zeros((1, 5), int)
    for classes in (np.zeros((small, 6), np.int64), np.full((small, 6), 99)):
        write_sprites(path, small, False, classes=classes)
        with pytest.raises(StudioError, match="not in the original order"):
            SpritesFile(path).take(factors)
    write_sprites(path, small, False, high=255)
    with pytest.raises(StudioError, match=r"imgs has the value \d+, expected 0 and 1"):
        SpritesFile(path).take(factors)


def test_sprites_are_rendered_and_noted_without_the_file(root: Path) -> None:
    assert "sprites are rendered" in open_data(root).notes()[-1]
    with pytest.raises(
        StudioError,
        match=r"no dSprites in .*expected.*imgs \(737280, 64, 64\).*data.sprites=rendered",
    ):
        open_data(root, sprites="file")


def test_digits_none_leaves_the_sprites_alone(root: Path) -> None:
    alone, usual = (
        DspritesMnist(DspritesMnistConfig(root=str(root), digits=kind))
        for kind in ("none", "shown")
    )
    assert alone.images("test", "background", range(5)).eq(-1).all()
    sprites, both = (data.images("test", "target", range(5)) for data in (alone, usual))
    assert set(sprites.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(both[sprites == 1], sprites[sprites == 1])
    assert both[sprites == -1].gt(-1).any()
