"""Small folders of images for the tests of `folders`."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from studio.data.folders import Folders, FoldersConfig

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


def open_folders(root: Path, **fields: object) -> Folders:
    return Folders(FoldersConfig(**{"root": str(root), "resolution": 8, **fields}))


def write_table(root: Path, text: str, encoding: str = "utf-8") -> None:
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


def item_names(dataset: Folders, split: str, domain: str) -> list[str]:
    return dataset.item_names(split, domain)


def sides(dataset: Folders) -> dict[str, str]:
    return {
        name: split
        for split in SPLITS
        for domain in DOMAINS
        for name in item_names(dataset, split, domain)
    }


def shown(dataset: Folders, name: str) -> np.ndarray:
    """Returns the image that a file has become, (C, H, W)."""
    split, domain = sides(dataset)[name], name.split("/")[0]
    return image(dataset, split, domain, item_names(dataset, split, domain).index(name)).numpy()
