"""CIFAR-10's images, from the binary version of the original files or from an npz in Keras' layout.

The python version consists of pickles, and opening a pickle can run arbitrary code. It is
therefore refused by name.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np

from studio.data.dataset import Split
from studio.data.io.files import LabelledImages, StoredArray, first_existing, open_npz
from studio.errors import StudioError
from studio.lfs import refuse_pointer

__all__ = ["CIFAR_LAYOUT", "OBJECTS", "open_cifar"]

OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
FULL: dict[Split, int] = {"train": 50_000, "test": 10_000}
# 3073 bytes: the class, then R, G and B.
RECORD = np.dtype([("label", "u1"), ("pixels", "u1", (3, SIDE, SIDE))])
BINARY = "cifar-10-batches-bin"
NPZ = ("cifar10.npz", "cifar-10.npz")
BATCHES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
OTHER_VERSIONS = {  # file or folder of another version -> reason why it is not read
    "cifar-10-batches-py": "is the python version, which consists of pickles and is not opened",
    "cifar-10-python.tar.gz": "is the python version, which consists of pickles and is not opened",
    "cifar-10-binary.tar.gz": "is still packed: unpack it there",
}
CIFAR_LAYOUT = (
    f"CIFAR-10: ROOT/{BINARY}/ with "
    f"{', '.join(n for names in BATCHES.values() for n in names)} (the binary version, "
    "cifar-10-binary.tar.gz unpacked), or ROOT/cifar10.npz with x_train, y_train, x_test, "
    "y_test (Keras' layout)"
)


def open_cifar(root: Path) -> tuple[dict[Split, LabelledImages], list[str]]:
    """Finds CIFAR-10 and checks headers and sizes.

    Args:
        root: the folder of the files.

    Returns:
        The two parts, with images (n, 3, 32, 32) uint8, and notes on missing images.

    Raises:
        StudioError: a file is missing, cut short or of another kind, or only the python version
            exists.
    """
    path = first_existing(root, [*NPZ, BINARY])
    if path is None:
        other = first_existing(root, list(OTHER_VERSIONS))
        instead = f"; {other} {OTHER_VERSIONS[other.name]}" if other else ""
        raise StudioError(f"no CIFAR-10 in {root.absolute()}{instead}; expected {CIFAR_LAYOUT}")
    parts = _from_binary(path) if path.name == BINARY else _from_npz(path)
    for split, part in parts.items():
        if part.size < 2:
            raise StudioError(
                f"{path}: {part.size} images in CIFAR-10's {split} part, expected at least one "
                "per domain"
            )
    sizes = [
        f"{part.size} of the {FULL[split]} {split} images"
        for split, part in parts.items()
        if part.size != FULL[split]
    ]
    return parts, [f"CIFAR-10: {' and '.join(sizes)} are here ({path})"] if sizes else []


def _from_npz(path: Path) -> dict[Split, LabelledImages]:
    shapes = {f"x_{split}": (None, SIDE, SIDE, 3) for split in FULL} | {
        f"y_{split}": (None,) for split in FULL
    }
    arrays = open_npz(path, shapes)
    for split in FULL:
        images, labels = arrays[f"x_{split}"].shape[0], arrays[f"y_{split}"].shape[0]
        if images != labels:
            raise StudioError(f"{path}: {labels} labels for {images} images in the {split} part")
    return {
        split: LabelledImages([arrays[f"x_{split}"]], [arrays[f"y_{split}"]], _channels_first)
        for split in FULL
    }


def _channels_first(images: np.ndarray) -> np.ndarray:
    # Axes must be permuted. The authors' `reshape` to (3, H, W) scrambles every colour image.
    return images.transpose(0, 3, 1, 2)


def _from_binary(place: Path) -> dict[Split, LabelledImages]:
    for name in (name for names in BATCHES.values() for name in names):
        if not os.path.isfile(place / name):
            raise StudioError(f"{(place / name).absolute()}: missing; expected {CIFAR_LAYOUT}")
    parts = {}
    for split, names in BATCHES.items():
        sizes = [_records(place / name) for name in names]
        columns = [
            [
                StoredArray(place / name, (size,), partial(_field, place / name, key))
                for name, size in zip(names, sizes, strict=True)
            ]
            for key in RECORD.names or ()
        ]
        parts[split] = LabelledImages(images=columns[1], labels=columns[0])
    return parts


def _records(path: Path) -> int:
    refuse_pointer(path)
    size = path.stat().st_size
    if size == 0 or size % RECORD.itemsize:
        raise StudioError(
            f"{path}: cut short or damaged: {size} bytes, expected a multiple of {RECORD.itemsize}"
        )
    return size // RECORD.itemsize


def _field(path: Path, key: str) -> np.ndarray:
    return np.memmap(path, RECORD, "r")[key]
