"""The contact sheet of a data set."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.shapes import SHAPES, Blobs

from studio.data.catalogue import init_example
from studio.data.folders import Folders, FoldersConfig
from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.planes import describe_planes
from studio.render.preview import describe_value, preview, preview_grid

BELONGS = {"digit": "salient", "texture": "common"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("example") / "two words é"
    init_example(root)
    return root


def config(root: Path, **fields: object) -> FoldersConfig:
    return FoldersConfig(**{"root": str(root), "attributes": BELONGS, **fields})


def test_preview_is_seeded_and_as_wide_as_requested(root: Path) -> None:
    dataset = Folders(config(root))
    first, again, other = (np.asarray(preview(dataset, 5, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()
    wider = preview(dataset, 9, 0)
    assert wider.width > first.shape[1]
    assert wider.height == first.shape[0]


@pytest.mark.parametrize(
    ("kind", "caption"),
    [
        ("colour", "3 x 12 x 12 (channels, height, width)"),
        (
            "volume",
            "1 x 8 x 8 x 8 (channels, depth, height, width). " + describe_planes((8, 8, 8)).strip(),
        ),
        (
            "vector",
            "20 numbers. They are drawn as tiles, one pixel per number, row by row: "
            "-1 is black and 1 is white.",
        ),
    ],
)
def test_preview_draws_images_volumes_and_vectors(kind: str, caption: str) -> None:
    grid = preview_grid(Blobs(SHAPES[kind]), 3)
    assert grid.caption == caption
    assert grid.draw().height > 4 * 96


def test_preview_draws_few_images_without_attributes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["file,split"]
    for domain in ("background", "target"):
        (tmp_path / domain).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(
                tmp_path / domain / f"{i}.png"
            )
            lines.append(f"{domain}/{i}.png,{'test' if i else 'train'}")
    (tmp_path / "attributes.csv").write_text("\n".join(lines))
    dataset = Folders(FoldersConfig(root=str(tmp_path), resolution=8))
    assert preview(dataset, 6, 0).height > 4 * 96


def test_preview_writes_long_and_missing_values(root: Path, tmp_path: Path) -> None:
    text = (
        (root / "attributes.csv")
        .read_text(encoding="utf-8")
        .replace("gravel", "a very long name of gravel")
    )
    lines = text.splitlines()
    lines = [
        f"{line},age" if i == 0 else f"{line},{'' if i % 2 else i + 0.5}"
        for i, line in enumerate(lines)
    ]
    for name in ("background", "target"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "attributes.csv").write_text("\n".join(lines), encoding="utf-8")
    grid = preview_grid(Folders(config(tmp_path, attributes={**BELONGS, "age": "common"})), 12, 0)
    words = [cell for row in grid.rows for cell in row if isinstance(cell, str)]
    assert any("a very long name of gravel" in word for word in words)
    assert any(word.endswith(", age=-") for word in words)
    assert any(re.search(r", age=\d+\.5$", word) for word in words)
    assert {
        "background train: 160",
        "background test: 40",
        "target train: 160",
        "target test: 40",
    } < set(words)


def test_preview_writes_values_in_the_order_of_its_caption() -> None:
    dataset = TexturedDigits(TexturedDigitsConfig())
    grid = preview_grid(dataset, 6, 3)
    assert grid.caption.endswith("; below each image: texture; below each target image: digit")
    indices = np.sort(np.random.default_rng(3).permutation(5_000)[:6])
    labels = dataset.labels("test", "target")
    photographs = ("brick", "coins", "grass", "gravel")
    assert grid.rows[-1][1:] == [
        f"{photographs[labels['texture'][i]]}, {labels['digit'][i]}" for i in indices
    ]
    assert set(grid.rows[1][1:]) <= set(photographs)


def test_value_of_yes_or_no_is_the_name_of_its_attribute() -> None:
    values = [("Male", ("no", "yes"), place) for place in (1, 0, -1)]
    assert [describe_value(*value) for value in values] == ["Male", "not Male", "-"]
    assert describe_value("accessory", ("glasses", "hat"), 1) == "hat"
