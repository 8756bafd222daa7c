"""Folders: one rule of intensity for all files, and notes where it does not fit them."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.folder_files import (
    DOMAINS,
    fill,
    image,
    items,
    noise,
    open_folders,
    shown,
    sides,
    write,
)

from studio.data.folders import Folders, FoldersConfig
from studio.errors import StudioError

Make = Callable[[object], np.ndarray]


def two_folders(root: Path, target: Make, background: Make = noise) -> Path:
    """Writes 20 images into each folder, each as its maker says: PNG if 8-bit, else npy."""
    for domain, make in zip(DOMAINS, (background, target), strict=True):
        for i in range(20):
            values = make((domain, i))
            suffix = ".png" if values.dtype == np.uint8 else ".npy"
            write(root / domain / f"{i:03}{suffix}", values)
    return root


def as_type(kind: type, factor: float = 1) -> Make:
    return lambda key: (noise(key).astype(np.float64) * factor).astype(kind)


def said(dataset: Folders) -> str:
    """Returns the notes, without those on splits."""
    return "\n".join(note for note in dataset.notes() if "split" not in note)


@pytest.mark.parametrize(
    ("make", "words", "remedy"),
    [
        (as_type(np.int64), "int64, 0 to 255", "data.window: [0, 255]"),
        (as_type(np.uint16, 16), "uint16, 0 to 4080", "data.normalise: range if each type"),
        (as_type(np.uint16, 16), "uint16, 0 to 4080", "data.window: [0, 4080]"),
        (as_type(np.float32, 1 / 255), "float32, 0 to 1", "multiply the floats by 255"),
        (as_type(np.float64), "float64, 0 to 255", "data.normalise: per_image"),
    ],
    ids=["int64", "12 bits, range", "12 bits, window", "unit", "float64"],
)
def test_mixed_depth_is_refused_until_the_config_says_what_is_meant(
    make: Make, words: str, remedy: str, tmp_path: Path
) -> None:
    two_folders(tmp_path, make)
    with pytest.raises(StudioError, match=r"8-bit: 20 background files \(.*such as") as error:
        open_folders(tmp_path)
    assert words in str(error.value)
    assert remedy in str(error.value)
    assert "target/000.npy" in str(error.value)
    for stated in ({"window": [0, 255]}, {"normalise": "window"}, {"normalise": "per_image"}):
        assert open_folders(tmp_path, **stated).size("train", "target") == 16


def test_mixed_depth_is_refused_when_one_file_within_a_folder_differs(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/deep.png", noise(0, high=60_000, dtype=np.uint16))
    with pytest.raises(StudioError, match=r"1 target files \(uint16, .* target/deep"):
        open_folders(tmp_path)
    assert open_folders(tmp_path, exclude="deep.png").intensity.rule == "range"


def test_mixed_depth_is_refused_when_integers_and_floats_have_other_units(tmp_path: Path) -> None:
    two_folders(tmp_path, as_type(np.float32, 1 / 255), as_type(np.int16, 8))
    with pytest.raises(StudioError, match=r"integers: 20 background .* floats: 20 target"):
        open_folders(tmp_path)


def test_integers_and_floats_of_one_unit_share_a_window(tmp_path: Path) -> None:
    two_folders(tmp_path, as_type(np.float32, 8), as_type(np.int16, 8))
    dataset = open_folders(tmp_path)
    assert dataset.window == pytest.approx((0, 2040), abs=20)
    assert "files of the types float32, int16 are taken as one unit" in said(dataset)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_scaled_nifti_is_of_another_depth_than_plain_8_bit(suffix: str, tmp_path: Path) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for i in range(20):
            volume = nibabel.Nifti1Image(noise((domain, i), (8, 8, 6)), np.eye(4))
            if domain == "target":
                volume.header.set_slope_inter(1 / 255, 0)
            volume.to_filename(tmp_path / domain / f"{i}{suffix}")
    with pytest.raises(StudioError, match=r"8-bit: 20 background .* floats: 20 target"):
        open_folders(tmp_path)


@pytest.mark.parametrize(
    "stated", [{"window": [0, 255]}, {"normalise": "per_image"}, {"normalise": "window"}]
)
def test_types_of_files_do_not_matter_once_the_rule_is_stated(stated: dict, tmp_path: Path) -> None:
    mixed = open_folders(two_folders(tmp_path / "mixed", as_type(np.int64)), **stated)
    plain = open_folders(two_folders(tmp_path / "plain", as_type(np.uint8)), **stated)
    for name in sides(plain):
        other = name.replace(".png", ".npy") if name.startswith("target") else name
        np.testing.assert_array_equal(shown(mixed, other), shown(plain, name))


def test_window_is_used_when_all_images_are_8_bit(tmp_path: Path) -> None:
    dataset = open_folders(fill(tmp_path), window=[50, 100])
    expected = ((noise(("target", 0)).astype(float) - 50) / 25 - 1).clip(-1, 1)
    np.testing.assert_allclose(shown(dataset, "target/000.png")[0], expected, atol=1e-6)
    assert "values from 50 to 100 become -1 to 1 (data.window)" in said(dataset)
    assert dataset.derived()["window"] == [50, 100]


def test_plain_8_bit_images_need_no_note_and_store_their_range(tmp_path: Path) -> None:
    dataset = open_folders(fill(tmp_path))
    assert said(dataset) == ""
    derived = dataset.derived()
    assert derived["window"] is None
    assert derived["normalise"] == {"rule": "range", "ranges": {"uint8": [0, 255]}}
    explicit = open_folders(tmp_path, normalise="range")
    for item in items(dataset):
        assert (image(explicit, *item) == image(dataset, *item)).all()


def test_range_holds_for_each_type_when_it_is_stated(tmp_path: Path) -> None:
    two_folders(tmp_path, as_type(np.uint16, 257))
    dataset = open_folders(tmp_path, normalise="range")
    for name in sides(dataset):
        domain, number = name.split("/")
        expected = noise((domain, int(number[:3]))) / 127.5 - 1
        np.testing.assert_allclose(shown(dataset, name)[0], expected, atol=1e-6)
    assert "0 to 255 of uint8, 0 to 65535 of uint16 (data.normalise: range)" in said(dataset)
    assert "differ" not in said(dataset)


def test_range_sets_aside_types_without_one(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/float.npy", noise(0) / 255)
    dataset = open_folders(tmp_path, normalise="range")
    [(name, why)] = dataset.quarantined
    assert name == "target/float.npy"
    assert "data.normalise: range needs integers of 8 or 16 bits" in why


@pytest.mark.parametrize("measure", ["percentiles", "zscore"])
def test_per_image_makes_scanners_alike(measure: str, tmp_path: Path) -> None:
    two_folders(tmp_path, as_type(np.int16, 10), as_type(np.int16))
    same = two_folders(tmp_path / "same", as_type(np.int16), as_type(np.int16))
    fields = {"normalise": "per_image", "per_image": measure}
    scanners, one = open_folders(tmp_path, **fields), open_folders(same, **fields)
    for name in sides(one):
        np.testing.assert_allclose(shown(scanners, name), shown(one, name), atol=1e-5)
    assert "each image has its own range" in said(scanners)
    assert "differ" not in said(scanners)
    assert scanners.derived()["window"] is None


@pytest.mark.parametrize("fields", [{}, {"normalise": "window"}])
def test_notes_say_when_the_ranges_of_the_folders_differ(fields: dict, tmp_path: Path) -> None:
    two_folders(tmp_path, as_type(np.int16, 10), as_type(np.int16))
    (note,) = [n for n in open_folders(tmp_path, **fields).notes() if "differ" in n]
    assert note.startswith("typical values differ between the folders, background ")
    assert "set data.normalise: per_image" in note
    one = two_folders(tmp_path / "one", as_type(np.int16), as_type(np.int16))
    assert "differ" not in said(open_folders(one, **fields))


def test_notes_say_when_8_bit_folders_differ_in_brightness(tmp_path: Path) -> None:
    two_folders(tmp_path, lambda key: noise(key, high=100) + np.uint8(150), as_type(np.uint8, 0.4))
    assert "typical values differ between the folders" in said(open_folders(tmp_path))


def test_notes_say_when_images_within_both_folders_differ(tmp_path: Path) -> None:
    def scanner(key: object) -> np.ndarray:
        return noise(key, dtype=np.int16) * np.int16(10 if key[1] % 2 else 1)

    two_folders(tmp_path, scanner, scanner)
    assert "the images differ in range" in said(open_folders(tmp_path))


@pytest.mark.parametrize("high", [2, 5, 20])
def test_notes_say_when_images_use_a_sliver_of_the_range(high: int, tmp_path: Path) -> None:
    fill(tmp_path, make=lambda key: noise(key, high=high))
    (note,) = said(open_folders(tmp_path)).splitlines()
    assert note.startswith(f"the images use {(high - 1) / 255:.1%} of the range 0 to 255")
    assert f"set data.window: [0, {high - 1}]" in note
    repaired = open_folders(tmp_path, window=[0, high - 1])
    assert "use" not in said(repaired)
    assert repaired.images("train", "target", range(4)).unique().numel() >= min(high, 4)


def test_notes_say_when_the_window_is_a_sliver_of_the_values(tmp_path: Path) -> None:
    fill(tmp_path)
    assert "data.window 0 to 1 is 0.4% of a typical" in said(open_folders(tmp_path, window=[0, 1]))
    assert "typical" not in said(open_folders(tmp_path, window=[0, 200]))


def test_folders_keep_the_rule_of_a_run_when_files_of_another_type_are_added(
    tmp_path: Path,
) -> None:
    fill(tmp_path)
    config = FoldersConfig(root=str(tmp_path), resolution=8)
    first = Folders(config)
    write(tmp_path / "target/same.npy", noise("x").astype(np.int64))
    write(tmp_path / "target/deep.npy", noise("y", high=4096, dtype=np.int64))
    with pytest.raises(StudioError, match="different depth"):
        Folders(config)
    again = Folders(config, first.derived())
    np.testing.assert_allclose(
        shown(again, "target/same.npy")[0], noise("x") / 127.5 - 1, atol=1e-6
    )
    [(name, why)] = again.quarantined
    assert name == "target/deep.npy"
    assert "is not 8-bit as the images of the data set but int64" in why


def test_folders_keep_the_window_of_a_run_when_8_bit_files_are_added(tmp_path: Path) -> None:
    fill(tmp_path, suffix=".npy", make=as_type(np.int16, 2))
    config = FoldersConfig(root=str(tmp_path), resolution=8)
    first = Folders(config)
    low, high = first.window
    write(tmp_path / "target/new.png", noise("x"))
    again = Folders(config, first.derived())
    expected = ((noise("x") - low) / (high - low)).clip(0, 1) * 2 - 1
    np.testing.assert_allclose(shown(again, "target/new.png")[0], expected, atol=1e-5)
    assert again.window == (low, high)


def former(key: object) -> np.ndarray:
    return noise(key, high=60_000, dtype=np.uint16)


@pytest.mark.parametrize("derived", [{}, {"window": [0, 60_000]}])
def test_run_of_an_older_studio_keeps_its_rule_per_file(derived: dict, tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/deep.png", former(0))
    config = FoldersConfig(root=str(tmp_path), resolution=8, window=[0, 60_000])
    dataset = Folders(config, derived)
    np.testing.assert_allclose(
        shown(dataset, "target/000.png")[0], noise(("target", 0)) / 127.5 - 1, atol=1e-6
    )
    np.testing.assert_allclose(
        shown(dataset, "target/deep.png")[0], former(0) / 30_000 - 1, atol=1e-6
    )
    assert "trained by an older studio" in said(dataset)
    again = Folders(config, dataset.derived())
    for item in items(dataset):
        assert (image(again, *item) == image(dataset, *item)).all()


def test_run_of_an_older_studio_ignores_the_window_for_8_bit_files_and_says_so(
    tmp_path: Path,
) -> None:
    config = FoldersConfig(root=str(fill(tmp_path)), resolution=8, window=[50, 100])
    old, plain = Folders(config, {}), open_folders(tmp_path)
    for item in items(plain):
        assert (image(old, *item) == image(plain, *item)).all()
    assert "whatever data.window says" in said(old)
    assert "older studio" not in said(Folders(config))


@pytest.mark.parametrize("fields", [{"window": [0, 300]}, {"normalise": "per_image"}])
def test_images_beyond_the_memory_have_the_same_pixels(fields: dict, tmp_path: Path) -> None:
    two_folders(tmp_path, as_type(np.int64))
    kept, again = (open_folders(tmp_path, memory_gb=gb, **fields) for gb in (2, 0))
    for item in items(kept):
        assert (image(again, *item) == image(kept, *item)).all()
