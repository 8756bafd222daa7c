"""Files that people upload: read as `folders` reads them, or refused with one line."""

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from studio.app import uploads
from studio.app.uploads import read_upload
from studio.data.folders import Folders, FoldersConfig
from studio.data.intensity import EIGHT_BIT_RANGE, Intensity
from studio.data.io.user_files import ReadingRule, reading_rule
from studio.errors import StudioError

GRAY, RGB = (1, 16, 16), (3, 16, 16)
RNG = np.random.default_rng(0)


def rule(
    shape: tuple[int, int, int] = GRAY, intensity: Intensity = EIGHT_BIT_RANGE, **fields: object
) -> ReadingRule:
    """Returns how a run on images of this shape reads files."""
    return reading_rule(FoldersConfig(root=".", **fields), shape, intensity)


def deep(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values.astype(np.uint16)).save(path)
    return path


@pytest.mark.parametrize("kind", ["gray", "rgb", "wide", "jpg", "deep"])
def test_read_upload_agrees_with_folders(kind: str, tmp_path: Path) -> None:
    shapes = {
        "gray": (20, 20),
        "rgb": (20, 20, 3),
        "wide": (24, 60, 3),
        "jpg": (90, 70, 3),
        "deep": (30, 30),
    }
    for domain in ("background", "target"):
        (tmp_path / domain).mkdir()
        for i in range(40):
            pixels = RNG.integers(0, 60_000 if kind == "deep" else 256, shapes[kind])
            name = tmp_path / domain / f"{i}.{'jpg' if kind == 'jpg' else 'png'}"
            if kind == "deep":
                deep(name, pixels)
            else:
                Image.fromarray(pixels.astype(np.uint8)).save(name)
    dataset = Folders(FoldersConfig(root=str(tmp_path), resolution=16))
    assert dataset.shape == (GRAY if kind in ("gray", "deep") else RGB)
    found = [
        read_upload(
            tmp_path / "target" / f"{i}.{name.suffix[1:]}", rule(dataset.shape, dataset.intensity)
        )[0]
        for i in range(40)
    ]
    test, train = (
        dataset.images(split, "target", range(dataset.size(split, "target")))
        for split in ("test", "train")
    )
    theirs = {image.numpy().tobytes() for image in torch.cat([test, train])}
    assert {image.numpy().tobytes() for image in found} == theirs
    assert len(theirs) == 40


def test_read_upload_converts_colours_to_those_of_the_run(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "red.png")
    Image.fromarray(RNG.integers(0, 256, (16, 16)).astype(np.uint8)).save(tmp_path / "gray.png")
    red, note = read_upload(tmp_path / "red.png", rule())
    assert red.mean().item() == pytest.approx(76 / 127.5 - 1)
    assert note == " · converted to gray"
    gray, note = read_upload(tmp_path / "gray.png", rule(RGB))
    assert note == " · converted to RGB"
    assert gray.shape == RGB
    assert torch.equal(gray[0], gray[2])


def test_read_upload_states_the_window_of_the_run(tmp_path: Path) -> None:
    values = np.linspace(1000, 9000, 256).reshape(16, 16)
    own, note = read_upload(
        deep(tmp_path / "deep.png", values), rule(intensity=Intensity("per_image"))
    )
    assert (own.min(), own.max()) == (-1, 1)
    assert note == " · 1040 to 8959 shown as -1 to 1"
    window = rule(intensity=Intensity("window", (0.0, 10_000.0)))
    known, note = read_upload(tmp_path / "deep.png", window)
    assert known.min().item() == pytest.approx(-0.8, abs=0.01)
    assert note == " · 0 to 1e+04 shown as -1 to 1"
    assert read_upload(_png(tmp_path / "plain.png"), rule())[1] == ""


