"""How far reconstructions are from images."""

import json
import math

import pytest
import torch
from support.experiments import tiny

from studio.build import build_dataset, build_method
from studio.evaluate.reconstruction import reconstruction


@pytest.mark.parametrize("value", [0.25, math.nan, math.inf])
def test_reconstruction_is_none_when_images_are_not_finite(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    config = tiny("vae")
    dataset = build_dataset(config)
    method = build_method(config, dataset.shape).eval()
    monkeypatch.setattr(
        method, "decode", lambda code: torch.full((len(code.z), *dataset.shape), value)
    )
    found = reconstruction(method, dataset, limit=8)
    if not math.isfinite(value):
        assert found == {"background": None, "target": None, "n": 8}
        json.dumps(found, allow_nan=False)
        return
    for domain in ("background", "target"):
        images = dataset.images("test", domain, range(8))
        assert found[domain] == pytest.approx(float((images - value).abs().mean()))
