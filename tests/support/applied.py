"""Pixels and codes of the tests of `studio apply`."""

import csv
import re
from pathlib import Path

import numpy as np
import torch

from studio.runs.run import Run


def read_codes(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def code_values(row: dict[str, str]) -> tuple[str, ...]:
    """Returns the codes of a row, z before s."""
    return tuple(value for name, value in row.items() if re.fullmatch(r"[zs]\d+", name))


def to_images(run: Run, values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32) / 255 * 2 - 1).reshape(-1, *run.shape)


def to_pixels(images: torch.Tensor) -> np.ndarray:
    return ((images.numpy() + 1) / 2 * 255).round().astype(np.uint8)
