"""TIFF, WebP and BMP: read exactly, written back in the same format, or refused in words."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.data.folders_config import FoldersConfig
from studio.data.intensity import EIGHT_BIT_RANGE, Intensity
from studio.data.io.images import read_image
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.write_back import write_back

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 8), dtype=np.uint16)


@pytest.mark.parametrize(
    ("name", "values", "kind", "options"),
    [
        ("a.tif", GRAY, "uint8", {}),
        ("a.TIFF", RGB, "uint8", {"compression": "tiff_lzw"}),
        ("a.tif", DEEP, "uint16", {"compression": "tiff_adobe_deflate"}),
        ("a.tif", DEEP.astype(np.int32) - 30000, "int32", {}),
        ("a.tif", (DEEP / 7).astype(np.float32), "float32", {}),
        ("a.bmp", GRAY, "uint8", {}),
        ("a.bmp", RGB, "uint8", {}),
        ("a.webp", RGB, "uint8", {"lossless": True}),
    ],
)
def test_picture_is_read_exactly_and_written_in_its_format(
    name: str, values: np.ndarray, kind: str, options: dict, tmp_path: Path
) -> None:
    Image.fromarray(values).save(tmp_path / name, **options)
    picture = read_image(tmp_path / name)
    planes = np.moveaxis(np.atleast_3d(values), -1, 0)
    np.testing.assert_array_equal(picture.values, planes)
    assert (picture.type, picture.size) == (kind, (6, 8))
    low, high = float(values.min()), float(values.max())
    rule = reading_rule(
        FoldersConfig(name="folders", root="."),
        (len(planes), 6, 6),
        Intensity("window", (low, high)),
    )
    source = read_user_file(tmp_path / name, rule)
    (tmp_path / "out").mkdir()
    write_back(source, -source.images, tmp_path / "out" / name)
    with Image.open(tmp_path / "out" / name) as made, Image.open(tmp_path / name) as original:
        assert (made.format, made.mode, made.size) == (
            original.format,
            original.mode,
            original.size,
        )
        assert made.info.get("compression") == original.info.get("compression")
        written = np.moveaxis(np.atleast_3d(np.asarray(made)), -1, 0)
    inside, outside = written[:, :, 1:7], written[:, :, [0, 7]]
    np.testing.assert_allclose(inside, low + high - planes[:, :, 1:7], rtol=1e-4, atol=1)
    np.testing.assert_array_equal(outside, planes[:, :, [0, 7]])


def test_gray_webp_counts_as_gray(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.webp", lossless=True)
    rule = reading_rule(FoldersConfig(name="folders", root="."), (1, 6, 6), EIGHT_BIT_RANGE)
    found = read_user_file(tmp_path / "a.webp", rule).images[0, 0]
    np.testing.assert_allclose((found + 1) * 127.5, GRAY[:, 1:7], atol=1e-4)


def test_tiff_is_turned_upright(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.tif", tiffinfo={274: 6})  # the top is on the right
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").values[0], np.rot90(GRAY, -1))


def write_deep_colours(path: Path) -> None:
    """Writes a TIFF with 16 bits per colour, which Pillow cannot write."""
    import struct

    pixels = np.stack([DEEP] * 3, -1).astype("<u2").tobytes()
    entries = [
        (256, 3, 1, 8),
        (257, 3, 1, 6),
        (258, 3, 3, 8 + len(pixels)),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 3, 1, 6),
        (279, 4, 1, len(pixels)),
    ]
    place = 8 + len(pixels) + 6
    table = struct.pack("<H", len(entries))
    table += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    head = struct.pack("<2sHI", b"II", 42, place)
    path.write_bytes(head + pixels + struct.pack("<3H", 16, 16, 16) + table)


def test_pictures_that_pillow_would_change_are_refused_in_words(tmp_path: Path) -> None:
    write_deep_colours(tmp_path / "deep.tif")
    pages = [Image.fromarray(GRAY), Image.fromarray(GRAY.T.copy())]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    film = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    film[0].save(tmp_path / "film.webp", save_all=True, append_images=film[1:])
    Image.fromarray(DEEP).save(tmp_path / "white.tif", tiffinfo={262: 0})
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "print.tif")
    (tmp_path / "text.bmp").write_text("no picture")
    for name, reason in {
        "deep.tif": "TIFF with 16 bits per colour",
        "pages.tif": "has 2 pages: expected one image per file",
        "film.webp": "has 2 pages",
        "white.tif": "16 bits in which 0 is white",
        "print.tif": "colours of the kind CMYK",
        "text.bmp": "is no PNG, JPEG, TIFF, WebP or BMP",
    }.items():
        with pytest.raises(UnreadableError, match=reason):
            read_image(tmp_path / name)