def test_read_upload_refuses_16_bits_when_the_images_of_the_run_are_8_bit(tmp_path: Path) -> None:
    """As `studio apply` does."""
    deep(tmp_path / "deep.png", np.linspace(1000, 9000, 256).reshape(16, 16))
    with pytest.raises(StudioError, match=r"deep\.png: is not 8-bit as the images of the data set"):
        read_upload(tmp_path / "deep.png", rule())


def test_read_upload_takes_a_slice_of_a_volume(tmp_path: Path) -> None:
    volume = np.zeros((16, 16, 9), np.float32)
    volume[:8, :, 4], volume[:, :8, 2] = 1.0, 1.0
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "v.nii.gz")
    np.save(tmp_path / "v.npy", volume)
    unit = Intensity("window", (0.0, 1.0))
    middle, second = (
        read_upload(tmp_path / "v.nii.gz", rule(intensity=unit, slice=at))[0][0]
        for at in ("middle", 2)
    )
    assert (middle[:, :8] == 1).all()
    assert (middle[:, 8:] == -1).all()
    assert (second[8:] == 1).all(), "the patient's front is at the top"
    assert (read_upload(tmp_path / "v.npy", rule(intensity=unit))[0][0, :8] == 1).all()


def _png(path: Path, size: tuple[int, int] = (20, 20)) -> Path:
    Image.fromarray(RNG.integers(0, 256, size).astype(np.uint8)).save(path)
    return path


def _code_that_runs(path: Path) -> None:
    array = np.array([_Touch()], object)
    np.save(path, array, allow_pickle=True)


class _Touch:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("it-ran"),)


MAKERS = {
    "notes.png": (
        lambda path: path.write_text("not an image"),
        "notes.png: is no PNG, JPEG, TIFF, WebP or BMP, despite its name",
    ),
    "notes.txt": (
        lambda path: path.write_text("words"),
        r"notes.txt: unknown file format; expected .png, .jpg, .*",
    ),
    "empty.png": (lambda path: path.touch(), r"empty.png: is empty \(0 bytes\)"),
    "huge.png": (
        lambda path: Image.new("1", (10_000, 10_000)).save(path),
        "huge.png: is 10000 x 10000 pixels: expected .*",
    ),
    "cut.png": (
        lambda path: path.write_bytes(_png(path).read_bytes()[:200]),
        "cut.png: cannot be .*",
    ),
    "cmyk.jpg": (
        lambda path: Image.new("CMYK", (9, 9)).save(path),
        "cmyk.jpg: has colours of the kind CMYK.*",
    ),
    "same.npy": (
        lambda path: np.save(path, np.ones((9, 9))),
        r"same\.npy: has the same value everywhere",
    ),
    "nan.npy": (
        lambda path: np.save(path, np.full((9, 9), np.nan)),
        "nan.npy: has 81 values that are NaN.*",
    ),
    "code.npy": (_code_that_runs, "code.npy: cannot be decoded: .*"),
    "page.nii.gz": (
        lambda path: path.write_bytes(gzip.compress(json.dumps([1] * 999).encode())),
        "page.nii.gz: cannot be .*",
    ),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_read_upload_refuses_unusable_files_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = MAKERS[name]
    make(tmp_path / name)
    with pytest.raises(StudioError, match=f"^{message}$") as refused:
        read_upload(tmp_path / name, rule(intensity=Intensity("per_image")))
    assert "\n" not in str(refused.value)
    assert not Path("it-ran").exists()


def test_read_upload_refuses_large_files_before_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _png(tmp_path / "large.png", (400, 400))
    read_upload(path, rule())
    monkeypatch.setattr(uploads, "MOST_BYTES", path.stat().st_size - 1)
    monkeypatch.setattr(uploads, "read_user_file", lambda *_: pytest.fail("it was read"))
    with pytest.raises(
        StudioError, match=r"large.png: has 0\.2 MB; at most 0\.\d+ MB are accepted"
    ):
        read_upload(path, rule())


def test_reading_rule_refuses_runs_with_other_channels() -> None:
    with pytest.raises(StudioError, match="this run reads images of 4 channels"):
        rule((4, 16, 16))
