"""Runs on a user's own folders, for the tests of `apply` and `export`."""

from pathlib import Path

import numpy as np
from PIL import Image

from studio.config import resolve
from studio.runs.run import Run
from studio.training.session import train

__all__ = ["SIDE", "folders_run", "smooth"]

SIDE = 8


def smooth(
    key: int, shape: tuple[int, ...] = (SIDE, SIDE), high: int = 255, dtype: type = np.uint8
) -> np.ndarray:
    """Returns a gradient with a little noise, from 0 to `high`."""
    rng = np.random.default_rng(key)
    ramp = np.add.outer(
        np.linspace(0, 0.5, shape[0]) * rng.random(), np.linspace(0, 0.5, shape[1]) * rng.random()
    )
    values = ramp[..., *[None] * (len(shape) - 2)] + 0.4 * rng.random(shape)
    return (values * high).astype(dtype)


def folders_run(
    root: Path,
    channels: int = 1,
    suffix: str = ".png",
    method: dict | None = None,
    convert: int | str = "auto",
) -> Run:
    """Trains on a few images.

    The default is contrastive PCA with as many components as pixels, so that the reconstruction is
    the image itself.
    """
    for domain in ("background", "target"):
        (root / "photos" / domain).mkdir(parents=True)
        for i in range(60 * channels):  # more training images than pixels
            values = smooth(
                i + 1000 * (domain == "target"), (SIDE, SIDE, 3) if channels == 3 else (SIDE, SIDE)
            )
            if domain == "target":
                values[2:5, 2:5] = 250
            path = root / "photos" / domain / f"{i:02}{suffix}"
            if suffix == ".npy":
                np.save(path, values.astype(np.float32) * 4)
            else:
                Image.fromarray(values).save(path)
    raw = {
        "data": {
            "name": "folders",
            "root": str(root / "photos"),
            "resolution": SIDE,
            "channels": convert,
        },
        "nets": {"width": 4},
        "method": method or {"name": "cpca", "z": SIDE * SIDE * channels - 16, "s": 16},
        "train": {
            "images": 320 if method is None else 32,
            "batch": 16,
            "threads": 1,
            "grid_every": 0,
            "save_every": 0,
        },
    }
    train(resolve(raw, "own", "own"), root / "run")
    return Run.open(root / "run")
