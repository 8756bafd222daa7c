"""Hostile data files: tables, PNG files and NIfTI headers are read or refused clearly, and soon."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from support.fuzzing import EDITS, edit_bytes, fuzz

from studio.data.folders import Folders, FoldersConfig
from studio.data.io.fitting import fit
from studio.data.io.images import read_image

FITTING = [
    "background/000.png",
    "target/001.png",
    "000.png",
    "train",
    "test",
    "",
    "nan",
    "1e400",
    "../x",
    '"',
    "a\tb",
    "é",
]
CELLS = st.sampled_from(FITTING) | st.text(max_size=6)
ROWS = st.lists(st.lists(CELLS, max_size=5), max_size=8)
NAMES = [f"{domain}/{i:03}.png" for domain in ("background", "target") for i in range(6)]
ORDERLY = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(
        st.sampled_from(["", "train", "test"]),
        st.sampled_from(["", "ann", "bob"]),
        st.floats(width=16).map(str),
    ),
    min_size=1,
)
PLAIN = st.lists(
    st.integers(0, 99), min_size=len(NAMES), max_size=len(NAMES)
)  # every table of these ages is valid


def valid_table(ages: list[int]) -> bytes:
    rows = [
        f"{name},{('train', 'test')[i % 2]},{age}"
        for i, (name, age) in enumerate(zip(NAMES, ages, strict=True))
    ]
    return "\n".join(["file,split,age", *rows]).encode()


TABLES = st.one_of(
    PLAIN.map(valid_table),
    ORDERLY.map(
        lambda rows: "\n".join(
            ["file,split,subject,age", *(",".join([n, *r]) for n, r in rows.items())]
        ).encode()
    ),
    st.binary(max_size=300),
    st.tuples(st.sampled_from([",", ";", "\t"]), ROWS).map(
        lambda p: "\n".join(
            [p[0].join(["file", "split", "subject", "age"]), *(p[0].join(row) for row in p[1])]
        ).encode()
    ),
    st.tuples(st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"]), st.binary(max_size=60)).map(
        lambda p: p[0] + b"file,age\n" + p[1]
    ),
)


def small_set(folder: Path) -> Path:
    root = folder / "photos"
    if not root.exists():
        for domain in ("background", "target"):
            (root / domain).mkdir(parents=True)
            for i in range(6):
                Image.fromarray(np.random.default_rng(i).integers(0, 255, (8, 8), np.uint8)).save(
                    root / domain / f"{i:03}.png"
                )
    return root


@fuzz(TABLES)
def check_tables(case: bytes, folder: Path) -> None:
    """attributes.csv has any bytes, or cells that almost fit."""
    root = small_set(folder)
    (root / "attributes.csv").write_bytes(case)
    dataset = Folders(FoldersConfig(root=str(root), resolution=8))
    for split in ("train", "test"):
        for domain in ("background", "target"):
            assert all(
                len(v) == dataset.size(split, domain)
                for v in dataset.labels(split, domain).values()
            )


def test_folders_reads_or_refuses_tables() -> None:
    check_tables(100)


@pytest.mark.slow
def test_folders_reads_or_refuses_2000_tables() -> None:
    check_tables(2_000)


def png_of(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png")
    return buffer.getvalue()


PNGS = [
    png_of(np.arange(64, dtype=np.uint8).reshape(8, 8)),
    png_of(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)),
    png_of(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900),
]


def with_header(data: bytes, header: tuple[int, int, int, int]) -> bytes:
    """Puts width, height, bit depth and colour type into the header, with a valid checksum."""
    body = b"IHDR" + struct.pack(">IIBBBBB", header[0], header[1], header[2], header[3], 0, 0, 0)
    return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


HEADERS = st.tuples(
    st.sampled_from([0, 1, 8, 2**16, 2**31 - 1, 2**32 - 1]),
    st.sampled_from([0, 1, 8, 2**20, 2**31]),
    st.sampled_from([1, 2, 4, 8, 16, 255]),
    st.sampled_from([0, 2, 3, 4, 6, 9]),
)


def check_readable(path: Path) -> None:
    values = fit(read_image(path), 8)
    assert values.shape[1:] == (8, 8)
    assert np.isfinite(values).all()


@fuzz(st.tuples(st.sampled_from(PNGS), EDITS, st.none() | st.integers(0, 500), st.none() | HEADERS))
def check_png_files(case: tuple, folder: Path) -> None:
    """Bytes are changed, files cut short, and headers do not fit the data."""
    data, edits, length, header = case
    data = data if header is None else with_header(data, header)
    (folder / "fuzz.png").write_bytes(edit_bytes(data, edits, length))
    check_readable(folder / "fuzz.png")


def test_read_image_reads_or_refuses_png_files() -> None:
    check_png_files(150)


@pytest.mark.slow
def test_read_image_reads_or_refuses_2000_png_files() -> None:
    check_png_files(2_000)


def nifti() -> bytes:
    image = nibabel.Nifti1Image(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), np.eye(4))
    return image.to_bytes()


NIFTI = nifti()
FIELDS = {
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "sizeof_hdr": (0, "i"),
    "magic": (344, "4s"),
}
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 7, 8, 16, 64, 352, 1024, 32767, -32768])
REALS = st.floats(width=32) | NUMBERS.map(float)


def put_field(data: bytes, name: str, numbers: list, reals: list) -> bytes:
    offset, form = FIELDS[name]
    if form == "4s":
        value = struct.pack("<4s", [b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0"][int(numbers[0]) % 4])
    else:
        count, values = int(form[:-1] or 1), reals if form.endswith("f") else numbers
        value = struct.pack("<" + form, *values[:count])
    return data[:offset] + value + data[offset + len(value) :]


def eight(one: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(one, min_size=8, max_size=8)


# `dim` is drawn more often, because its first number decides how all others are read.
CHOSEN = st.sampled_from([*sorted(FIELDS), "dim", "dim", "dim"])
PUT = st.lists(st.tuples(CHOSEN, eight(NUMBERS), eight(REALS)), max_size=3)
KINDS = st.sampled_from(["nii", "nii.gz", "nii.gz cut"])
# A file says that it has 8 dimensions, and the format allows 7.
TOO_MANY_DIMENSIONS = ([("dim", [8] * 8, [0.0] * 8)], [], None, "nii")


@fuzz(st.tuples(PUT, EDITS, st.none() | st.integers(0, 700), KINDS), [TOO_MANY_DIMENSIONS])
def check_nifti_headers(case: tuple, folder: Path) -> None:
    """Fields have numbers that do not fit, bytes are changed, and files cut short or compressed."""
    fields, edits, length, kind = case
    data = NIFTI
    for name, numbers, reals in fields:
        data = put_field(data, name, numbers, reals)
    data = edit_bytes(data, edits, length)
    path = folder / f"fuzz.{kind.partition(' ')[0]}"
    if kind != "nii":
        data = gzip.compress(data, mtime=0)
        data = data[: len(data) // 2] if "cut" in kind else data
    path.write_bytes(data)
    check_readable(path)


def test_read_image_reads_or_refuses_nifti_headers() -> None:
    check_nifti_headers(150)


@pytest.mark.slow
def test_read_image_reads_or_refuses_2000_nifti_headers() -> None:
    check_nifti_headers(2_000)


def test_fuzz_finds_a_planted_fault_in_the_quick_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    # The planted reader passes one kind of broken file on as an exception without a message.
    def read_carelessly(path: Path) -> None:
        if path.suffix == ".nii":
            header = path.read_bytes().ljust(352, b"\0")
            dimensions = struct.unpack_from("<h", header, 40)[0]
            if dimensions > 7:
                raise ZeroDivisionError

    monkeypatch.setitem(globals(), "check_readable", read_carelessly)
    with pytest.raises(ZeroDivisionError):
        check_nifti_headers(150)
