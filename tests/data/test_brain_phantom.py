"""brain_phantom: factors, true counterparts, masks, and volumes in the layout of BraTS."""

import hashlib
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from studio.data import phantom
from studio.data.brain_phantom import SIZES, BrainPhantom, BrainPhantomConfig, write_brats
from studio.data.catalogue import check
from studio.data.dataset import CounterfactualDataset, MaskedDataset
from studio.data.phantom import ANATOMY, MODALITIES, TUMOUR, draw_slices, label_lesions
from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.errors import StudioError

N = 64


def open_data(**options: object) -> BrainPhantom:
    return BrainPhantom(BrainPhantomConfig(**{"noise": 0.0, **options}))


@pytest.fixture(scope="module")
def heads() -> BrainPhantom:
    return open_data()


def one(**factors: float) -> dict[str, np.ndarray]:
    """Returns one head with the given factors, and all others in the middle of their range."""
    middle = {name: (low + high) / 2 for name, (low, high) in {**ANATOMY, **TUMOUR}.items()}
    return {name: np.array([value], np.float32) for name, value in {**middle, **factors}.items()}


def test_items_never_change(heads: BrainPhantom) -> None:
    chosen = heads.images("train", "target", [3, 99_999])
    assert chosen.shape == (2, 1, 64, 64)
    assert chosen.dtype == torch.float32
    assert -1 <= chosen.min() < -0.99
    assert 0.5 < chosen.max() <= 1
    torch.testing.assert_close(
        heads.images("train", "target", [99_999, 5, 3])[[2, 0]], chosen, atol=1e-5, rtol=0
    )
    exact = [
        v
        for name, v in heads.labels("train", "target").items()
        if name not in ("tumour_x", "tumour_y")
    ]  # no cosines
    digest = hashlib.sha256(np.stack(exact)[:, :500].astype("<f4").tobytes()).hexdigest()
    assert digest.startswith("6405bcd77fa08b78"), digest


def test_images_differ_by_seed_split_domain_and_item(heads: BrainPhantom) -> None:
    images = [
        heads.images("train", "background", [0, 1]),
        heads.images("test", "background", [0]),
        heads.healthy("train", [0]),
        open_data(seed=1).images("train", "background", [0]),
    ]
    apart = torch.pdist(torch.cat(images).flatten(1), 1) / 64**2
    assert apart.min() > 0.03


@pytest.mark.parametrize("side", [32, 128, 256])
def test_images_show_the_same_head_at_any_resolution(heads: BrainPhantom, side: int) -> None:
    images, others = (
        heads.images("test", "target", range(6)),
        open_data(resolution=side).images("test", "target", range(6)),
    )
    assert others.shape == (6, 1, side, side)
    small = min(side, 64)
    a, b = (torch.nn.functional.adaptive_avg_pool2d(x, small) for x in (images, others))
    for one_of_a, one_of_b in zip(a, b, strict=True):
        assert np.corrcoef(one_of_a.flatten(), one_of_b.flatten())[0, 1] > 0.97
    masks = open_data(resolution=side).masks("test", range(6)).float().mean((1, 2))
    assert masks.tolist() == pytest.approx(
        heads.masks("test", range(6)).float().mean((1, 2)).tolist(), rel=0.2
    )


def test_labels_are_in_range_and_belong_to_the_right_code(heads: BrainPhantom) -> None:
    assert {name for name, a in heads.attributes.items() if a.belongs == "common"} == set(ANATOMY)
    assert {
        name for name, a in heads.attributes.items() if a.belongs == "salient" and a.target_only
    } == set(TUMOUR)
    for domain, names in (("background", set(ANATOMY)), ("target", {*ANATOMY, *TUMOUR})):
        labels = heads.labels("test", domain)
        assert set(labels) == names
        for name, values in labels.items():
            low, high = {**ANATOMY, **TUMOUR}[name]
            assert values.shape == (SIZES["test"],)
            assert low <= values.min() < low + 0.05 * (high - low)
            assert high - 0.05 * (high - low) < values.max() <= high + 1e-6
    factors = np.stack([*heads.labels("test", "target").values()])
    off = np.corrcoef(factors) - np.eye(len(factors))
    assert np.abs(off).max() < 0.08  # independent: five standard errors
    assert open_data(attributes={"level": "salient"}).attributes["level"].belongs == "salient"


