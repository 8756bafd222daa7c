"""Runs of the Painter for tests of the app, and readers of the pieces of its page."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from studio import Run, sampling
from studio.method import Code
from support.painting import Painted, Painter


class Gallery(Painted):
    """Painted images in both splits. `reach` scales their salient codes."""

    def __init__(self, size: int = 40, reach: float = 1.0, **known: Any) -> None:
        super().__init__(size, **known)
        self.reach = reach

    def size(self, split: str, domain: str) -> int:
        return self.n

    def images(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        code = self.code(domain, indices)
        return Painter().decode(Code(code.z, code.s * self.reach)).detach()


def open_run(dataset: Painted | None = None, method: Any = None) -> Run:
    """Returns a run of the Painter with this data set, or without a data set."""
    method = method or Painter().eval()
    shape = tuple(sampling.sample(method, 1, "target", 0).shape[1:])
    run = Run(Path("painted"), SimpleNamespace(), method, 64, shape)
    if dataset is not None:
        run.__dict__["data"] = dataset
    return run


def read_codes(image: Tensor) -> tuple[list[float], list[float]]:
    """Reads the codes z and s from an image of the Painter."""
    code = Painter().encode(image[None])
    return [round(v, 5) for v in code.z[0].tolist()], [round(v, 5) for v in code.s[0].tolist()]


def rounded(values: Tensor) -> list[float]:
    return [round(v, 5) for v in values.flatten().tolist()]


def read_images(html: str) -> dict[str, np.ndarray]:
    """Decodes the images of a piece of the page: id -> pixels."""
    found = re.findall(r'<img id="img-([\w-]+)"[^>]* src="data:image/png;base64,([^"]+)"', html)
    return {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found
    }
