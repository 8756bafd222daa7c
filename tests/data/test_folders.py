"""The user's own two folders: every file is used or set aside by name, and stays on its side of the split."""

import os
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from studio.data import DATASETS, PairStream
from studio.data.folders import Folders, FoldersConfig, QuarantineError
from studio.data.io.attribute_table import encode_column
from studio.data.io.images import Picture, UnreadableError, fit, read_image
from studio.data.splits import split_of
from studio.errors import StudioError

DOMAINS = ("background", "target")
SPLITS = ("train", "test")


def noise(
    key: object, shape: tuple[int, ...] = (8, 8), high: int = 256, dtype: type = np.uint8
) -> np.ndarray:
    return np.random.default_rng(abs(hash_of(key))).integers(0, high, shape).astype(dtype)


def hash_of(key: object) -> int:
    return zlib.crc32(repr(key).encode())


def write(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def fill(
    root: Path, n: int = 20, suffix: str = ".png", make: Callable[[object], np.ndarray] = noise
) -> Path:
    for domain in DOMAINS:
        for i in range(n):
            write(root / domain / f"{i:03}{suffix}", make((domain, i)))
    return root


def open_data(root: Path, **fields: object) -> Folders:
    return Folders(FoldersConfig(**{"root": str(root), "resolution": 8, **fields}))


def table(root: Path, text: str, encoding: str = "utf-8") -> None:
    (root / "attributes.csv").write_bytes(text.encode(encoding))


def items(dataset: Folders) -> list[tuple[str, str, int]]:
    return [
        (split, domain, i)
        for split in SPLITS
        for domain in DOMAINS
        for i in range(dataset.size(split, domain))
    ]


def image(dataset: Folders, split: str, domain: str, index: int) -> torch.Tensor:
    return dataset.images(split, domain, [index])[0]


def names(dataset: Folders, split: str, domain: str) -> list[str]:
    return dataset.item_names(split, domain)


def sides(dataset: Folders) -> dict[str, str]:
    return {
        name: split
        for split in SPLITS
        for domain in DOMAINS
        for name in names(dataset, split, domain)
    }


def shown(dataset: Folders, name: str) -> np.ndarray:
    """Returns the image that a file has become, (C, H, W)."""
    split, domain = sides(dataset)[name], name.split("/")[0]
    return image(dataset, split, domain, names(dataset, split, domain).index(name)).numpy()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Builds a PNG by hand, for headers and depths that Pillow does not write."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
    )
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*chunks, (b"IEND", b"")):
        content += (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )
    return content


# ---- The layout ----


def test_the_set_is_registered() -> None:
    assert DATASETS["folders"] is Folders


def test_a_missing_root_names_the_field_and_the_layout() -> None:
    with pytest.raises(ValidationError, match=r"root\n.*ROOT/background/.*ROOT/target/") as error:
        FoldersConfig(resolution=8)
    assert error.value.errors()[0]["loc"] == ("root",)


def test_a_root_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        StudioError, match=r"data\.root: no folder .*nowhere; expected ROOT/background"
    ):
        open_data(tmp_path / "nowhere")


@pytest.mark.parametrize("missing", DOMAINS)
def test_one_side_missing(tmp_path: Path, missing: str) -> None:
    fill(tmp_path)
    (tmp_path / missing).rename(tmp_path / "healthy")
    with pytest.raises(StudioError, match=f"no folder {missing}/, found .*healthy"):
        open_data(tmp_path)


@pytest.mark.parametrize("empty", DOMAINS)
def test_an_empty_folder(tmp_path: Path, empty: str) -> None:
    fill(tmp_path)
    for path in (tmp_path / empty).iterdir():
        path.rename(path.with_suffix(".tiff"))
    with pytest.raises(StudioError, match=rf"{empty}: no images; expected .*png, jpg, npy, nii"):
        open_data(tmp_path)


def test_a_split_without_images_says_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path, n=1)
    with pytest.raises(
        StudioError, match=r"none of the 1 images of \w+/ is in the \w+ split.*data\.test_share"
    ):
        open_data(tmp_path)


def test_nested_folders_capitals_spaces_and_accents(tmp_path: Path) -> None:
    fill(tmp_path)
    given = [
        "target/a b/Größe 1.PNG",
        "target/x/y/z/é.JPeG",
        "target/deep/volume.NII.GZ",
        "target/deep/array.NPY",
    ]
    write(tmp_path / given[0], noise(0))
    write(tmp_path / given[1], noise(1))
    nibabel.save(nibabel.Nifti1Image(noise(2, (8, 8, 8)), np.eye(4)), tmp_path / "volume.nii.gz")
    (tmp_path / "target/deep").mkdir()
    (tmp_path / "volume.nii.gz").rename(tmp_path / given[2])
    write(tmp_path / "array.npy", noise(3)).rename(tmp_path / given[3])
    dataset = open_data(tmp_path)
    assert set(given) < set(sides(dataset))
    assert not dataset.quarantined
    np.testing.assert_allclose(shown(dataset, given[0])[0], noise(0) / 127.5 - 1, atol=1e-6)


