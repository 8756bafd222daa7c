"""Small files in the layouts of MNIST and CIFAR-10."""

import gzip
import struct
from pathlib import Path

import numpy as np

from studio.data.sources.cifar import RECORD

TRAIN, TEST = 90, 40  # images in the small files


Arrays = dict[str, np.ndarray]


def mnist_arrays(seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, n in (("train", TRAIN), ("test", TEST)):
        # No two digits are alike, so that a picture identifies its digit.
        arrays[f"x_{split}"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[f"y_{split}"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


def cifar_arrays(seed: int = 1) -> Arrays:
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, n in (("train", TRAIN), ("test", TEST)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
        arrays[f"y_{split}"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


def write_idx(place: Path, arrays: Arrays, packed: bool = False) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", "train"), ("test", "t10k")):
        for key, kind in (("x", "images-idx3"), ("y", "labels-idx1")):
            values = arrays[f"{key}_{split}"]
            head = struct.pack(f">I{values.ndim}I", 0x800 + values.ndim, *values.shape)
            name = place / f"{part}-{kind}-ubyte{'.gz' * packed}"
            name.write_bytes(
                gzip.compress(head + values.tobytes()) if packed else head + values.tobytes()
            )


def write_bin(place: Path, arrays: Arrays) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for split, names in (
        ("train", [f"data_batch_{i}" for i in range(1, 6)]),
        ("test", ["test_batch"]),
    ):
        records = np.zeros(len(arrays[f"x_{split}"]), RECORD)
        records["label"], records["pixels"] = (
            arrays[f"y_{split}"],
            arrays[f"x_{split}"].transpose(0, 3, 1, 2),
        )
        for name, some in zip(names, np.array_split(records, len(names)), strict=True):
            some.tofile(place / f"{name}.bin")
