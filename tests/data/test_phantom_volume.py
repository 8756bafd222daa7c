"""Drawn volumes of brains: planted effects, masks, counterparts, orientation, refusals."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from studio.data.brain_phantom import BrainPhantom, BrainPhantomConfig
from studio.data.dataset import CounterfactualDataset
from studio.data.phantom import SITES
from studio.data.phantom_volume import BRAIN, LESION, RADII, draw_volumes, label_volumes

N = 12


def open_data(**options: object) -> BrainPhantom:
    return BrainPhantom(BrainPhantomConfig(**{"dims": 3, "resolution": 32, "noise": 0, **options}))


@pytest.fixture(scope="module")
def brains() -> BrainPhantom:
    return open_data()


def one(**factors: float) -> dict[str, np.ndarray]:
    """Returns one brain with the given factors, and all others in the middle of their range."""
    middle = {name: (low + high) / 2 for name, (low, high) in {**BRAIN, **LESION}.items()}
    table = {name: np.array([value], np.float32) for name, value in {**middle, **factors}.items()}
    return table | {"site": np.array([int(factors.get("site", 1))])}


def test_items_never_change(brains: BrainPhantom) -> None:
    chosen = brains.images("train", "target", [3, 19_999])
    assert chosen.shape == (2, 1, 32, 32, 32)
    again = open_data().images("train", "target", [19_999, 5, 3])
    assert torch.equal(again[[2, 0]], chosen)
    others = [
        brains.images("train", "background", [0]),
        brains.images("test", "background", [0]),
        brains.healthy("train", [0]),
        open_data(seed=1).images("train", "background", [0]),
    ]
    assert torch.pdist(torch.cat(others).flatten(1), 1).min() > 0.01 * 32**3


def test_labels_have_the_planted_ranges(brains: BrainPhantom) -> None:
    assert isinstance(brains, CounterfactualDataset)
    common = {name for name, a in brains.attributes.items() if a.belongs == "common"}
    assert common == {*BRAIN, "site"}
    assert brains.attributes["site"].classes == tuple(SITES)
    assert {name for name, a in brains.attributes.items() if a.target_only} == set(LESION)
    labels = brains.labels("test", "target")
    assert set(brains.labels("test", "background")) == common
    for name, (low, high) in {**BRAIN, **LESION}.items():
        assert low - 1e-6 <= labels[name].min() < labels[name].max() <= high + 1e-6
    assert np.bincount(labels["site"]).min() > 250  # of 1,000, three sites
    table = np.stack([labels[name] for name in labels])
    assert np.abs(np.corrcoef(table) - np.eye(len(table))).max() < 0.16  # five standard errors
    # The centre is uniform in an ellipsoid: half of all lie within 0.5 ** (1 / 3) of its radius.
    centre = [(2 * labels[n] - sum(LESION[n])) / np.ptp(LESION[n]) for n in list(LESION)[1:]]
    radius = np.linalg.norm(centre, axis=0)
    assert radius.max() <= 1 + 1e-5
    assert (radius < 0.5 ** (1 / 3)).mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("name", [*BRAIN, *LESION])
def test_draw_volumes_shows_every_factor(name: str) -> None:
    low, high = {**BRAIN, **LESION}[name]
    a, b = (draw_volumes(one(**{name: value}), 32) for value in (low, high))
    assert (np.abs(a - b) > 0.05).sum() > 30
    moved = (label_volumes(one(**{name: low}), 32) != label_volumes(one(**{name: high}), 32)).any()
    # The lesion has its place in the brain, and nothing inside of the brain moves it.
    assert moved == (name in LESION or name == "brain_size")


def test_draw_volumes_plants_the_effects_of_severity_age_and_site() -> None:
    sizes = [label_volumes(one(severity=v), 64).sum() for v in (0.0, 0.5, 1.0)]
    voxel = 2 / 64 / one()["brain_size"][0]
    ball = [4 / 3 * np.pi * (r / voxel) ** 3 for r in (RADII[0], sum(RADII) / 2, RADII[1])]
    assert sizes == pytest.approx(ball, rel=0.1)
    young, old = (draw_volumes(one(age=v), 64, lesions=False)[0] for v in (20, 80))
    ventricles = np.s_[24:36, 22:44, 24:40]
    assert (old[ventricles] < 0.3).sum() > 2 * (young[ventricles] < 0.3).sum()
    assert ((old > 0.05) & (old < 0.3)).sum() > 1.5 * ((young > 0.05) & (young < 0.3)).sum()
    white = [np.median(draw_volumes(one(site=v), 32)[0, 20, 12:20, 8:12]) for v in range(3)]
    assert white[0] + 0.05 < white[1] < white[2] - 0.05


def test_volume_runs_from_head_to_feet_front_to_back_and_left_to_right() -> None:
    for name, axis in (("lesion_z", 0), ("lesion_y", 1), ("lesion_x", 2)):
        low, high = LESION[name]
        ends = [np.argwhere(label_volumes(one(**{name: v}), 64)[0]).mean(0) for v in (low, high)]
        step = (high - low) * one()["brain_size"][0] * 32
        assert (ends[1] - ends[0])[axis] == pytest.approx(step, abs=0.5)
    assert np.argwhere(label_volumes(one(), 64)[0]).mean(0)[2] < 28, "on the left"
    fluid = draw_volumes(one(age=80.0), 64, lesions=False)[0][:, 32, 32]
    assert np.median(fluid[12:24]) < 0.4 < np.median(fluid[38:50]), "the fissure is at the top"


def test_healthy_differs_only_at_the_lesion(brains: BrainPhantom) -> None:
    for data in (brains, open_data(noise=0.05)):
        y, healthy = data.images("train", "target", range(N)), data.healthy("train", range(N))
        masks = data.masks("train", range(N))
        assert masks.shape == (N, 32, 32, 32)
        off = (y - healthy).abs()[:, 0]
        assert off[masks].mean() > 0.3
        assert off[~masks].mean() < 0.003
        far = torch.nn.functional.max_pool3d(masks.float()[:, None], 5, 1, 2)[:, 0] == 0
        assert off[far].max() == 0, "the noise is the same, too"
        assert masks.flatten(1).sum(1).min() >= 15


def test_transplant_has_one_brain_and_the_other_lesion(brains: BrainPhantom) -> None:
    a, b = [4, 9], [7, 30]
    made = brains.transplant("test", a, b)
    off = (made.images - brains.images("test", "background", a)).abs()[:, 0]
    assert off[~made.masks].mean() < 0.003
    assert off[made.masks].mean() > 0.3
    own = brains.transplant("test", [5], [5], "target")
    assert torch.equal(own.images, brains.images("test", "target", [5]))


def test_noise_has_the_configured_strength() -> None:
    noisy, clean = (open_data(noise=v).images("train", "background", range(8)) for v in (0.05, 0))
    added = (noisy - clean)[(clean > -0.6) & (clean < 0.6)]
    assert added.std() == pytest.approx(0.1, rel=0.05)  # of a range of 2
    assert added.mean() == pytest.approx(0, abs=0.004)


def test_volumes_show_the_same_brain_at_any_resolution() -> None:
    small, large = (
        open_data(resolution=side).images("test", "target", range(3)) for side in (32, 64)
    )
    shrunk = torch.nn.functional.avg_pool3d(large, 2)
    for a, b in zip(small, shrunk, strict=True):
        assert np.corrcoef(a.flatten(), b.flatten())[0, 1] > 0.97


def test_volumes_larger_than_128_are_refused() -> None:
    assert open_data(resolution=128).shape == (1, 128, 128, 128)
    with pytest.raises(ValidationError, match="found 160, expected at most 128"):
        open_data(resolution=160)
    assert BrainPhantomConfig(resolution=160).dims == 2
    with pytest.raises(ValidationError, match="dims"):
        BrainPhantomConfig.model_validate({"dims": 4})