@pytest.mark.parametrize("dims", [2, 3])
def test_number_of_training_images_keeps_the_first_ones_and_the_test_set(dims: int) -> None:
    few, more = (open_data(dims=dims, resolution=32, images=n) for n in (3, 7))
    assert [data.size("train", "target") for data in (few, more)] == [3, 7]
    assert few.size("test", "target") == more.size("test", "target") > 7
    for domain in ("background", "target"):
        assert torch.equal(
            few.images("train", domain, range(3)), more.images("train", domain, [0, 1, 2])
        )
        for name, values in few.labels("train", domain).items():
            assert values.tolist() == more.labels("train", domain)[name][:3].tolist()


@pytest.mark.parametrize("name", [*ANATOMY, *TUMOUR])
def test_draw_slices_shows_every_factor(name: str) -> None:
    low, high = {**ANATOMY, **TUMOUR}[name]
    a, b = (draw_slices(one(**{name: value}), 64) for value in (low, high))
    assert np.abs(a - b).max() > 0.05
    assert (np.abs(a - b) > 0.02).sum() > 20
    tumours = np.abs(
        label_lesions(one(**{name: low}), 64).astype(int) - label_lesions(one(**{name: high}), 64)
    ).sum()
    if name in (
        "tumour_core",
        "tumour_ring",
        "sulci",
        "folds_x",
        "folds_y",
        "ventricles",
        "midline",
        "level",
        "contrast",
    ):
        assert tumours == 0, "brightness and what lies inside the brain move no mask"


def test_draw_slices_changes_the_property_that_a_factor_names() -> None:
    def width(picture: np.ndarray, axis: int) -> int:
        return int((picture[0] > 0.1).any(axis).sum())

    def dark_inside(**factors: float) -> int:
        return int((draw_slices(one(**factors), 128, tumours=False)[0, 40:88, 40:88] < 0.3).sum())

    assert (
        width(draw_slices(one(head_size=0.95), 128), 1)
        > width(draw_slices(one(head_size=0.8), 128), 1) + 8
    )
    assert (
        width(draw_slices(one(head_shape=0.87), 128), 0)
        > width(draw_slices(one(head_shape=0.75), 128), 0) + 8
    )
    assert dark_inside(ventricles=1.6) > 1.5 * dark_inside(ventricles=0.5)
    for name, axis in (("tumour_x", 1), ("tumour_y", 0)):
        centres = [
            np.argwhere(label_lesions(one(**{name: v}), 128)[0]).mean(0)[axis]
            for v in (-0.3, 0.0, 0.3)
        ]
        head = 64 * one()["head_size"][0]
        assert np.diff(centres) == pytest.approx(0.3 * head, abs=2.5)
    rows, columns = np.argwhere(label_lesions(one(tumour_slant=0.2, tumour_lobes=0.0), 128)[0]).T
    assert np.corrcoef(rows, columns)[0, 1] > 0.1, (
        "drawn out from the upper left to the lower right"
    )
    ring = label_lesions(one(), 128) == phantom.LESIONS["ring"]
    bright, dull = (draw_slices(one(tumour_ring=v), 128)[ring].mean() for v in (1.0, 0.0))
    assert bright > dull + 0.3
    assert draw_slices(one(tumour_ring=1.0), 128, "t1")[ring].mean() < bright - 0.3, (
        "no contrast agent"
    )
    fluid = np.abs(draw_slices(one(), 128, tumours=False) - 0.15) < 0.02
    assert draw_slices(one(), 128, "t2", tumours=False)[fluid].mean() > 0.7