def test_hidden_files_do_not_count_and_others_are_noted(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/.hidden.png", noise(0))
    write(tmp_path / "target/.thumbnails/a.png", noise(0))
    (tmp_path / "target/notes.txt").write_text("x")
    dataset = open_data(tmp_path)
    assert len(items(dataset)) == 40
    assert "1 other files are ignored: target/notes.txt" in dataset.notes()


def test_a_name_that_cannot_be_printed_is_ignored_and_noted(tmp_path: Path) -> None:
    fill(tmp_path)
    try:
        os.rename(tmp_path / "target/000.png", os.fsencode(tmp_path) + b"/target/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    dataset = open_data(tmp_path)
    assert len(items(dataset)) == 39
    assert r"1 other files are ignored: target/caf\xe9.png" in dataset.notes()


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    fill(tmp_path / "root")
    write(tmp_path / "elsewhere/far.png", noise("far"))
    (tmp_path / "root/target/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/target/loop").symlink_to(tmp_path / "root/target")
    (tmp_path / "root/background/self").symlink_to("self")
    dataset = open_data(tmp_path / "root")
    assert len(items(dataset)) == 41
    assert "target/linked/far.png" in sides(dataset)
    assert any("target/loop/ (a link" in note for note in dataset.notes())


# ---- Values ----


def test_gray_8_bit_values_are_exact(tmp_path: Path) -> None:
    dataset = open_data(fill(tmp_path))
    images = dataset.images("train", "target", range(dataset.size("train", "target")))
    assert images.dtype == torch.float32
    assert images.shape[1:] == dataset.shape == (1, 8, 8)
    for name in sides(dataset):
        domain, number = name.split("/")
        np.testing.assert_allclose(
            shown(dataset, name)[0], noise((domain, int(number[:3]))) / 127.5 - 1, atol=1e-6
        )


def test_colour_channels_come_first_by_permutation(tmp_path: Path) -> None:
    fill(tmp_path, make=lambda key: noise(key, (8, 8, 3)))
    values = np.zeros((8, 8, 3), np.uint8)
    values[2, 5] = (255, 128, 0)
    values[7, 0] = (0, 0, 255)
    write(tmp_path / "target/marked.png", values)
    marked = shown(open_data(tmp_path), "target/marked.png")
    np.testing.assert_allclose(marked[:, 2, 5], [1, 128 / 127.5 - 1, -1], atol=1e-6)
    np.testing.assert_allclose(marked[:, 7, 0], [-1, -1, 1], atol=1e-6)
    assert (marked > -1).sum() == 3


def test_16_bit_gray_keeps_its_values(tmp_path: Path) -> None:
    fill(tmp_path, make=lambda key: noise(key, high=4096, dtype=np.uint16))
    dataset = open_data(tmp_path, window=[0, 4095])
    for name in sides(dataset):
        domain, number = name.split("/")
        expected = noise((domain, int(number[:3])), high=4096, dtype=np.uint16) / 4095 * 2 - 1
        np.testing.assert_allclose(shown(dataset, name)[0], expected, atol=1e-6)
    everything = torch.cat([image(dataset, *item).flatten() for item in items(dataset)])
    assert len(everything.unique()) > 1000  # not collapsed to {0, 255}, nor to 8 bits
    assert any(
        "values from 0 to 4095 become -1 to 1 (data.window)" in note for note in dataset.notes()
    )


def test_the_automatic_window_is_that_of_training_images_and_stated(tmp_path: Path) -> None:
    fill(tmp_path, n=40, make=lambda key: noise(key, high=1000, dtype=np.uint16) + np.uint16(100))
    first = open_data(tmp_path)
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
    second = open_data(tmp_path)
    assert second.window == first.window
    assert second.images("test", "target", [0]).unique().tolist() == [1]  # clipped


def test_a_window_of_mostly_empty_images_is_not_empty(tmp_path: Path) -> None:
    def speck(key: object) -> np.ndarray:
        values = np.zeros((32, 32), np.float32)
        values[5, hash_of(key) % 32] = 7
        return values

    dataset = open_data(fill(tmp_path, suffix=".npy", make=speck), resolution=32)
    assert dataset.window == (0, 7)
    assert dataset.images("train", "target", [0]).amax() == 1


@pytest.mark.parametrize("window", [[1, 1], [2, 1], [0], ["0", 1], "all", [0, float("nan")], 5])
def test_a_window_that_is_none(window: object) -> None:
    with pytest.raises(ValidationError, match=r"expected auto or \[low, high\]") as error:
        FoldersConfig(root="x", window=window)
    assert [fault["loc"] for fault in error.value.errors()] == [("window",)]


def test_8_bit_images_are_not_windowed(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/deep.png", noise(0, high=60_000, dtype=np.uint16))
    dataset = open_data(tmp_path, window=[0, 60_000])
    np.testing.assert_allclose(
        shown(dataset, "target/000.png")[0], noise(("target", 0)) / 127.5 - 1, atol=1e-6
    )
    np.testing.assert_allclose(
        shown(dataset, "target/deep.png")[0],
        noise(0, high=60_000, dtype=np.uint16) / 30_000 - 1,
        atol=1e-6,
    )
    note = "0 background and 1 target images are not 8-bit: values from 0 to 60000 become -1 to 1 (data.window)"
    assert note in dataset.notes()


def test_transparent_colours_lie_on_black(tmp_path: Path) -> None:
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
    coloured.save(tmp_path / "c.png", transparency=0)  # what is red there is nothing
    blue = noise(1, high=2) * 255
    np.testing.assert_array_equal(read_image(tmp_path / "c.png").values, [blue * 0, blue * 0, blue])
    Image.fromarray(noise(2, high=3) + np.uint8(7)).save(tmp_path / "d.png", transparency=8)
    np.testing.assert_array_equal(
        read_image(tmp_path / "d.png").values, np.array([7, 0, 9])[noise(2, high=3)][None]
    )


def test_palettes_and_bits(tmp_path: Path) -> None:
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


def test_a_camera_held_upright(tmp_path: Path) -> None:
    values = np.zeros((16, 24), np.uint8)
    values[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(values).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "a.jpg").values
    assert upright.shape == (1, 24, 16)
    assert upright[0, 20:].min() > 200
    assert upright[0, :12].max() < 50


def test_a_large_jpeg_looks_as_if_decoded_in_full(tmp_path: Path) -> None:
    small = Image.fromarray(noise(0, (16, 16, 3)))
    small.resize((512, 512), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    whole, part = read_image(tmp_path / "a.jpg"), read_image(tmp_path / "a.jpg", least=32)
    assert whole.values.shape == (3, 512, 512)
    assert part.values.shape == (3, 64, 64)
    assert part.size == whole.size == (512, 512)
    assert np.abs(fit(whole, 32).astype(int) - fit(part, 32)).max() <= 12


# ---- Sizes and channels ----


def test_resizing_is_antialiased_and_centred() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    inner = fit(Picture(board[None].astype(np.uint8), (64, 64)), 16)[0, 2:-2, 2:-2]
    assert inner.min() >= 125  # picking pixels would give only 0, or only 255
    assert inner.max() <= 130
    wide = np.zeros((1, 8, 20), np.uint8)
    wide[:, :, 6:14] = noise(0)
    np.testing.assert_array_equal(fit(Picture(wide, (8, 20)), 8)[0], noise(0))
    np.testing.assert_array_equal(fit(Picture(wide.transpose(0, 2, 1), (20, 8)), 8)[0], noise(0).T)


def test_pixels_that_are_not_square_become_square() -> None:
    values = np.zeros((1, 10, 20), np.float32)
    values[:, 4:6] = 1  # a bar of a fifth of the height
    fitted = fit(Picture(values, (10, 20), spacing=(2.0, 1.0)), 20)
    assert fitted.shape == (1, 20, 20)
    assert (fitted[0, :, 10] > 0.5).sum() == 4


def test_mixed_sizes_are_noted(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/wide.png", noise(0, (9, 30)))
    write(tmp_path / "target/small.png", noise(1, (4, 4)))
    notes = "\n".join(open_data(tmp_path).notes())
    assert "background images have 1 size on disk: 8 x 8" in notes
    assert "target images have 3 sizes on disk: 4 x 4 to 30 x 9" in notes
    assert "0 background and 1 target images are not square: only their centre is used" in notes
    assert "0 background and 1 target images are smaller than data.resolution and enlarged" in notes


def test_mixed_channels_set_the_fewer_aside(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/colour.png", noise(0, (8, 8, 3)))
    dataset = open_data(tmp_path)
    assert dataset.shape[0] == 1
    assert dataset.quarantined == [
        ("target/colour.png", "has 3 channels, most files have 1: set data.channels to 1 or 3")
    ]
    assert "target/colour.png" not in sides(dataset)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_converted_when_asked(tmp_path: Path, channels: int) -> None:
    fill(tmp_path)
    colour = noise(0, (8, 8, 3))
    write(tmp_path / "target/colour.png", colour)
    dataset = open_data(tmp_path, channels=channels)
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


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16, np.uint16])
def test_arrays_with_channels_first_or_last(tmp_path: Path, dtype: type) -> None:
    values = noise(0, (6, 7, 3), dtype=dtype)
    for name, array in {"last": values, "first": np.moveaxis(values, -1, 0)}.items():
        picture = read_image(write(tmp_path / f"{name}.npy", array))
        np.testing.assert_array_equal(picture.values, np.moveaxis(values, -1, 0))
        assert picture.values.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    for array in (values[..., 0], values[..., :1], values[None, ..., 0]):
        np.testing.assert_array_equal(
            read_image(write(tmp_path / "gray.npy", array)).values, values[None, ..., 0]
        )


def test_a_volume_gives_the_slice_that_is_asked_for(tmp_path: Path) -> None:
    values = noise(0, (6, 7, 9), dtype=np.float32)
    path = write(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(read_image(path).values[0], values[:, :, 4])
    np.testing.assert_array_equal(read_image(path, at=8).values[0], values[:, :, 8])
    with pytest.raises(UnreadableError, match=r"has 9 slices, but data\.slice is 9"):
        read_image(path, at=9)


@pytest.mark.parametrize("number", [-1, 1.0, True, "first"])
def test_a_slice_that_is_none(number: object) -> None:
    with pytest.raises(ValidationError, match=r"slice\."):
        FoldersConfig(root="x", slice=number)


# ---- NIfTI ----


def brain(shape: tuple[int, int, int] = (10, 12, 8)) -> np.ndarray:
    """Returns a volume along right, anterior, superior, in which every voxel differs."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("stored", ["RAS", "LPS", "LAS", "SAR", "PIR", "IPL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_the_affine_says_which_way_is_up(tmp_path: Path, stored: str, suffix: str) -> None:
    canonical = nibabel.Nifti1Image(brain(), np.diag([1.0, 1.0, 1.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(stored)
    )
    path = tmp_path / f"a{suffix}"
    nibabel.save(canonical.as_reoriented(turn), path)
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == stored
    for at, number in {"middle": 4, 0: 0, 6: 6}.items():
        values = read_image(path, at).values[0]
        assert values[0, 0] == brain()[0, -1, number]  # front left
        assert values[-1, -1] == brain()[-1, 0, number]  # back right
        np.testing.assert_array_equal(values, brain()[:, :, number].T[::-1])


def test_nifti_images_of_one_slice(tmp_path: Path) -> None:
    plane = brain()[:, :, 0]
    for values in (plane, plane[..., None], plane[..., None, None]):
        nibabel.save(
            nibabel.Nifti1Image(values, np.diag([-2.0, 1.0, 3.0, 1.0])), tmp_path / "a.nii"
        )
        picture = read_image(tmp_path / "a.nii", at=5)
        np.testing.assert_array_equal(picture.values[0], plane[::-1].T[::-1])
        assert picture.spacing == (1, 2)
    sagittal = nibabel.Nifti1Image(brain()[4:5], np.diag([1.0, 1.0, 3.0, 1.0]))
    nibabel.save(sagittal, tmp_path / "b.nii")
    picture = read_image(tmp_path / "b.nii")
    np.testing.assert_array_equal(
        picture.values[0], brain()[4].T[::-1]
    )  # head up, front to the right
    assert picture.spacing == (3, 1)


def test_scaled_nifti_values_are_in_their_own_units(tmp_path: Path) -> None:
    values = noise(0, (8, 8, 8), high=4000, dtype=np.int16) - np.int16(1000)
    volume = nibabel.Nifti1Image(values, np.eye(4))
    volume.header.set_slope_inter(0.5, 10)
    nibabel.save(volume, tmp_path / "a.nii.gz")
    expected = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)[:, :, 4].T[::-1]
    picture = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(picture.values[0], expected, rtol=1e-6)
    assert picture.values.dtype == np.float32


def test_a_set_of_volumes(tmp_path: Path) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for i in range(12):
            values = noise((domain, i), (8, 8, 6), high=900, dtype=np.int16)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / domain / f"{i}.nii.gz")
    dataset = open_data(tmp_path, window=[0, 900], slice=2)
    expected = noise(("target", 3), (8, 8, 6), high=900, dtype=np.int16)[:, :, 2].T[::-1]
    np.testing.assert_allclose(shown(dataset, "target/3.nii.gz")[0], expected / 450 - 1, atol=1e-6)


# ---- Files that cannot be used ----


def gif(path: Path) -> None:
    Image.fromarray(noise(0)).save(path, "GIF")


def cmyk(path: Path) -> None:
    Image.fromarray(noise(0, (8, 8, 3))).convert("CMYK").save(path, "JPEG")


def truncated(path: Path) -> None:
    write(path, noise(0, (64, 64)))
    path.write_bytes(path.read_bytes()[:-1500])


def flipped(path: Path) -> None:
    write(path, noise(0, (64, 64)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=noise(0))


def claimed(path: Path) -> None:
    np.lib.format.open_memmap(path, "w+", np.float32, (64, 64)).flush()
    path.write_bytes(path.read_bytes()[:500])


def filled(value: float) -> Callable[[Path], object]:
    def make(path: Path) -> object:
        values = noise(0, dtype=np.float32)
        values[3, 3] = value
        return write(path, values)

    return make


def of_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def of_shape(*shape: int, dtype: type = np.float32) -> Callable[[Path], object]:
    return lambda path: write(path, noise(0, shape, dtype=dtype))


def of_volumes(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(noise(0, (8, 8, 8, 3)), np.eye(4)), path)


def one_bit(path: Path) -> None:
    """A packed volume with one wrong bit, of which only the checksum at its end takes notice."""
    nibabel.save(nibabel.Nifti1Image(noise(0, (8, 8, 8)), np.eye(4)), path)
    whole, good = path.read_bytes(), np.asarray(nibabel.load(path).dataobj)
    for place in range(len(whole) // 4, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with suppress(Exception):
            values = np.asarray(nibabel.load(path).dataobj)
            if np.abs(values).max() < 1e6 and not np.array_equal(values[:, :, 4], good[:, :, 4]):
                return
    raise AssertionError("no such bit")


BAD = {
    "empty.png": (of_bytes(b""), "is empty"),
    "empty.nii.gz": (of_bytes(b""), "is empty"),
    "garbage.png": (of_bytes(b"garbage" * 20), "neither a PNG nor a JPEG"),
    "garbage.jpg": (of_bytes(b"garbage" * 20), "neither a PNG nor a JPEG"),
    "garbage.npy": (of_bytes(b"garbage" * 20), "cannot be"),
    "garbage.nii": (of_bytes(b"garbage" * 99), "cannot be"),
    "garbage.nii.gz": (of_bytes(b"garbage" * 99), "cannot be"),
    "one_bit.nii.gz": (one_bit, "CRC check failed"),
    "really_a_gif.png": (gif, "neither a PNG nor a JPEG"),
    "header_only.png": (of_bytes(png(8, 8, 8, 0, b"")), "cannot be"),
    "truncated.png": (truncated, "cannot be"),
    "truncated.jpg": (truncated, "cannot be"),
    "flipped.png": (flipped, "cannot be"),
    "huge.png": (of_bytes(png(30_000, 30_000, 8, 0, b"")), "has more than 67108864 pixels"),
    "large.png": (of_bytes(png(9_000, 9_000, 8, 0, b"")), "is 9000 x 9000 pixels"),
    "deep_colours.png": (of_bytes(png(8, 8, 16, 2, b"\0" * 49 * 8)), "16 bits per colour"),
    "print.jpg": (cmyk, "CMYK"),
    "constant.png": (
        lambda path: write(path, np.full((8, 8, 3), (1, 2, 3), np.uint8)),
        "same value everywhere",
    ),
    "constant.npy": (lambda path: write(path, np.full((21, 21), 0.1)), "same value everywhere"),
    "nan.npy": (filled(np.nan), "has 1 values that are NaN"),
    "infinite.npy": (filled(-np.inf), "has 1 values that are NaN, infinite"),
    "too_large.npy": (filled(1e35), "beyond 1e"),
    "objects.npy": (pickled, "cannot be"),
    "archive.npy": (archive, "archive"),
    "claimed.npy": (claimed, "cannot be"),
    "complex.npy": (of_shape(8, 8, dtype=np.complex64), "complex64"),
    "line.npy": (of_shape(8), r"has shape \(8,\)"),
    "four_channels.npy": (of_shape(8, 8, 4), "expected 1 or 3 channels"),
    "ambiguous.npy": (of_shape(3, 8, 3), "expected 1 or 3 channels"),
    "nothing.npy": (of_shape(0, 8), "cannot be|at least 1"),
    "series.nii": (of_volumes, r"has shape \(8, 8, 8, 3\)"),
    "gone.png": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "pipe.png": (os.mkfifo, "is not a file"),
}


@pytest.fixture(scope="module")
def with_bad_files(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = fill(tmp_path_factory.mktemp("bad"), n=40)
    for name, (make, _) in BAD.items():
        make(root / "target" / name)
    return open_data(root, max_bad=0.5)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_set_aside_by_name_with_the_reason(
    with_bad_files: Folders, name: str
) -> None:
    reasons = dict(with_bad_files.quarantined)
    with pytest.raises(StudioError, match=BAD[name][1]):
        raise StudioError(reasons[f"target/{name}"])


def test_the_other_files_are_used(with_bad_files: Folders) -> None:
    assert len(with_bad_files.quarantined) == len(BAD)
    assert len(items(with_bad_files)) == 80
    assert f"{len(BAD)} of {80 + len(BAD)} files are set aside" in with_bad_files.notes()[0]
    assert all(image(with_bad_files, *item).isfinite().all() for item in items(with_bad_files))


def test_too_many_bad_files_are_an_error_that_lists_the_first_ten(tmp_path: Path) -> None:
    fill(tmp_path)
    for i in range(12):
        (tmp_path / f"target/bad{i:02}.png").touch()
    with pytest.raises(
        QuarantineError, match=r"12 of 52 files cannot be used, max_bad is 5%"
    ) as error:
        open_data(tmp_path)
    lines = str(error.value).splitlines()[1:]
    assert [line.split()[0] for line in lines] == [f"target/bad{i:02}.png" for i in range(10)] + [
        "..."
    ]
    assert len(error.value.quarantined) == 12
    assert len(open_data(tmp_path, max_bad=12 / 52).quarantined) == 12


def test_all_files_bad(tmp_path: Path) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        (tmp_path / domain / "a.png").touch()
    with pytest.raises(QuarantineError, match="2 of 2 files cannot be used"):
        open_data(tmp_path, max_bad=0.99)


# ---- Which image is where ----


def test_every_image_is_in_exactly_one_split(tmp_path: Path) -> None:
    dataset = open_data(fill(tmp_path, n=30))
    every = [
        name for split in SPLITS for domain in DOMAINS for name in names(dataset, split, domain)
    ]
    assert sorted(every) == sorted(f"{domain}/{i:03}.png" for domain in DOMAINS for i in range(30))
    for split in SPLITS:
        assert all(
            name.startswith(domain) for domain in DOMAINS for name in names(dataset, split, domain)
        )
    seen = [image(dataset, *item).numpy().tobytes() for item in items(dataset)]
    assert len(set(seen)) == 60


def test_opening_twice_gives_the_same_items(tmp_path: Path) -> None:
    fill(tmp_path)
    first, second = open_data(tmp_path), pickle.loads(pickle.dumps(open_data(tmp_path)))
    for split, domain, i in items(first):
        assert torch.equal(image(first, split, domain, i), image(second, split, domain, i))
    indices = np.array([3, 0, 3])
    expected = torch.stack([image(first, "train", "target", i) for i in indices])
    assert torch.equal(first.images("train", "target", indices), expected)
    assert first.images("train", "target", []).shape == (0, 1, 8, 8)


def test_adding_images_moves_nobody(tmp_path: Path) -> None:
    before = sides(open_data(fill(tmp_path)))
    for i in range(30):
        write(tmp_path / f"target/000_{i}.png", noise(("new", i)))
        write(tmp_path / f"background/a/{i}.png", noise(("more", i)))
    after = sides(open_data(tmp_path))
    assert len(after) == 100
    assert {name: after[name] for name in before} == before


def test_the_split_is_the_same_on_every_machine() -> None:
    assert [i for i in range(12) if split_of(f"s{i}", 0.2) == "test"] == [
        7,
        9,
    ]  # another answer would move all images
    assert split_of("caf\u00e9.png", 0.5) == split_of("cafe\u0301.png", 0.5)


def test_a_larger_share_only_adds_to_the_test_split() -> None:
    for subject in map(str, range(300)):
        found = [split_of(subject, share) for share in np.linspace(0.01, 0.99, 25)]
        assert found == sorted(found, reverse=True)  # train, then test
    assert {split_of(str(i), 0.5) for i in range(300)} == {"train", "test"}


def test_the_share_is_about_what_was_asked_for() -> None:
    assert 0.27 < np.mean([split_of(f"subject {i}", 0.3) == "test" for i in range(2000)]) < 0.33


def test_no_subject_is_on_both_sides(tmp_path: Path) -> None:
    fill(tmp_path, n=60)
    rows = [f"{domain}/{i:03}.png,p{i // 3}" for domain in DOMAINS for i in range(60)]
    table(tmp_path, "file,subject\n" + "\n".join(rows))
    where = {}
    for name, split in sides(open_data(tmp_path)).items():
        where.setdefault(int(name[-7:-4]) // 3, set()).add(split)
    assert len(where) == 20
    assert all(len(splits) == 1 for splits in where.values())
    assert {split for splits in where.values() for split in splits} == {"train", "test"}


def test_a_stated_split_holds_for_the_whole_subject(tmp_path: Path) -> None:
    fill(tmp_path)
    subject = next(f"p{i}" for i in range(99) if split_of(f"p{i}", 0.2) == "train")
    table(
        tmp_path,
        "file,split,subject\n"
        f"target/000.png,Test,{subject}\n"
        f"background/000.png,,{subject}\n"
        "target/001.png,train,\n"
        "background/001.png,test,\n",
    )
    dataset = open_data(tmp_path)
    by_name = {name: split_of(name, 0.2) for name in sides(dataset)}
    stated = dict.fromkeys(("target/000.png", "background/000.png", "background/001.png"), "test")
    assert sides(dataset) == by_name | stated | {"target/001.png": "train"}
    assert (
        "split: 3 files as attributes.csv says, 1 files by subject, 36 files by their own name"
        in dataset.notes()
    )


def test_a_subject_stated_on_both_sides_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    table(tmp_path, "file,split,subject\ntarget/000.png,train,Ann\ntarget/001.png,test,Ann\n")
    with pytest.raises(StudioError, match=r"subject 'Ann' is in both splits, see target/001\.png"):
        open_data(tmp_path)


def test_the_same_image_on_both_sides_is_noted(tmp_path: Path) -> None:
    fill(tmp_path)
    where = sides(open_data(tmp_path))
    train, test = (
        next(name for name in where if name < "t" and where[name] == split) for split in SPLITS
    )
    (tmp_path / test).write_bytes((tmp_path / train).read_bytes())
    (tmp_path / "target/000.png").write_bytes((tmp_path / "background/010.png").read_bytes())
    notes = "\n".join(open_data(tmp_path).notes())
    assert "images are in both splits: " in notes
    assert " = ".join(sorted([train, test])) in notes
    assert "1 images are in both folders: background/010.png = target/000.png" in notes


def test_pairs_come_out_in_equal_halves(tmp_path: Path) -> None:
    fill(tmp_path)
    for i in range(100):
        write(tmp_path / f"target/more{i}.png", noise(i))
    pair = PairStream(open_data(tmp_path), half=16, seed=0)[3]
    assert pair.x.shape == pair.y.shape == (16, 1, 8, 8)


# ---- Memory ----


@pytest.mark.parametrize("suffix", [".png", ".npy", ".jpg"])
@pytest.mark.parametrize("memory_gb", [0.0, 1e-6])
def test_images_that_do_not_fit_into_memory_are_the_same(
    tmp_path: Path, suffix: str, memory_gb: float
) -> None:
    def make(key: object) -> np.ndarray:
        shape = (20, 30, 3) if suffix == ".jpg" else (20, 30)
        return noise(key, shape, dtype=np.float32 if suffix == ".npy" else np.uint8)

    fill(tmp_path, n=12, suffix=suffix, make=make)
    kept, again = open_data(tmp_path), open_data(tmp_path, memory_gb=memory_gb)
    assert any("read again when needed" in note for note in again.notes())
    assert not any("read again when needed" in note for note in kept.notes())
    for item in items(kept):
        assert torch.equal(image(kept, *item), image(again, *item))


def test_only_what_is_asked_for_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_data(fill(tmp_path), memory_gb=0.0)
    read: list[str] = []
    monkeypatch.setattr(
        "studio.data.io.images.read_image",
        lambda path, *args, **more: (read.append(path.name), read_image(path, *args, **more))[1],
    )
    dataset.images("train", "target", [2, 5])
    assert read == [Path(names(dataset, "train", "target")[i]).name for i in (2, 5)]


def test_a_packed_volume_is_looked_at_to_its_end_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for i in range(20):
            nibabel.save(
                nibabel.Nifti1Image(noise((domain, i), (8, 8, 4)), np.eye(4)),
                tmp_path / domain / f"{i:03}.nii.gz",
            )
    looked: list[Path] = []
    monkeypatch.setattr("studio.data.io.images.verify_gzip", looked.append)
    dataset = open_data(tmp_path, memory_gb=0.0)
    assert sorted(looked) == sorted(tmp_path.rglob("*.nii.gz"))
    dataset.images("train", "target", [2, 5])
    assert len(looked) == 40


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_file_that_changes_after_opening_is_named(tmp_path: Path, change: str) -> None:
    dataset = open_data(fill(tmp_path), memory_gb=0.0)
    path = tmp_path / names(dataset, "train", "target")[1]
    if change == "removed":
        path.unlink()
    else:
        write(path, noise("new", (8, 9)))
    with pytest.raises(StudioError, match=rf"{path.name}: .* since the data set was opened"):
        dataset.images("train", "target", [0, 1])
    assert dataset.images("train", "target", [0]).isfinite().all()


# ---- The table ----


def rows(*lines: str, header: str = "file,digit,size") -> str:
    return "\n".join((header, *lines)) + "\n"


FAULTS = {
    "empty": ("", {}, r"attributes\.csv: empty, expected a header with the column 'file'"),
    "no column file": (
        "path,digit\na,1\n",
        {},
        r"no column 'file' in the header; found path, digit",
    ),
    "a column twice": ("file,a,a\ntarget/000.png,1,2\n", {}, "more than one column is called a"),
    "a short row": (rows("target/000.png,1"), {}, "line 2: 2 cells, but the header has 3"),
    "a long row": (rows("target/000.png,1,2,3"), {}, "line 2: 4 cells, but the header has 3"),
    "a torn quote": (rows('target/000.png,"1,2'), {}, r"attributes\.csv, line 2: unexpected end"),
    "a missing file": (
        rows("target/0000.png,1,2"),
        {},
        "line 2: no image 'target/0000.png'; did you mean 'target/000",
    ),
    "not an image": (rows("target/x.txt,1,2"), {}, "'target/x.txt' is not among the images"),
    "a name that two images have": (
        rows("000.png,1,2"),
        {},
        "2 images: write background/000.png or target/000.png",
    ),
    "a row twice": (
        rows("target/000.png,,", "./target/000.png,,"),
        {},
        "line 3: target/000.png has a row already, ",
    ),
    "out of the folder": (rows("../secret.png,1,2"), {}, r"line 2: '\.\./secret\.png' leaves"),
    "an absolute path": (rows("/etc/a.png,1,2"), {}, "line 2: '/etc/a.png' leaves"),
    "no file name": (rows(",1,2"), {}, "line 2: no file name"),
    "a wrong split": (
        "file,split\ntarget/000.png,val\n",
        {},
        r"target/000\.png is 'val', expected train or test",
    ),
    "an unknown attribute": (
        rows(),
        {"digits": "salient"},
        "data.attributes.digits: .* did you mean 'digit'",
    ),
    "a reserved name": (
        rows("target/000.png,1,2"),
        {"file": "salient"},
        "data.attributes.file: no attribute can",
    ),
    "no value": (
        rows("target/000.png,,2"),
        {"digit": "salient"},
        "data.attributes.digit: no target image has a value",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_table_is_one_clear_message(tmp_path: Path, fault: str) -> None:
    text, attributes, message = FAULTS[fault]
    fill(tmp_path)
    (tmp_path / "target/x.txt").touch()
    table(tmp_path, text)
    with pytest.raises(StudioError, match=message):
        open_data(tmp_path, attributes=attributes)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_that_is_not_utf_8(tmp_path: Path, encoding: str) -> None:
    fill(tmp_path)
    table(tmp_path, "file,größe\ntarget/000.png,1\n", encoding)
    with pytest.raises(StudioError, match=r"attributes\.csv: not UTF-8"):
        open_data(tmp_path)


def test_all_faulty_rows_are_counted_and_ten_are_listed(tmp_path: Path) -> None:
    fill(tmp_path)
    table(tmp_path, rows(*(f"target/x{i}.png,1,2" for i in range(15)), "target/000.png,1,2"))
    with pytest.raises(StudioError, match="15 of 16 rows are invalid") as error:
        open_data(tmp_path)
    assert len(str(error.value).splitlines()) == 12
    assert "... and 5 more" in str(error.value)


def test_attributes_without_a_table(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(
        StudioError, match=r"attributes\.csv: missing, but data\.attributes names digit"
    ):
        open_data(tmp_path, attributes={"digit": "salient"})


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("file,size\ntarget/a b é.png,3.5\ntarget/000.png,4\n", "utf-8"),
        ("file,size\r\ntarget/a b é.png,3.5\r\ntarget/000.png,4\r\n", "utf-8-sig"),
        ("file;size\ntarget/a b é.png;3,5\ntarget/000.png;4\n", "utf-8"),
        ('"File"\t"size"\n"target/a b é.png"\t3.5\n\ntarget/000.png\t4\n', "utf-8"),
        ("size,file,\n3.5,target\\a b é.png,\n4,./target/000.png,\n", "utf-8"),
        ("file,size\na b é.png,3.5\ntarget/000.png,4,,\n,,\n", "utf-8-sig"),
        ("file,size\na b e\u0301.png, 3.5 \ntarget/000.png,4.0\n", "utf-8"),
    ],
    ids=["plain", "Excel", "semicolons", "tabs", "Windows", "bare name", "macOS"],
)
def test_tables_as_programs_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    fill(tmp_path)
    write(tmp_path / "target/a b é.png", noise(0))
    table(tmp_path, text, encoding)
    dataset = open_data(tmp_path, attributes={"size": "salient"})
    assert dataset.attributes["size"].classes == ("3.5", "4")
    assert dataset.attributes["size"].target_only
    found = {
        name: label
        for split in SPLITS
        for name, label in zip(
            names(dataset, split, "target"), dataset.labels(split, "target")["size"], strict=True
        )
        if label >= 0
    }
    assert found == {"target/a b é.png": 0, "target/000.png": 1}
    assert any("files have no row in attributes.csv" in note for note in dataset.notes())


def test_labels_go_with_their_images(tmp_path: Path) -> None:
    def marked(key: tuple[str, int]) -> np.ndarray:
        values = noise(key)
        values[0, 0] = key[1]
        return values

    fill(tmp_path, make=marked)
    lines = [
        f"{name}/{i:03}.png,{'' if name == 'background' else i},{i / 2}"
        for name in DOMAINS
        for i in range(20)
    ]
    table(tmp_path, rows(*reversed(lines)))
    dataset = open_data(tmp_path, attributes={"digit": "salient", "size": "common"})
    assert (dataset.attributes["digit"].belongs, dataset.attributes["size"].belongs) == (
        "salient",
        "common",
    )
    assert dataset.attributes["digit"].target_only
    assert not dataset.attributes["size"].target_only
    for split in SPLITS:
        for domain in DOMAINS:
            labels = dataset.labels(split, domain)
            assert set(labels) == ({"digit", "size"} if domain == "target" else {"size"})
            corner = dataset.images(split, domain, range(dataset.size(split, domain)))[:, 0, 0, 0]
            for values, scale in ((labels.get("digit"), 1), (labels["size"], 2)):
                if values is not None:
                    np.testing.assert_allclose((corner + 1) * 127.5, values * scale, atol=1e-3)


def test_only_named_columns_are_attributes(tmp_path: Path) -> None:
    fill(tmp_path)
    table(tmp_path, rows("target/000.png,1,2"))
    dataset = open_data(tmp_path)
    assert dataset.attributes == {}
    assert dataset.labels("train", "target") == {}
    assert "columns that data.attributes does not name are not used: digit, size" in dataset.notes()


@pytest.mark.parametrize(
    ("texts", "classes", "values"),
    [
        (["b", "a", "", "b"], ("a", "b"), [1, 0, -1, 1]),
        (["10", "9", "nan", "9.0"], ("9", "10"), [1, 0, -1, 0]),
        (["1.5", "NA", *map(str, range(10))], (), [1.5, np.nan, *range(10)]),
        ([str(i) for i in range(10)], tuple("0123456789"), list(range(10))),
        (["1", "?", "2"], ("1", "2", "?"), [0, 2, 1]),
        (["1", "inf", "1_0"], ("1", "1_0", "inf"), [0, 2, 1]),
    ],
)
def test_columns_are_categories_or_numbers(
    texts: list[str], classes: tuple[str, ...], values: Sequence[float]
) -> None:
    found, numbers = encode_column(texts)
    assert found == classes
    np.testing.assert_array_equal(numbers, values)
    assert numbers.dtype == (np.int64 if classes else np.float64)


def test_attributes_that_measure_nothing_are_noted(tmp_path: Path) -> None:
    fill(tmp_path)
    lines = [f"target/{i:03}.png,same,{'?' if i == 3 else i}" for i in range(20)]
    table(tmp_path, rows(*lines))
    notes = open_data(tmp_path, attributes={"digit": "salient", "size": "salient"}).notes()
    assert "attribute digit has the same value on every target image of the train split" in notes
    assert "attribute size is read as categories, because some values are not numbers: ?" in notes
