"""Folders: files that cannot be used are set aside by name."""

import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.folder_files import DOMAINS, fill, image, items, noise, open_folders, write

from studio.data.folders import Folders, QuarantineError
from studio.errors import StudioError


def build_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
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


def write_gif(path: Path) -> None:
    Image.fromarray(noise(0)).save(path, "GIF")


def write_cmyk(path: Path) -> None:
    Image.fromarray(noise(0, (8, 8, 3))).convert("CMYK").save(path, "JPEG")


def write_truncated(path: Path) -> None:
    write(path, noise(0, (64, 64)))
    path.write_bytes(path.read_bytes()[:-1500])


def write_flipped(path: Path) -> None:
    write(path, noise(0, (64, 64)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def write_pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def write_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=noise(0))


def write_claimed(path: Path) -> None:
    np.lib.format.open_memmap(path, "w+", np.float32, (64, 64)).flush()
    path.write_bytes(path.read_bytes()[:500])


def value_writer(value: float) -> Callable[[Path], object]:
    def make(path: Path) -> object:
        values = noise(0, dtype=np.float32)
        values[3, 3] = value
        return write(path, values)

    return make


def bytes_writer(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def shape_writer(*shape: int, dtype: type = np.float32) -> Callable[[Path], object]:
    return lambda path: write(path, noise(0, shape, dtype=dtype))


def write_volumes(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(noise(0, (8, 8, 8, 3)), np.eye(4)), path)


def write_one_wrong_bit(path: Path) -> None:
    """Writes a compressed volume with one wrong bit that only the checksum detects."""
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
    "empty.png": (bytes_writer(b""), "is empty"),
    "empty.nii.gz": (bytes_writer(b""), "is empty"),
    "garbage.png": (bytes_writer(b"garbage" * 20), "no PNG, JPEG, TIFF, WebP or BMP"),
    "garbage.jpg": (bytes_writer(b"garbage" * 20), "no PNG, JPEG, TIFF, WebP or BMP"),
    "garbage.npy": (bytes_writer(b"garbage" * 20), "cannot be"),
    "garbage.nii": (bytes_writer(b"garbage" * 99), "cannot be"),
    "garbage.nii.gz": (bytes_writer(b"garbage" * 99), "cannot be"),
    "one_bit.nii.gz": (write_one_wrong_bit, "CRC check failed"),
    "really_a_gif.png": (write_gif, "no PNG, JPEG, TIFF, WebP or BMP"),
    "header_only.png": (bytes_writer(build_png(8, 8, 8, 0, b"")), "cannot be"),
    "truncated.png": (write_truncated, "cannot be"),
    "truncated.jpg": (write_truncated, "cannot be"),
    "flipped.png": (write_flipped, "cannot be"),
    "huge.png": (
        bytes_writer(build_png(30_000, 30_000, 8, 0, b"")),
        "has more than 67108864 pixels",
    ),
    "large.png": (bytes_writer(build_png(9_000, 9_000, 8, 0, b"")), "is 9000 x 9000 pixels"),
    "deep_colours.png": (
        bytes_writer(build_png(8, 8, 16, 2, b"\0" * 49 * 8)),
        "16 bits per colour",
    ),
    "print.jpg": (write_cmyk, "CMYK"),
    "constant.png": (
        lambda path: write(path, np.full((8, 8, 3), (1, 2, 3), np.uint8)),
        "same value everywhere",
    ),
    "constant.npy": (lambda path: write(path, np.full((21, 21), 0.1)), "same value everywhere"),
    "nan.npy": (value_writer(np.nan), "has 1 values that are NaN"),
    "infinite.npy": (value_writer(-np.inf), "has 1 values that are NaN, infinite"),
    "too_large.npy": (value_writer(1e35), "beyond 1e"),
    "objects.npy": (write_pickled, "cannot be"),
    "archive.npy": (write_archive, "archive"),
    "claimed.npy": (write_claimed, "cannot be"),
    "complex.npy": (shape_writer(8, 8, dtype=np.complex64), "complex64"),
    "line.npy": (shape_writer(8), r"has shape \(8,\)"),
    "four_channels.npy": (shape_writer(8, 8, 4), "expected 1 or 3 channels"),
    "ambiguous.npy": (shape_writer(3, 8, 3), "expected 1 or 3 channels"),
    "nothing.npy": (shape_writer(0, 8), "cannot be|at least 1"),
    "series.nii": (write_volumes, r"has shape \(8, 8, 8, 3\)"),
    "gone.png": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "pipe.png": (os.mkfifo, "is not a file"),
}


@pytest.fixture(scope="module")
def with_bad_files(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = fill(tmp_path_factory.mktemp("bad"), n=40)
    for name, (make, _) in BAD.items():
        make(root / "target" / name)
    return open_folders(root, max_bad=0.5)


@pytest.mark.parametrize("name", BAD)
def test_folders_set_aside_a_bad_file_with_the_reason(with_bad_files: Folders, name: str) -> None:
    reasons = dict(with_bad_files.quarantined)
    with pytest.raises(StudioError, match=BAD[name][1]):
        raise StudioError(reasons[f"target/{name}"])


def test_folders_use_the_other_files(with_bad_files: Folders) -> None:
    assert len(with_bad_files.quarantined) == len(BAD)
    assert len(items(with_bad_files)) == 80
    assert f"{len(BAD)} of {80 + len(BAD)} files are set aside" in with_bad_files.notes()[0]
    assert all(image(with_bad_files, *item).isfinite().all() for item in items(with_bad_files))


def test_folders_raise_with_five_names_when_too_many_files_are_bad(tmp_path: Path) -> None:
    fill(tmp_path)
    for i in range(12):
        (tmp_path / f"target/bad{i:02}.png").touch()
    with pytest.raises(
        QuarantineError, match=r"12 of 52 files cannot be used, max_bad is 5%"
    ) as error:
        open_folders(tmp_path)
    lines = str(error.value).splitlines()[1:]
    assert [line.split()[0] for line in lines] == [
        *(f"target/bad{i:02}.png" for i in range(5)),
        "...",
    ]
    assert len(error.value.quarantined) == 12
    assert len(open_folders(tmp_path, max_bad=12 / 52).quarantined) == 12


def test_folders_raise_when_all_files_are_bad(tmp_path: Path) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        (tmp_path / domain / "a.png").touch()
    with pytest.raises(QuarantineError, match="2 of 2 files cannot be used"):
        open_folders(tmp_path, max_bad=0.99)
