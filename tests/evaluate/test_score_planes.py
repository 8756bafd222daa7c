"""Scores of volumes: their middle planes, stated by name, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.shapes import SHAPES, Blobs

from studio.config import resolve
from studio.errors import StudioError
from studio.evaluate import score as scoring
from studio.evaluate.plane_view import PlaneView, view_plane
from studio.evaluate.score import score
from studio.training.session import train


def test_plane_view_is_the_middle_plane_of_each_volume() -> None:
    volumes = Blobs((1, 6, 8, 10))
    whole = volumes.images("test", "target", range(3))
    planes = {
        "axial": whole[:, :, 3],
        "coronal": whole[:, :, :, 4],
        "sagittal": whole[..., 5],
    }
    for plane, expected in planes.items():
        view = view_plane(volumes, plane)
        assert isinstance(view, PlaneView)
        assert view.shape == tuple(expected.shape[1:])
        assert torch.equal(view.images("test", "target", np.arange(3)), expected)
        assert view.labels("test", "target").keys() == volumes.labels("test", "target").keys()
    assert view_plane(Blobs(SHAPES["colour"]), None) is None


@pytest.mark.parametrize(
    ("kind", "plane", "words"),
    [
        ("volume", "axia", "--plane axia: no such plane; did you mean 'axial'"),
        ("colour", "axial", "--plane axial: needs volumes, found 3 x "),
        ("vector", None, "found 20 numbers: FID, KID and IS compare features of pictures"),
    ],
)
def test_view_plane_refuses_what_has_no_plane(kind: str, plane: str | None, words: str) -> None:
    with pytest.raises(StudioError, match=words.replace("?", r"\?")):
        view_plane(Blobs(SHAPES[kind]), plane)


def test_score_states_the_plane_of_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {
        "data": {"name": "brain_phantom", "dims": 3, "resolution": 32},
        "nets": {"width": 2},
        "method": {"name": "vae", "z": 4, "s": 2},
        "train": {"images": 4, "batch": 4, "threads": 1, "grid_every": 0},
    }
    train(resolve(raw, "volumes", "volumes"), tmp_path / "run")
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "class Mean(nn.Module):\n"
        "    def forward(self, x):\n"
        "        assert x.shape[1:] == (1, 32, 32)\n"
        "        return x.flatten(2)[..., ::256].flatten(1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scoring, "CHUNK", 64)
    for plane in ("axial", "coronal"):
        [entry] = score(tmp_path / "run", "own:Mean", n=40, plane=plane)
        assert entry["extractor"] == f"own:Mean, {plane}"
        assert entry["resize"].startswith(f"{plane} plane 16 of 32")
        assert len(entry["rows"]) == len(scoring.GROUPS)
    stored = scoring.read_scores(tmp_path / "run")
    assert [entry["extractor"] for entry in stored] == ["own:Mean, axial", "own:Mean, coronal"]