def test_draw_slices_shows_the_layers_of_a_head() -> None:
    """Along the row through the centre: air, bright scalp, dark bone, brain, dark ventricle."""
    line = draw_slices(one(level=0.8, tilt=0.0, midline=0.0, gain=1.0), 256, tumours=False)[0, 118]
    assert line[:3].max() == 0
    left = line[:128]
    scalp = int(np.argmax(left > 0.7))
    bone = scalp + int(np.argmax(left[scalp:] < 0.15))
    brain = bone + int(np.argmax(left[bone:] > 0.6))
    assert 0 < scalp < bone < brain < 70
    assert (left[70:] > 0.6).mean() > 0.5, "white matter"
    assert left[100:].min() < 0.2, "a ventricle"
    assert np.abs(line - line[::-1]).mean() > 0.01, "the halves' folds differ"


def test_healthy_differs_only_at_the_tumour(heads: BrainPhantom) -> None:
    assert isinstance(heads, CounterfactualDataset)
    assert isinstance(heads, MaskedDataset)
    assert not isinstance(TexturedDigits(TexturedDigitsConfig()), MaskedDataset)
    for data in (heads, open_data(noise=0.05)):
        y, healthy = data.images("train", "target", range(N)), data.healthy("train", range(N))
        masks = data.masks("train", range(N))
        assert masks.shape == (N, 64, 64)
        assert masks.dtype == torch.bool
        off = (y - healthy).abs()[:, 0]
        assert off[masks].mean() > 0.3
        assert off[~masks].mean() < 0.005
        far = torch.nn.functional.max_pool2d(masks.float()[:, None], 11, 1, 5)[:, 0] == 0
        assert off[far].max() == 0, "the noise is the same, too"
        assert masks.sum((1, 2)).min() >= 20
        assert masks.float().mean() == pytest.approx(0.045, abs=0.01)


def test_transplant_has_one_head_and_the_other_tumour(heads: BrainPhantom) -> None:
    a, b = [4, 9, 2], [7, 7, 30]
    made = heads.transplant("test", a, b)
    background = heads.images("test", "background", a)
    off = (made.images - background).abs()[:, 0]
    assert off[~made.masks].mean() < 0.005
    assert off[made.masks].mean() > 0.3
    assert torch.equal(
        heads.transplant("test", [5, 6], [5, 6], "target").images,
        heads.images("test", "target", [5, 6]),
    )
    assert torch.equal(heads.transplant("test", [5], [6], "target").masks.any(), torch.tensor(True))
    replaced = heads.transplant("test", [5], [6], "target")
    assert (replaced.images - heads.healthy("test", [5])).abs()[:, 0][
        ~replaced.masks
    ].mean() < 0.005, "its own tumour is gone"
    noisy = open_data(noise=0.1)
    noise = [
        noisy.transplant("test", a, b).images - made.images,
        noisy.images("test", "background", a) - background,
    ]
    quiet = off == 0
    torch.testing.assert_close(noise[0][:, 0][quiet], noise[1][:, 0][quiet])


def test_noise_has_the_configured_strength_per_image() -> None:
    noisy, clean = (
        open_data(noise=v).images("train", "background", range(32)) for v in (0.05, 0.0)
    )
    added = (noisy - clean)[(clean > -0.6) & (clean < 0.6)]
    assert added.std() == pytest.approx(0.1, rel=0.05)  # of a range of 2
    assert added.mean() == pytest.approx(0, abs=0.003)
    pieces: Tensor = (noisy - clean)[:8].flatten(1)
    # About 0.5 for air alone, because the magnitudes of its noise are similar.
    assert (torch.corrcoef(pieces) - torch.eye(8)).abs().max() < 0.7


@pytest.mark.parametrize("modality", MODALITIES)
def test_draw_slices_is_the_same_in_chunks_and_one_by_one(modality: str) -> None:
    table = {
        name: values[:40] for name, values in open_data().composition("test", "target").items()
    }
    together = draw_slices(table, 64, modality)
    alone = np.concatenate(
        [draw_slices({k: v[[i]] for k, v in table.items()}, 64, modality) for i in (0, 17, 39)]
    )
    assert np.abs(together[[0, 17, 39]] - alone).max() < 1e-5
    assert together.min() >= 0
    assert together.max() < 1.5


