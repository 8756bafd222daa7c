"""MNIST's digits, from the original files or from the npz that Keras uses."""

import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from studio.data.dataset import Split
from studio.data.io.files import (
    DAMAGE_ERRORS,
    LabelledImages,
    StoredArray,
    first_existing,
    open_maybe_gzip,
    open_npz,
    read_error,
    uncompressed_size,
)
from studio.errors import StudioError
from studio.lfs import refuse_pointer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MNIST_LAYOUT", "open_mnist", "pad_digits", "resize_digits"]

SIDE = 28
FULL: dict[Split, int] = {"train": 60_000, "test": 10_000}
FOLDERS = ("", "mnist/", "MNIST/", "MNIST/raw/")  # the last is that of torchvision
PARTS: dict[Split, str] = {"train": "train", "test": "t10k"}  # prefixes of the file names
MAGIC = {"images-idx3": 0x803, "labels-idx1": 0x801}  # unsigned bytes with three axes or one
IDX = tuple(f"{part}-{kind}-ubyte" for part in PARTS.values() for kind in MAGIC)
MNIST_LAYOUT = (
    "MNIST: ROOT/mnist.npz with x_train, y_train, x_test, y_test (Keras' layout), or "
    f"{', '.join(f'ROOT/{name}' for name in IDX)}, each with or without .gz, in ROOT, "
    "ROOT/mnist, ROOT/MNIST or ROOT/MNIST/raw"
)


def open_mnist(root: Path) -> tuple[dict[Split, LabelledImages], list[str]]:
    """Finds MNIST and checks headers and sizes.

    Args:
        root: the folder of the files.

    Returns:
        The two parts, with images (n, 28, 28) uint8, and notes on missing images.

    Raises:
        StudioError: a file is missing, cut short or of another kind.
    """
    path = first_existing(root, [f"{place}mnist.npz" for place in FOLDERS])
    parts: dict[Split, LabelledImages]
    if path is not None:
        parts = _from_npz(path)
    else:
        names = [name + ending for name in IDX for ending in ("", ".gz")]
        place = next(
            (root / place for place in FOLDERS if first_existing(root / place, names)), None
        )
        if place is None:
            raise StudioError(f"no MNIST in {root.absolute()}; expected {MNIST_LAYOUT}")
        path = place
        parts = {split: _from_idx(place, name) for split, name in PARTS.items()}
    for split, part in parts.items():
        if not part.size:
            raise StudioError(f"{path}: no images in MNIST's {split} part")
    sizes = [
        f"{parts[split].size} of the {full} {split} digits"
        for split, full in FULL.items()
        if parts[split].size != full
    ]
    return parts, [f"MNIST: {' and '.join(sizes)} are here ({path})"] if sizes else []


def resize_digits(digits: np.ndarray, side: int) -> "Tensor":
    """Returns digits (n, 28, 28) uint8 as (n, side, side) in [0, 1], resized bilinearly."""
    import torch
    from torch.nn.functional import interpolate

    images = torch.from_numpy(digits.astype(np.float32) / 255)[:, None]
    return interpolate(
        images, size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )[:, 0]


def pad_digits(digits: np.ndarray, side: int) -> "Tensor":
    """Returns digits (n, 28, 28) uint8 as (n, side, side) in [0, 1] with zeros around them."""
    import torch
    from torch.nn.functional import pad

    margin = (side - SIDE) // 2
    return pad(
        torch.from_numpy(digits.astype(np.float32) / 255), (margin, side - SIDE - margin) * 2
    )


def _from_npz(path: Path) -> dict[Split, LabelledImages]:
    shapes = {f"x_{split}": (None, SIDE, SIDE) for split in FULL} | {
        f"y_{split}": (None,) for split in FULL
    }
    arrays = open_npz(path, shapes)
    return {split: _part(arrays[f"x_{split}"], arrays[f"y_{split}"]) for split in FULL}


def _from_idx(place: Path, name: str) -> LabelledImages:
    images, labels = (_idx(place, f"{name}-{kind}-ubyte", magic) for kind, magic in MAGIC.items())
    if images.shape[1:] != (SIDE, SIDE):
        raise StudioError(f"{images.path}: images of {images.shape[1:]}, expected ({SIDE}, {SIDE})")
    return _part(images, labels)


def _part(images: StoredArray, labels: StoredArray) -> LabelledImages:
    if images.shape[0] != labels.shape[0]:
        raise StudioError(f"{labels.path}: {labels.shape[0]} labels for {images.shape[0]} images")
    return LabelledImages([images], [labels])


def _idx(place: Path, name: str, magic: int) -> StoredArray:
    """Opens an idx file.

    It consists of a magic number of four bytes, the lengths of the axes as big-endian words, and
    the values as bytes.
    """
    path = first_existing(place, [name, f"{name}.gz"])
    if path is None:
        raise StudioError(
            f"{place.absolute()}: no {name} or {name}.gz, though other files of MNIST are there"
        )
    refuse_pointer(path)
    axes = magic & 0xFF
    try:
        with open_maybe_gzip(path) as file:
            head = file.read(4 + 4 * axes)
    except DAMAGE_ERRORS as error:
        raise read_error(path, error, "damaged") from None
    if len(head) < 4 + 4 * axes or int.from_bytes(head[:4], "big") != magic:
        raise StudioError(
            f"{path}: begins with {head[:4].hex() or 'nothing'}, expected {magic:08x} as an "
            "idx file of this kind"
        )
    shape = struct.unpack(f">{axes}I", head[4:])
    expected, found = len(head) + int(np.prod(shape)), uncompressed_size(path)
    if found != expected:
        raise StudioError(
            f"{path}: cut short or damaged: {found} bytes, expected {expected} for "
            f"{' x '.join(map(str, shape))}"
        )
    if path.suffix == ".gz":
        return StoredArray(path, shape, partial(_unzipped, path, shape, len(head)))
    return StoredArray(path, shape, partial(np.memmap, path, np.uint8, "r", len(head), shape))


def _unzipped(path: Path, shape: tuple[int, ...], head: int) -> np.ndarray:
    with open_maybe_gzip(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=head).reshape(shape)
