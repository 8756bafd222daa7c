"""Counterfactual scores of volumes, by methods of known quality on volumes of known truth."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from studio.data import DataConfig, Dataset
from studio.data.dataset import Transplant
from studio.evaluate import judge as judging
from studio.evaluate.counterfactual import best_threshold, counterfactual, dice
from studio.evaluate.judge import train_judge
from studio.method import Code, Method, MethodConfig

SIDE, SIZE = 16, 24
VOXELS = SIDE**3


class Boxes(Dataset):
    """Volumes of one gray each. Target volumes have a brighter box of known place."""

    def __init__(self, count: int = SIZE) -> None:
        super().__init__(DataConfig(name="boxes"))
        self.shape, self.attributes, self.count = (1, SIDE, SIDE, SIDE), {}, count

    def size(self, split: str, domain: str) -> int:
        return self.count

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        return {}

    def _plain(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        rng = np.random.default_rng((split == "test", domain == "target"))
        gray = torch.from_numpy(rng.uniform(-0.7, -0.3, self.count)[np.asarray(indices)]).float()
        return gray[:, None, None, None, None].expand(-1, *self.shape).clone()

    def masks(self, split: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        masks = torch.zeros(self.count, SIDE, SIDE, SIDE, dtype=torch.bool)
        places = np.random.default_rng(split == "test").integers(0, 11, (self.count, 3))
        for mask, (a, b, c) in zip(masks, places, strict=True):
            mask[a : a + 5, b : b + 4, c : c + 3] = True
        return masks[np.asarray(indices)]

    def images(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        plain = self._plain(split, domain, indices)
        return plain + self.masks(split, indices)[:, None] if domain == "target" else plain

    def healthy(self, split: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        return self._plain(split, "target", indices)

    def transplant(
        self, split: str, a: Sequence[int] | np.ndarray, b: Sequence[int] | np.ndarray
    ) -> Transplant:
        masks = self.masks(split, b)
        return Transplant(self._plain(split, "background", a) + masks[:, None], masks)


class Reader(Method):
    """Reads the box as s, up to a share, and the rest as z, and adds them up."""

    def __init__(self, share: float) -> None:
        super().__init__(MethodConfig(name="reader", z=VOXELS, s=VOXELS))
        self.anchor, self.share = torch.nn.Parameter(torch.zeros(1)), share

    def encode(self, images: Tensor) -> Code:
        s = (images >= 0).float() * self.share
        return Code((images - s).flatten(1), s.flatten(1))

    def decode(self, code: Code) -> Tensor:
        return (code.z + code.s).unflatten(1, (1, SIDE, SIDE, SIDE))

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, VOXELS)


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "STEPS", 20)
    monkeypatch.setattr(judging, "BATCH", 16)
    monkeypatch.setattr(judging, "SIDE_OF_VOLUMES", 8)


def test_counterfactual_of_volumes_follows_the_quality_of_the_method() -> None:
    perfect, half, idle = (counterfactual(Reader(v).eval(), Boxes()) for v in (1.0, 0.6, 0.0))
    assert perfect["n"] == SIZE
    assert perfect["dice"] == perfect["auroc"] == perfect["minimality"] == 1
    assert perfect["mask_share"] == pytest.approx(5 * 4 * 3 / VOXELS)
    assert perfect["ssim_inside"] == pytest.approx(1, abs=1e-4)
    assert perfect["ssim_inside_unhealed"] < 0.6
    ratios = [found["error_inside_ratio"] for found in (perfect, half, idle)]
    assert ratios == pytest.approx([0, 0.4, 1], abs=1e-5)
    assert idle["auroc"] == 0.5
    ratios = [found["transplant_error_inside_ratio"] for found in (perfect, half, idle)]
    assert ratios == pytest.approx([0, 0.4, 1], abs=1e-5)
    for name in ("composition", "reversibility", "error_outside"):
        assert perfect[name] == pytest.approx(0, abs=1e-6)


def test_judge_of_volumes_tells_the_domains_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "STEPS", 150)
    boxes = Boxes(240)
    assert train_judge(boxes, torch.device("cpu")).auc(boxes, 240) > 0.9


def test_dice_and_threshold_of_volumes_equal_those_of_their_voxels_in_a_plane() -> None:
    maps = torch.rand(5, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    masks = maps + 0.3 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(1)) > 0.8
    flat = maps.flatten(1, 2), masks.flatten(1, 2)
    assert torch.equal(dice(maps > 0.7, masks), dice(flat[0] > 0.7, flat[1]))
    assert best_threshold(maps, masks) == best_threshold(*flat)