def test_images_are_drawn_fast_enough_for_training() -> None:
    """One core draws 2,000 images of 64 px per second. Half of that must be met, best of three."""
    data, spent = BrainPhantom(BrainPhantomConfig()), []
    data.images("train", "target", range(64))
    for i in range(3):
        start = time.process_time()
        data.images("train", "target", range(256 * i, 256 * i + 256))
        spent.append(time.process_time() - start)
    assert 256 / min(spent) > 1_000


def test_check_passes_without_files_and_names_wrong_options() -> None:
    report = check(BrainPhantomConfig())
    assert report["ok"]
    assert report["notes"] == []
    assert report["counts"]["test"] == {"background": 5000, "target": 5000}
    wrong = {"resolution": 257, "modality": "pd", "noise": -0.1, "seed": -1, "root": "x"}
    for field, value in [("resolution", 31), *wrong.items()]:
        with pytest.raises(ValidationError, match=field):
            BrainPhantomConfig(**{field: value})


# ---- volumes ----


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volumes") / "brats"
    write_brats(root, 3, seed=1, side=60, slices=range(80, 100))
    return root


def read(root: Path, number: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    name = f"BraTS2021_{number:05d}"
    image = nibabel.load(root / name / f"{name}_{kind}.nii.gz")
    return np.asarray(image.dataobj), image.affine


def test_write_brats_has_the_layout_of_brats(volumes: Path) -> None:
    assert sorted(p.name for p in volumes.iterdir()) == [f"BraTS2021_{i:05d}" for i in range(3)]
    for kind in (*MODALITIES, "seg"):
        values, affine = read(volumes, 0, kind)
        assert values.shape == (60, 60, 155)
        assert nibabel.aff2axcodes(affine) == ("L", "P", "S")
        assert np.abs(np.diag(affine)).tolist() == [4, 4, 1, 1]
        assert not values[:, :, :80].any()
        assert not values[:, :, 100:].any()
        assert values.dtype == (np.uint8 if kind == "seg" else np.int16)
    assert {tuple(np.unique(read(volumes, i, "seg")[0])) for i in range(3)} == {(0, 1, 2, 4)}


def test_write_brats_gives_slices_with_and_without_tumour(volumes: Path) -> None:
    for number in range(3):
        area = (read(volumes, number, "seg")[0] > 0).sum((0, 1))[80:100]
        assert 3 <= (area > 10).sum() <= 12
        assert (area == 0).sum() >= 8
        assert max(area[0], area[-1]) == area.max()
        brain = read(volumes, number, "t1")[0] > 0
        assert (brain[:, :, 80:100].mean((0, 1)) > 0.2).all()
        assert not brain[[0, -1]].any(), "no skull, and air is 0"
        assert not (read(volumes, number, "seg")[0] > 0)[~brain].any()


def test_write_brats_gives_slices_that_fit_together(volumes: Path) -> None:
    t1 = read(volumes, 0, "t1")[0].astype(float)[:, :, 80:100]
    near, far = np.abs(np.diff(t1, axis=2)).mean(), np.abs(t1[:, :, 0] - t1[:, :, -1]).mean()
    assert 0 < near < 0.5 * far
    other = np.abs(t1[:, :, 0] - read(volumes, 1, "t1")[0][:, :, 80]).mean()
    assert near < 0.5 * other


def test_write_brats_depends_only_on_seed_and_patient(volumes: Path, tmp_path: Path) -> None:
    write_brats(tmp_path, 1, seed=1, side=60)
    assert np.array_equal(read(tmp_path, 0, "flair")[0], read(volumes, 0, "flair")[0])
    write_brats(tmp_path, 1, seed=2, side=60, slices=range(0, 1))
    assert not np.array_equal(
        read(tmp_path, 0, "t1")[0][:, :, 0], read(volumes, 0, "t1")[0][:, :, 80]
    )


@pytest.mark.parametrize(
    ("patients", "slices"),
    [(0, range(80, 90)), (1, range(0)), (1, range(150, 156)), (1, range(-1, 3))],
)
def test_write_brats_refuses_impossible_volumes(
    tmp_path: Path, patients: int, slices: range
) -> None:
    with pytest.raises(StudioError, match="found"):
        write_brats(tmp_path, patients, slices=slices)
    assert not any(tmp_path.iterdir())
