"""One thread, and the tiny experiments that the batteries run on."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

from studio.config import Config, resolve  # noqa: E402 - after the thread count

# Every method, and the variants that add nets or steps to it.
VARIANTS: dict[str, dict] = {
    "dig": {},
    "dig+cr": {"weights": {"cr": 1.0}},
    "vae": {},
    "cvae": {},
    "cvae+published": {"as_published": True, "weights": {"critic": 0.0}},
    "mm_cvae": {},
    "sepvae": {"weights": {"class": 1.0}},
    "srb_vae": {},
    "srb_vae+asymmetric": {
        "symmetric": False,
        "weights": {"reverse": 0.0, "codes": 0.0, "critic": 0.0},
    },
    "principled": {},
    "cpca": {},
}


def tiny(method: str = "dig", data: str = "textured_digits", **train: object) -> Config:
    """Returns an experiment that takes a second: narrow nets, short codes, few images."""
    options = VARIANTS[method]
    raw = {
        "data": {"name": data, "resolution": 32},
        "nets": {"width": 4},
        "method": {"name": method.split("+")[0], "z": 4, "s": 3, **options},
        "train": {
            "images": 64,
            "batch": 16,
            "threads": 1,
            "grid_every": 0,
            "save_every": 0,
            **train,
        },
    }
    return resolve(raw, "tiny", "tiny")


@pytest.fixture(autouse=True)
def _threads_and_place(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Every test has a folder of its own as current directory, so that `runs/` goes there."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    torch.manual_seed(0)
