"""`studio apply` on whole volumes: what a run sees, and what is written into copies."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from support.applied import read_codes
from support.bids_files import write_bids

from studio.apply import apply
from studio.config import resolve
from studio.data.brain_phantom import BrainPhantom, BrainPhantomConfig
from studio.errors import StudioError
from studio.runs.run import Run
from studio.training.session import train

SIDE = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    raw = {
        "data": {"name": "brain_phantom", "dims": 3, "resolution": SIDE},
        "nets": {"width": 2},
        "method": {"name": "vae", "z": 4, "s": 2},
        "train": {"images": 4, "batch": 4, "threads": 1, "grid_every": 0},
    }
    folder = tmp_path_factory.mktemp("run") / "volumes"
    train(resolve(raw, "volumes", "volumes"), folder)
    return Run.open(folder)


def brains(n: int) -> np.ndarray:
    """Returns volumes (n, D, H, W) in [-1, 1]."""
    data = BrainPhantom(BrainPhantomConfig(dims=3, resolution=SIDE))
    return data.images("test", "target", range(n))[:, 0].numpy()


def save(
    path: Path, cube: np.ndarray, axes: str = "RAS", kind: type = np.float32, voxel: float = 2.0
) -> nibabel.Nifti1Image:
    """Saves a volume (D, H, W) in an order of axes, with voxels of some mm."""
    wide = np.pad(cube[::-1, ::-1].transpose(2, 1, 0), 0)
    image = nibabel.Nifti1Image(wide.astype(kind), np.diag([voxel] * 3 + [1.0]))
    wanted = nibabel.orientations.axcodes2ornt(tuple(axes))
    turned = image.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted)
    )
    turned.header["descrip"] = b"of ours"
    turned.to_filename(path)
    return turned


@pytest.mark.parametrize("axes", ["RAS", "LPI", "ASL"])
def test_apply_sees_the_volume_upright_and_writes_it_back_in_place(
    axes: str, run: Run, tmp_path: Path
) -> None:
    [cube] = brains(1)
    image = save(tmp_path / "x.nii.gz", 100 * cube + 50, axes)
    done = apply(run, "x.nii.gz", "out", ["reconstruct", "heal"], window=(-50, 150))
    assert (done["files"], done["images"], done["notes"]) == (1, 1, [])
    volume = torch.from_numpy(cube)[None, None]
    code = run.encode(volume)
    [row] = read_codes(tmp_path / "out" / "codes.csv")
    found = np.array([float(row[f"z{i}"]) for i in range(4)])
    np.testing.assert_allclose(found, code.z[0].numpy(), atol=1e-4)
    for kind, expected in (("reconstruct", run.decode(code)), ("heal", run.heal(volume))):
        made = nibabel.load(tmp_path / "out" / kind / "x.nii.gz")
        np.testing.assert_allclose(made.affine, image.affine)
        assert made.shape == image.shape
        assert made.header["descrip"] == image.header["descrip"]
        upright = nibabel.as_closest_canonical(made).get_fdata().transpose(2, 1, 0)[::-1, ::-1]
        np.testing.assert_allclose(upright, 100 * expected[0, 0].numpy() + 50, atol=0.1)


def test_apply_resamples_another_grid_and_keeps_what_lies_outside(run: Run, tmp_path: Path) -> None:
    wide = np.pad(brains(1)[0], ((0, 0), (8, 8), (8, 8)), constant_values=-1)
    wide = wide[:, :, 4:-4]  # 32 x 48 x 40
    save(tmp_path / "x.nii", (wide + 1) * 100, kind=np.int16)
    done = apply(run, "x.nii", "out", ["heal"], difference=True, window=(0, 200))
    assert "1 of 1 files have another grid" in done["notes"][0]
    made = nibabel.load(tmp_path / "out" / "heal" / "x.nii")
    assert (made.shape, made.get_data_dtype()) == ((40, 48, 32), np.dtype(np.int16))
    change = nibabel.load(tmp_path / "out" / "difference" / "x.nii").get_fdata()
    assert 0 <= change.min() <= change.max() <= 200


def test_apply_reads_8_bit_volumes_without_a_window_and_names_the_remedy_for_others(
    run: Run, tmp_path: Path
) -> None:
    [cube] = brains(1)
    save(tmp_path / "a.nii", ((cube + 1) * 127.5).round(), kind=np.uint8)
    assert apply(run, "a.nii", "eight", "encode")["set_aside"] == []
    [row] = read_codes(tmp_path / "eight" / "codes.csv")
    code = run.encode(torch.from_numpy(cube)[None, None])
    assert float(row["z0"]) == pytest.approx(code.z[0, 0].item(), abs=0.02)
    save(tmp_path / "b.nii", cube)
    with pytest.raises(StudioError, match="is not 8-bit, and all volumes of the run are: give the"):
        apply(run, "b.nii", "other", "encode")
    with pytest.raises(StudioError, match="--slice: this run reads whole volumes"):
        apply(run, "a.nii", "sliced", "encode", chosen="all")
    np.save(tmp_path / "c.npy", cube)
    with pytest.raises(StudioError, match="is not a NIfTI volume"):
        apply(run, "c.npy", "array", "encode")
    nibabel.Nifti1Image(np.zeros((4, 8, 8), np.uint8), np.eye(4)).to_filename(tmp_path / "d.nii")
    with pytest.raises(StudioError, match="has 4 x 8 x 8 voxels, expected a volume"):
        apply(run, "d.nii", "small", "encode")


def test_apply_swaps_the_content_of_a_donor_volume(run: Run, tmp_path: Path) -> None:
    a, b = brains(2)
    save(tmp_path / "a.nii", a)
    save(tmp_path / "b.nii", b)
    apply(run, "a.nii", "out", "swap", donors="b.nii", window=(-1, 1))
    made = nibabel.load(tmp_path / "out" / "swap" / "a.nii")
    expected = run.swap(*(torch.from_numpy(v)[None, None] for v in (a, b)))
    upright = made.get_fdata().transpose(2, 1, 0)[::-1, ::-1]
    np.testing.assert_allclose(upright, expected[0, 0].numpy(), atol=2e-3)


def test_apply_sees_files_as_vbm_does_and_keeps_what_is_no_brain(tmp_path: Path) -> None:
    (tmp_path / "bids").mkdir()
    options = write_bids(tmp_path / "bids")
    raw = {
        "data": {"name": "vbm", "root": str(tmp_path / "bids"), **options},
        "nets": {"width": 2},
        "method": {"name": "vae", "z": 4, "s": 2},
        "train": {"images": 4, "batch": 4, "threads": 1, "grid_every": 0},
    }
    train(resolve(raw, "brains", "brains"), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    [name] = run.data.item_names("test", "target")[:1]
    file = tmp_path / "bids" / name
    apply(run, file, tmp_path / "out", "heal")
    [row] = read_codes(tmp_path / "out" / "codes.csv")
    code = run.encode(run.data.images("test", "target", [0]))
    assert float(row["s0"]) == pytest.approx(code.s[0, 0].item(), abs=1e-3)
    before, after = nibabel.load(file), nibabel.load(tmp_path / "out" / "heal" / file.name)
    np.testing.assert_array_equal(after.affine, before.affine)
    same = after.get_fdata() == before.get_fdata()
    outside = before.get_fdata() == 0
    assert same[outside].all()
    assert same[~outside].mean() < 0.1
    with pytest.raises(StudioError, match="--window: this run normalises each volume by itself"):
        apply(run, file, tmp_path / "other", "heal", window=(0, 1))
