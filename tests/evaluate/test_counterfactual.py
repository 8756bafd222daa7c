"""Counterfactual scores of methods of known quality: perfect, idle, half-hearted, destructive.

Values that cannot be measured have a note.
"""

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from studio.data import DataConfig, Dataset
from studio.data.brain_phantom import BrainPhantom, BrainPhantomConfig
from studio.data.dataset import Transplant
from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.errors import StudioError
from studio.evaluate import counterfactual as scoring
from studio.evaluate import judge as judging
from studio.evaluate.counterfactual import best_threshold, counterfactual, dice
from studio.evaluate.judge import train_judge
from studio.evaluate.probe_table import counterfactual_lines
from studio.method import Code, Method, MethodConfig
from studio.sampling import salient_map

SIDE, SIZE = 16, 80
PIXELS = SIDE * SIDE


class Marked(Dataset):
    """Smooth images below 0. Target images are such images plus 1 inside a square."""

    def __init__(self, marked: bool = True) -> None:
        super().__init__(DataConfig(name="squares"))
        self.shape, self.attributes, self.marked = (1, SIDE, SIDE), {}, marked

    def size(self, split: str, domain: str) -> int:
        return SIZE

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        return {}

    def _plain(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        rng = np.random.default_rng((split == "test", domain == "target"))
        slope = torch.from_numpy(
            rng.uniform(-0.2, 0.2, (SIZE, 2, 1, 1))[np.asarray(indices)]
        ).float()
        place = torch.linspace(-1, 1, SIDE)
        return (slope[:, 0] * place + slope[:, 1] * place[:, None] - 0.5)[:, None]

    def masks(self, split: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        masks = torch.zeros(SIZE, SIDE, SIDE, dtype=torch.bool)
        for i, (top, left) in enumerate(
            np.random.default_rng(split == "test").integers(0, 11, (SIZE, 2))
        ):
            masks[i, top : top + 5, left : left + 5] = (
                self.marked and i > 0
            )  # the first target has nothing to find
        return masks[np.asarray(indices)]

    def images(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        plain = self._plain(split, domain, indices)
        return plain + self.masks(split, indices)[:, None] if domain == "target" else plain


class Known(Marked):
    def healthy(self, split: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        return self._plain(split, "target", indices)

    def transplant(
        self, split: str, a: Sequence[int] | np.ndarray, b: Sequence[int] | np.ndarray
    ) -> Transplant:
        return Transplant(
            self._plain(split, "background", a) + self.masks(split, b)[:, None],
            self.masks(split, b),
        )


class Perfect(Method):
    """Reads the square as s and the rest as z, and adds them up."""

    share, blur = 1.0, 0.0

    def __init__(self) -> None:
        super().__init__(MethodConfig(name="perfect", z=PIXELS, s=PIXELS))
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def encode(self, images: Tensor) -> Code:
        s = (images >= 0).float() * self.share
        return Code((images - s).flatten(1), s.flatten(1))

    def decode(self, code: Code) -> Tensor:
        return (code.z + code.s).unflatten(1, (1, SIDE, SIDE)) + self.blur

    def prior(self, n: int, domain: str) -> Code:
        return Code(torch.zeros(n, PIXELS), torch.zeros(n, PIXELS))

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, PIXELS)


class Idle(Perfect):
    """Reads everything as z."""

    share = 0.0


class Half(Perfect):
    """Leaves half of the square in z, and is off by a tenth everywhere."""

    share, blur = 0.5, 0.1


class Destructive(Perfect):
    """Makes images without salient content white, and leaves the others as they were."""

    def decode(self, code: Code) -> Tensor:
        image = super().decode(code)
        return torch.where(code.s.any(1)[:, None, None, None], image, 1.0)


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "STEPS", 30)
    monkeypatch.setattr(scoring, "CHUNK", 32)


def test_counterfactual_is_perfect_for_a_perfect_method() -> None:
    found = counterfactual(Perfect().eval(), Known())
    assert found["n"] == SIZE - 1, "the image without a mask is left out"
    assert found["dice"] == found["auroc"] == found["dice_attainable"] == 1
    assert found["dice_error"] == 0
    assert 0 <= found["threshold"] < 1
    for name in (
        "error_inside",
        "error_outside",
        "composition",
        "reversibility",
        "transplant_error_inside",
    ):
        assert found[name] == pytest.approx(0, abs=1e-6), name
    assert found["error_inside_unhealed"] == pytest.approx(1)
    assert found["error_inside_ratio"] == pytest.approx(0, abs=1e-6)
    assert found["transplant_error_inside_untouched"] == pytest.approx(1)
    assert found["ssim_inside"] == pytest.approx(1, abs=1e-5)
    assert found["ssim_outside"] == pytest.approx(1, abs=1e-5)
    assert found["ssim_inside_unhealed"] < 0.5
    assert found["minimality"] == 1
    assert found["mask_share"] == pytest.approx(25 / 256)
    assert found["oracle_auc"] > 0.95
    assert found["effectiveness"] > 0.9
    assert found["effectiveness"] == pytest.approx(found["effectiveness_background"], abs=0.1)
    assert found["effectiveness_reconstructed"] < 0.1
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_counterfactual_has_no_gain_for_an_idle_method() -> None:
    found = counterfactual(Idle().eval(), Known())
    assert found["dice"] == 0
    assert found["dice_attainable"] == 1, "its decoder draws everything, only the codes are mixed"
    assert found["auroc"] == 0.5
    assert found["error_inside_ratio"] == found["transplant_error_inside_ratio"] == 1
    assert (
        found["error_inside"]
        == found["error_inside_unhealed"]
        == found["error_inside_reconstructed"]
    )
    assert found["ssim_inside"] == found["ssim_inside_unhealed"]
    assert found["error_outside"] == found["composition"] == 0
    assert found["error_outside_ratio"] is None, "nothing over nothing"
    assert found["effectiveness"] == found["effectiveness_reconstructed"] < 0.1
    assert found["minimality"] is None
    json.dumps(found, allow_nan=False)


def test_counterfactual_halves_the_error_for_half_the_change() -> None:
    found = counterfactual(Half().eval(), Known())
    assert found["dice"] == found["auroc"] == 1, (
        "where it is, it knows; a threshold fits any contrast"
    )
    assert found["threshold"] < 0.5
    assert found["error_inside_ratio"] == pytest.approx(0.6)
    assert found["error_inside_reconstructed"] == pytest.approx(1.1)
    assert found["error_outside"] == found["error_outside_reconstructed"] == pytest.approx(0.1)
    assert found["error_outside_ratio"] == pytest.approx(1)
    assert found["composition"] == pytest.approx(0.1)
    assert found["transplant_error_inside_ratio"] == pytest.approx(0.4)
    assert found["minimality"] == pytest.approx(1)


def test_counterfactual_detects_destruction_outside_the_mask() -> None:
    found = counterfactual(Destructive().eval(), Known())
    assert found["composition"] == pytest.approx(0, abs=1e-6)
    assert found["error_outside"] == pytest.approx(1.5, abs=0.02)
    assert found["error_outside_reconstructed"] == pytest.approx(0, abs=1e-6)
    assert found["error_inside_ratio"] == pytest.approx(1.5, abs=0.02)
    assert found["minimality"] < found["mask_share"], (
        "what is inside was brighter, and changes less"
    )
    assert found["ssim_outside"] < 0.5 < found["ssim_outside_reconstructed"]
    assert found["auroc"] < 0.1
    assert found["reversibility"] > 0.4, "the healed image has lost what it was"
    assert found["dice"] < 0.3
    assert found["dice_attainable"] < 0.3, "its decoder cannot draw healthy images"


def test_counterfactual_compares_with_the_image_when_only_masks_are_known() -> None:
    known, found = (counterfactual(Half().eval(), data()) for data in (Known, Marked))
    missing = {name for name in known if name.startswith(("error_inside", "ssim_", "transplant_"))}
    missing.add("dice_attainable")
    assert len(missing) == 17
    assert set(found) == set(known) - missing
    assert found == {name: pytest.approx(known[name], abs=1e-6) for name in found}


def test_counterfactual_explains_missing_measurements() -> None:
    assert counterfactual(Perfect().eval(), TexturedDigits(TexturedDigitsConfig())) is None
    nothing = counterfactual(Perfect().eval(), Known(marked=False))
    assert nothing["n"] == 0
    assert nothing["note"].startswith("not measured")
    broken = Perfect().eval()
    broken.blur = float("nan")
    found = counterfactual(broken, Known())
    assert "NaN" in found["note"]
    assert counterfactual_lines(found) == [f"counterfactuals: {found['note']}"]
    with pytest.raises(StudioError, match="training mode"):
        counterfactual(Perfect().train(), Known())


def test_counterfactual_is_deterministic_and_limits_large_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = torch.get_rng_state()
    a, b = (counterfactual(Half().eval(), Known(), seed=3) for _ in range(2))
    assert a == b
    assert torch.equal(torch.get_rng_state(), state)
    assert counterfactual(Half().eval(), Known(), limit=10)["n"] == 9
    monkeypatch.setattr(scoring, "PIXELS", 20 * PIXELS)
    assert counterfactual(Half().eval(), Known())["n"] == 19


def test_dice_and_best_threshold_have_their_closed_forms() -> None:
    a, b = (
        torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]]).bool(),
        torch.zeros(3, 1, 4, dtype=torch.bool),
    )
    b[0, 0, 1:] = True
    b[1, 0, 0] = True
    assert dice(a, b).tolist() == [pytest.approx(2 / 5), 0, 1]
    rng = np.random.default_rng(0)
    masks = torch.from_numpy(rng.random((30, 8, 8)) < 0.1)
    maps = torch.from_numpy(rng.uniform(0, 0.4, (30, 8, 8))) + 0.3 * masks
    chosen = best_threshold(maps, masks)
    every = max(np.linspace(0, 0.7, 400), key=lambda t: dice(maps > t, masks).mean())
    assert dice(maps > chosen, masks).mean() > dice(maps > every, masks).mean() - 0.02
    assert best_threshold(torch.zeros(2, 4, 4), masks[:2, :4, :4]) == 0
    colour = torch.tensor([0.5, -0.7, 0.1])[None, :, None, None]
    assert salient_map(torch.zeros(1, 3, 1, 1), colour).tolist() == [[[pytest.approx(0.7)]]]


