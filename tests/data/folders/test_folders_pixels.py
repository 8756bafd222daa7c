"""Folders: values, windows, sizes and channels of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from support.folder_files import (
    fill,
    hash_of,
    image,
    items,
    noise,
    open_folders,
    shown,
    sides,
    write,
)

from studio.data.folders import FoldersConfig
from studio.data.io.fitting import fit
from studio.data.io.images import Picture, read_image


def test_images_are_exact_for_8_bit_gray(tmp_path: Path) -> None:
    dataset = open_folders(fill(tmp_path))
    images = dataset.images("train", "target", range(dataset.size("train", "target")))
    assert images.dtype == torch.float32
    assert images.shape[1:] == dataset.shape == (1, 8, 8)
    for name in sides(dataset):
        domain, number = name.split("/")
        np.testing.assert_allclose(
            shown(dataset, name)[0], noise((domain, int(number[:3]))) / 127.5 - 1, atol=1e-6
        )


def test_images_have_channels_first_for_colour(tmp_path: Path) -> None:
    fill(tmp_path, make=lambda key: noise(key, (8, 8, 3)))
    values = np.zeros((8, 8, 3), np.uint8)
    values[2, 5] = (255, 128, 0)
    values[7, 0] = (0, 0, 255)
    write(tmp_path / "target/marked.png", values)
    marked = shown(open_folders(tmp_path), "target/marked.png")
    np.testing.assert_allclose(marked[:, 2, 5], [1, 128 / 127.5 - 1, -1], atol=1e-6)
    np.testing.assert_allclose(marked[:, 7, 0], [-1, -1, 1], atol=1e-6)
    assert (marked > -1).sum() == 3


def test_images_keep_all_values_of_16_bit_gray(tmp_path: Path) -> None:
    fill(tmp_path, make=lambda key: noise(key, high=4096, dtype=np.uint16))
    dataset = open_folders(tmp_path, window=[0, 4095])
    for name in sides(dataset):
        domain, number = name.split("/")
        expected = noise((domain, int(number[:3])), high=4096, dtype=np.uint16) / 4095 * 2 - 1
        np.testing.assert_allclose(shown(dataset, name)[0], expected, atol=1e-6)
    everything = torch.cat([image(dataset, *item).flatten() for item in items(dataset)])
    assert len(everything.unique()) > 1000  # not collapsed to {0, 255}, nor to 8 bits
    assert any(
        "values from 0 to 4095 become -1 to 1 (data.window)" in note for note in dataset.notes()
    )


def test_window_comes_from_training_images_when_automatic(tmp_path: Path) -> None:
    fill(tmp_path, n=40, make=lambda key: noise(key, high=1000, dtype=np.uint16) + np.uint16(100))
    first = open_folders(tmp_path)
    values = [
        np.asarray(Image.open(tmp_path / name))
        for name, split in sides(first).items()
        if split == "train"
    ]
    low, high = np.percentile(np.stack(values), (0.5, 99.5))
    assert first.window == pytest.approx((low, high), abs=1e-3)
    assert any(f"values from {low:g} to {high:g} become -1 to 1" in note for note in first.notes())
    for name, split in sides(first).items():
        if split == "test":
            write(tmp_path / name, np.asarray(Image.open(tmp_path / name)) + np.uint16(20_000))
    second = open_folders(tmp_path)
    assert second.window == first.window
    assert second.images("test", "target", [0]).unique().tolist() == [1]  # clipped


def test_window_is_not_empty_when_most_pixels_are(tmp_path: Path) -> None:
    def speck(key: object) -> np.ndarray:
        values = np.zeros((32, 32), np.float32)
        values[5, hash_of(key) % 32] = 7
        return values

    dataset = open_folders(fill(tmp_path, suffix=".npy", make=speck), resolution=32)
    assert dataset.window == (0, 7)
    assert dataset.images("train", "target", [0]).amax() == 1


@pytest.mark.parametrize("window", [[1, 1], [2, 1], [0], ["0", 1], "all", [0, float("nan")], 5])
def test_config_refuses_an_invalid_window(window: object) -> None:
    with pytest.raises(ValidationError, match=r"expected auto or \[low, high\]") as error:
        FoldersConfig(root="x", window=window)
    assert [fault["loc"] for fault in error.value.errors()] == [("window",)]


def test_read_image_puts_transparent_pixels_on_black(tmp_path: Path) -> None:
    values = noise(0, (8, 8, 4))
    expected = (values[..., :3] * (values[..., 3:] / 255)).round()
    Image.fromarray(values).save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    assert picture.transparent
    np.testing.assert_allclose(picture.values, np.moveaxis(expected, -1, 0), atol=1)
    gray = Image.merge("LA", [Image.fromarray(values[..., 0]), Image.fromarray(values[..., 3])])
    gray.save(tmp_path / "b.png")
    np.testing.assert_allclose(
        read_image(tmp_path / "b.png").values, expected[None, ..., 0], atol=1
    )
    coloured = Image.fromarray(noise(1, high=2))
    coloured.putpalette([255, 0, 0, 0, 0, 255])
    coloured.save(tmp_path / "c.png", transparency=0)  # red is transparent
    blue = noise(1, high=2) * 255
    np.testing.assert_array_equal(read_image(tmp_path / "c.png").values, [blue * 0, blue * 0, blue])
    Image.fromarray(noise(2, high=3) + np.uint8(7)).save(tmp_path / "d.png", transparency=8)
    np.testing.assert_array_equal(
        read_image(tmp_path / "d.png").values, np.array([7, 0, 9])[noise(2, high=3)][None]
    )


def test_read_image_resolves_palettes_and_bits(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], np.uint8)[noise(0, high=3)]
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "colours.png"
    )
    np.testing.assert_array_equal(
        read_image(tmp_path / "colours.png").values, np.moveaxis(colours, -1, 0)
    )
    grays = Image.fromarray(noise(1, high=4))
    grays.putpalette([0, 0, 0, 80, 80, 80, 160, 160, 160, 255, 255, 255])
    grays.save(tmp_path / "grays.png")
    levels = np.array([0, 80, 160, 255])[noise(1, high=4)]
    np.testing.assert_array_equal(read_image(tmp_path / "grays.png").values, levels[None])
    Image.fromarray(noise(2, high=2).astype(bool)).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "bits.png").values, noise(2, high=2)[None] * 255
    )


def test_read_image_turns_upright_by_exif(tmp_path: Path) -> None:
    values = np.zeros((16, 24), np.uint8)
    values[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(values).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "a.jpg").values
    assert upright.shape == (1, 24, 16)
    assert upright[0, 20:].min() > 200
    assert upright[0, :12].max() < 50


def test_read_image_matches_full_decoding_of_a_large_jpeg(tmp_path: Path) -> None:
    small = Image.fromarray(noise(0, (16, 16, 3)))
    small.resize((512, 512), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    whole, part = read_image(tmp_path / "a.jpg"), read_image(tmp_path / "a.jpg", least=32)
    assert whole.values.shape == (3, 512, 512)
    assert part.values.shape == (3, 64, 64)
    assert part.size == whole.size == (512, 512)
    assert np.abs(fit(whole, 32).astype(int) - fit(part, 32)).max() <= 12


def test_fit_is_antialiased_and_centred() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    inner = fit(Picture(board[None].astype(np.uint8), (64, 64)), 16)[0, 2:-2, 2:-2]
    assert inner.min() >= 125  # picking pixels would give only 0, or only 255
    assert inner.max() <= 130
    wide = np.zeros((1, 8, 20), np.uint8)
    wide[:, :, 6:14] = noise(0)
    np.testing.assert_array_equal(fit(Picture(wide, (8, 20)), 8)[0], noise(0))
    np.testing.assert_array_equal(fit(Picture(wide.transpose(0, 2, 1), (20, 8)), 8)[0], noise(0).T)


def test_fit_makes_pixels_square() -> None:
    values = np.zeros((1, 10, 20), np.float32)
    values[:, 4:6] = 1  # a bar of a fifth of the height
    fitted = fit(Picture(values, (10, 20), spacing=(2.0, 1.0)), 20)
    assert fitted.shape == (1, 20, 20)
    assert (fitted[0, :, 10] > 0.5).sum() == 4


def test_notes_state_mixed_sizes(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/wide.png", noise(0, (9, 30)))
    write(tmp_path / "target/small.png", noise(1, (4, 4)))
    notes = "\n".join(open_folders(tmp_path).notes())
    assert "background images have 1 size on disk: 8 x 8" in notes
    assert "target images have 3 sizes on disk: 4 x 4 to 30 x 9" in notes
    assert "0 background and 1 target images are not square: only their centre is used" in notes
    assert "0 background and 1 target images are smaller than data.resolution and enlarged" in notes


def test_folders_set_aside_files_with_unusual_channels(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/colour.png", noise(0, (8, 8, 3)))
    dataset = open_folders(tmp_path)
    assert dataset.shape[0] == 1
    assert dataset.quarantined == [
        ("target/colour.png", "has 3 channels, most files have 1: set data.channels to 1 or 3")
    ]
    assert "target/colour.png" not in sides(dataset)


@pytest.mark.parametrize("channels", [1, 3])
def test_folders_convert_channels_when_configured(tmp_path: Path, channels: int) -> None:
    fill(tmp_path)
    colour = noise(0, (8, 8, 3))
    write(tmp_path / "target/colour.png", colour)
    dataset = open_folders(tmp_path, channels=channels)
    assert not dataset.quarantined
    assert dataset.shape == (channels, 8, 8)
    gray = noise(("target", 3)) / 127.5 - 1
    np.testing.assert_allclose(
        shown(dataset, "target/003.png"), np.stack([gray] * channels), atol=1e-6
    )
    luma = np.asarray(Image.fromarray(colour).convert("L"), float)[None]
    expected = np.moveaxis(colour, -1, 0) if channels == 3 else luma
    np.testing.assert_allclose(
        shown(dataset, "target/colour.png"), expected / 127.5 - 1, atol=1.01 / 127.5
    )
