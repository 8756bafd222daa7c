"""`studio apply` on NIfTI volumes: affine, header, scale and unseen voxels are kept."""

from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from support.applied import read_codes
from support.own_files import SIDE

from studio.apply import apply
from studio.config import resolve
from studio.data.brain_phantom import write_brats
from studio.domains import DOMAINS
from studio.runs.run import Run
from studio.training.session import train


def oblique() -> np.ndarray:
    """Returns an affine with axes (front, feet, right), turned, with voxels of 2 x 2 x 3 mm."""
    turn = np.array([[np.cos(0.17), -np.sin(0.17), 0], [np.sin(0.17), np.cos(0.17), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, 2], [2, 0, 0], [0, -3, 0]])
    affine[:3, 3] = [-20, 31, 4.5]
    return affine


@pytest.mark.parametrize("scale", [None, (0.25, -10.0)])
@pytest.mark.parametrize("chosen", [None, "all"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_apply_keeps_affine_header_scale_and_other_voxels(
    suffix: str, chosen: str | None, scale: tuple[float, float] | None, deep: Run, tmp_path: Path
) -> None:
    low, high = deep.data.window
    units = np.random.default_rng(1).uniform(max(low, 0) + 2, high - 2, (SIDE, 6, SIDE))
    stored = ((units - scale[1]) / scale[0] if scale else units).round().astype(np.int16)
    image = nibabel.Nifti1Image(stored, oblique())
    image.header["descrip"] = b"of ours"
    if scale:
        image.header.set_slope_inter(*scale)
    nibabel.save(image, tmp_path / f"x{suffix}")
    done = apply(deep, f"x{suffix}", "out", ["reconstruct", "heal"], chosen=chosen)
    assert done["images"] == (6 if chosen else 1)
    assert bool(done["notes"]) == (chosen is None)
    for kind in ("reconstruct", "heal"):
        made = nibabel.load(tmp_path / "out" / kind / f"x{suffix}")
        np.testing.assert_array_equal(made.affine, nibabel.load(tmp_path / f"x{suffix}").affine)
        assert made.header["descrip"] == image.header["descrip"]
        assert made.get_data_dtype() == np.int16
        assert (made.dataobj.slope, made.dataobj.inter) == (scale or (1, 0))
        voxels = np.asarray(made.dataobj.get_unscaled())
        changed = np.flatnonzero((voxels != stored).any((0, 2)))
        if kind == "reconstruct":
            np.testing.assert_allclose(voxels, stored, atol=1)
        else:  # the second stored axis runs to the feet, so the middle of six is the third
            assert changed.tolist() == ([0, 1, 2, 3, 4, 5] if chosen else [2])


def test_apply_heals_slices_as_the_run_does(deep: Run, tmp_path: Path) -> None:
    low, high = deep.data.window
    units = (
        np.random.default_rng(2)
        .uniform(max(low, 0) + 2, high - 2, (SIDE, 6, SIDE))
        .astype(np.float32)
    )
    nibabel.save(nibabel.Nifti1Image(units, oblique()), tmp_path / "x.nii.gz")
    apply(deep, "x.nii.gz", "out", ["heal"], chosen="all")
    table = read_codes(tmp_path / "out/codes.csv")
    assert [row["slice"] for row in table] == [str(i) for i in range(6)]
    canonical = nibabel.as_closest_canonical(nibabel.load(tmp_path / "x.nii.gz")).get_fdata()
    made = nibabel.as_closest_canonical(nibabel.load(tmp_path / "out/heal/x.nii.gz")).get_fdata()
    planes = np.stack([canonical[:, :, i].T[::-1] for i in range(6)]).astype(np.float32)
    healed = deep.heal(torch.from_numpy((planes - low) / (high - low)).clamp(0, 1)[:, None] * 2 - 1)
    expected = (healed[:, 0].numpy() + 1) / 2 * (high - low) + low
    np.testing.assert_allclose(
        np.stack([made[:, :, i].T[::-1] for i in range(6)]), expected, atol=0.01
    )


def test_apply_puts_pixels_back_when_they_are_not_square(deep: Run, tmp_path: Path) -> None:
    low, high = deep.data.window
    affine = np.diag([1.0, 2.5, 3.0, 1.0])
    across, up = np.meshgrid(np.arange(24), np.arange(10), indexing="ij")
    units = ((across * 1.0 + up * 2.5) / 50 * 0.8 * (high - low) + low + 10).astype(
        np.float32
    )  # a ramp survives any resizing
    nibabel.save(nibabel.Nifti1Image(units[..., None], affine), tmp_path / "x.nii")
    apply(deep, "x.nii", "out", ["reconstruct"])
    made = nibabel.load(tmp_path / "out/reconstruct/x.nii").get_fdata()
    np.testing.assert_allclose(made[3:-3, 1:-1, 0], units[3:-3, 1:-1], atol=0.02 * (high - low))


def test_apply_reads_volumes_as_brats_does(tmp_path: Path) -> None:
    write_brats(tmp_path / "brats", 8, side=64)
    raw = {
        "data": {
            "name": "brats",
            "root": str(tmp_path / "brats"),
            "resolution": 32,
            "slices": [82, 98],
            "min_tumour": 0.1,
            "test_share": 0.4,
        },
        "method": {"name": "cpca", "z": 4, "s": 2},
        "train": {"images": 16, "batch": 16, "threads": 1, "grid_every": 0},
    }
    train(resolve(raw, "b", "b"), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    source = sorted((tmp_path / "brats").rglob("*_t1.nii.gz"))[0]
    slices = {}
    for split, domain in product(("train", "test"), DOMAINS):
        numbers = run.data.labels(split, domain)["slice"]
        for i, patient in enumerate(run.data.item_patients(split, domain)):
            if source.parent.name in patient.name:
                slices[numbers[i]] = run.data.images(split, domain, [i])[0]
    own = torch.stack([slices[number] for number in sorted(slices)])
    done = apply(run, source, tmp_path / "out", ["encode", "heal"])
    table = read_codes(tmp_path / "out/codes.csv")
    assert [float(row["slice"]) for row in table] == sorted(slices)
    code = run.encode(own)
    np.testing.assert_allclose(
        [[float(row[f"s{i}"]) for i in range(2)] for row in table], code.s, atol=1e-5
    )
    assert done["images"] == len(own)
    before, after = (
        nibabel.load(path).get_fdata() for path in (source, tmp_path / "out/heal" / source.name)
    )
    changed = np.flatnonzero((before != after).any((0, 1)))
    assert changed.tolist() == [int(number) for number in sorted(slices)]
    assert not after[before == 0].any()  # outside the head everything stays empty