def test_judge_separates_phantoms_and_recognises_healthy_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judging, "STEPS", 150)
    monkeypatch.setattr(judging, "IMAGES", 1_000)
    data, larger = (BrainPhantom(BrainPhantomConfig(resolution=side)) for side in (64, 96))
    judge = train_judge(data, torch.device("cpu"))
    assert not judge.training
    assert judge.auc(data, 200) > 0.8
    target, healthy = (
        judge(data.images("test", "target", range(200))),
        judge(data.healthy("test", range(200))),
    )
    assert (target > healthy).float().mean() > 0.75
    assert (target > 0).float().mean() > 0.6
    assert (healthy < 0).float().mean() > 0.6
    resized = judge(larger.images("test", "target", range(200)))
    assert torch.corrcoef(torch.stack([target, resized]))[0, 1] > 0.8, (
        "images of any size are looked at"
    )


def test_counterfactual_lines_state_the_measurements() -> None:
    known, masked = (
        counterfactual_lines(counterfactual(Half().eval(), data())) for data in (Known, Marked)
    )
    assert known[0].startswith(
        "map of the salient content: Dice 1.000 (s.e. 0.000, perfectly healed 1.000), AUROC per "
        "pixel 1.000 (79 target images"
    )
    assert masked[0].startswith("map of the salient content: Dice 1.000 (s.e. 0.000), AUROC per")
    assert (
        "error inside the mask 0.600, 0.60 times that of the original image; "
        "outside 0.100, 1.00 times" in known[1]
    )
    assert "0.40 times that of the original image" in known[3]
    assert known[-1] == (
        "minimality: 100.0% of the change lies inside the mask, which covers 9.8% of the pixels"
    )
    assert len(masked) == 6
    assert "outside 0.100, 1.00 times that of the plain reconstruction" in masked[1]
    idle = counterfactual_lines(counterfactual(Idle().eval(), Known()))
    assert "outside 0.000, - that of the plain reconstruction" in idle[1]
