"""BraTS in 3-D: cubes and halves of brains, masks, attributes and the two kinds of background."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from support.bids_files import write_bids
from support.brats_files import SHAPE, TUMOUR, head, store, tumour, write_patient

from studio.data.brats.config import BratsConfig
from studio.data.brats.cubes import join_halves, take_half
from studio.data.brats.volumes import BratsVolumes, brain_options
from studio.data.catalogue import check, describe
from studio.data.intensity import EIGHT_BIT_RANGE
from studio.data.io.user_files import read_user_file, reading_rule
from studio.data.io.write_back import write_back
from studio.errors import StudioError

PATIENTS = 10
# Slices of tumour: 41 voxels on the right, which lie 2 to 7 voxels from the middle plane.
DEEP = {4: 4, 5: 5}


def volume_config(root: Path, **fields: object) -> BratsConfig:
    """Returns a config with voxels as those of the files."""
    given = {"dims": 3, "resolution": 24, "spacing": 1.0, "min_tumour": 0.03, **fields}
    return BratsConfig(root=str(root), **given)


def open_volumes(root: Path, **fields: object) -> BratsVolumes:
    return BratsVolumes(volume_config(root, **fields))


def write_patients(root: Path) -> Path:
    for number in range(PATIENTS):
        mask = tumour(DEEP)
        mask = mask[::-1] if number == 1 else mask  # the only one on the left
        write_patient(root / f"BraTS2021_{number:05}", t1=head(number), seg=mask)
    return root


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("brats3d"))


def place(data: BratsVolumes, name: str) -> tuple[str, str, int]:
    """Returns split, domain and index of an item."""
    return next(
        (split, domain, data.item_names(split, domain).index(name))
        for split in ("train", "test")
        for domain in ("background", "target")
        if name in data.item_names(split, domain)
    )


def expected_cube(values: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """Returns the cube of a head as loops over its voxels give it."""
    low, high = np.percentile(values[values != 0], percentiles)
    cube = np.full((24, 24, 24), -1.0)
    for x, y, z in np.argwhere(values != 0):
        # The brain's middle between two voxels is the middle of the cube, 12 voxels from its ends.
        value = np.clip((values[x, y, z] - low) / (high - low), 0, 1) * 2 - 1
        cube[23 - (z + 6), 23 - y, x] = value
    return cube


def test_volumes_are_halves_of_the_windowed_brain(patients: Path) -> None:
    data = open_volumes(patients, percentiles=(10, 90))
    cube = expected_cube(head(3), (10, 90))
    split, domain, row = place(data, "BraTS2021_00003 right")
    assert domain == "target"
    right = data.images(split, domain, [row])[0, 0].numpy()
    assert np.abs(right[..., 12:] - cube[..., 12:]).max() < 1e-4
    assert (right[..., :12] == -1).all()
    split, domain, row = place(data, "BraTS2021_00003 left")
    assert domain == "background"
    left = data.images(split, domain, [row])[0, 0].numpy()
    assert np.abs(left[..., 12:] - cube[..., ::-1][..., 12:]).max() < 1e-4
    assert np.abs(join_halves(left, right) - cube).max() < 1e-4


def test_take_half_and_join_halves_are_inverse() -> None:
    cube = np.random.default_rng(0).normal(size=(2, 6, 6, 6))
    halves = [take_half(cube, side, 0) for side in (0, 1)]
    assert np.array_equal(join_halves(*halves), cube)
    assert not np.array_equal(join_halves(*halves[::-1]), cube)


def test_volumes_have_masks_and_measures_of_the_tumour(patients: Path) -> None:
    data = open_volumes(patients)
    mask = tumour(DEEP)
    for name, turned in (("BraTS2021_00003 right", mask), ("BraTS2021_00001 left", mask)):
        split, domain, row = place(data, name)
        assert domain == "target"
        found = data.masks(split, [row])[0].numpy()
        assert found.sum() == np.count_nonzero(mask)
        labels = {key: values[row] for key, values in data.labels(split, domain).items()}
        assert set(labels) == set(data.attributes)
        x, y, z = np.nonzero(turned)
        assert labels["tumour_volume"] == pytest.approx(len(x) / 1000)
        assert labels["tumour_x"] == pytest.approx(np.mean(x - 11.5) / 12, abs=1e-5)
        assert labels["tumour_y"] == pytest.approx(np.mean(11.5 - y) / 12, abs=1e-5)
        assert labels["tumour_z"] == pytest.approx(np.mean(5.5 - z) / 12, abs=1e-5)
        assert labels["oedema"] == pytest.approx(np.mean(turned[turned > 0] == 2))
        assert labels["core"] == pytest.approx(2 / len(x))
        # The voxels of the mask lie where the attributes say.
        places = np.argwhere(found).mean(0) * 2 / 24 - 1 + 1 / 24
        assert places == pytest.approx(
            [labels["tumour_z"], labels["tumour_y"], labels["tumour_x"]], abs=1e-5
        )
        side = ("left", "right")[int(labels["hemisphere"])]
        assert name.endswith(side)
    brain = np.count_nonzero(head(3)[12:]) / 1000
    split, domain, row = place(data, "BraTS2021_00003 right")
    assert data.labels(split, domain)["brain_volume"][row] == pytest.approx(brain)
    assert data.attributes["hemisphere"].belongs == "common"


def test_volumes_leave_out_halves_with_little_tumour(tmp_path: Path) -> None:
    root = write_patients(tmp_path)
    write_patient(root / "BraTS2021_00002", seg=tumour({4: 3}))
    data = open_volumes(root)
    names = [
        n
        for s in ("train", "test")
        for d in ("background", "target")
        for n in data.item_names(s, d)
    ]
    assert len(names) == 2 * PATIENTS - 1
    assert "BraTS2021_00002 right" not in names
    assert "BraTS2021_00002 left" in names
    assert "1 in between are left out" in data.notes()[0]
    with pytest.raises(StudioError, match=r"no target half .* of 20 halves of 10 patients"):
        open_volumes(root, min_tumour=1.0)


def test_volumes_split_by_patient(patients: Path) -> None:
    data = open_volumes(patients)
    sides = {
        split: {s for d in ("background", "target") for s in data.item_subjects(split, d)}
        for split in ("train", "test")
    }
    assert len(sides["train"]) == 8
    assert not sides["train"] & sides["test"]
    again = BratsVolumes(volume_config(patients, test_share=0.5), data.derived())
    assert again.derived() == data.derived()
    assert again.fingerprint().changes(data.fingerprint()) == ""


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_volumes_are_independent_of_the_order_of_voxels(tmp_path: Path, codes: str) -> None:
    import nibabel

    orientation = nibabel.orientations.axcodes2ornt(codes)
    affine = nibabel.orientations.inv_ornt_aff(orientation, SHAPE)
    affine[:3, 3] += [30, -20, 7]  # the place of the scan does not count either
    for number in range(PATIENTS):
        scans = {"t1": store(head(number), affine), "seg": store(tumour(DEEP), affine)}
        write_patient(tmp_path / f"BraTS2021_{number:05}", **scans)
    data = open_volumes(tmp_path, percentiles=(10, 90))
    split, domain, row = place(data, "BraTS2021_00003 right")
    cube = expected_cube(head(3), (10, 90))
    right = data.images(split, domain, [row])[0, 0].numpy()
    assert np.abs(right[..., 12:] - cube[..., 12:]).max() < 1e-4


def test_volumes_are_resampled_to_the_voxels_of_the_config(tmp_path: Path) -> None:
    thick = np.diag([1.0, 1.0, 2.0, 1.0])  # slices of 2 mm
    block = np.zeros(SHAPE, np.uint8)
    block[13:19, 8:14, 3:7] = 2
    for number in range(PATIENTS):
        bright = head(number)
        bright[block > 0] = 3000  # so that the image itself shows the tumour
        scans = {"t1": store(bright, thick), "seg": store(block, thick)}
        write_patient(tmp_path / f"BraTS2021_{number:05}", **scans)
    data = open_volumes(tmp_path, resolution=16, spacing=2.0, percentiles=(0, 100))
    assert data.shape == (1, 16, 16, 16)
    images = data.images("test", "target", [0])[0, 0]
    masks = data.masks("test", [0])[0]
    volume = data.labels("test", "target")["tumour_volume"][0]
    assert volume == pytest.approx(6 * 6 * 4 * 2 / 1000)
    assert masks.sum() * 8 / 1000 == pytest.approx(volume, rel=0.35)
    assert images[masks].mean() > 0.4 > images[~masks].max() - 0.5
    with pytest.raises(StudioError, match=r"has only \d+% of its brain in the cube"):
        open_volumes(tmp_path, resolution=16, spacing=0.5)


def write_healthy(folder: Path, ending: str = "-T1.nii.gz") -> Path:
    folder.mkdir()
    import nibabel

    for number in range(PATIENTS):
        nibabel.save(store(head(100 + number)), folder / f"IXI{number:03}{ending}")
        nibabel.save(store(tumour(TUMOUR)), folder / f"IXI{number:03}_mask.nii.gz")
    return folder


def test_volumes_take_healthy_people_as_background(patients: Path, tmp_path: Path) -> None:
    folder = write_healthy(tmp_path / "IXI")
    data = open_volumes(patients, healthy=str(folder), percentiles=(10, 90))
    assert sum(data.size(split, "background") for split in ("train", "test")) == PATIENTS
    assert sum(data.size(split, "target") for split in ("train", "test")) == PATIENTS
    split, domain, row = place(data, "IXI/IXI004")
    assert domain == "background"
    cube = expected_cube(head(104), (10, 90))
    assert np.abs(data.images(split, domain, [row])[0, 0].numpy() - cube).max() < 1e-4
    split, domain, row = place(data, "BraTS2021_00001")
    labels = data.labels(split, domain)
    assert data.attributes["tumour_side"].classes[labels["tumour_side"][row]] == "left"
    assert labels["tumour_x"][row] < 0
    assert "hemisphere" not in data.attributes
    assert any("of different data sets" in note for note in data.notes())
    assert not any("different data sets" in note for note in open_volumes(patients).notes())


def test_volumes_find_healthy_people_in_a_bids_folder(patients: Path, tmp_path: Path) -> None:
    write_bids(tmp_path, controls=3, patients=2)
    data = open_volumes(patients, healthy=str(tmp_path), spacing=8.0, test_share=0.4)
    names = [n for s in ("train", "test") for n in data.item_names(s, "background")]
    assert len(names) == 5
    assert f"{tmp_path.name}/sub-00/anat/sub-00" in names
    subjects = [n for s in ("train", "test") for n in data.item_subjects(s, "background")]
    assert f"{tmp_path.name}/sub-00" in subjects
    assert any("24 x 24 x 12 voxels of 1 x 1 x 1 mm" in note for note in data.notes())


def test_volumes_refuse_a_folder_of_healthy_people_by_name(patients: Path, tmp_path: Path) -> None:
    def message(folder: Path, **fields: object) -> str:
        with pytest.raises(StudioError) as caught:
            open_volumes(patients, healthy=str(folder), **fields)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "data.healthy: " in message(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "found no NIfTI file" in message(tmp_path / "empty")
    assert "lies in the folder of the patients" in message(patients / "BraTS2021_00000")
    folder = write_healthy(tmp_path / "IXI", "-scan.nii.gz")
    assert "no name ends in a modality" in message(folder, modalities=["t1", "flair"])
    assert open_volumes(patients, healthy=str(folder)).size("test", "background") == 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"dims": 2, "spacing": None, "healthy": "x"}, "healthy: needs dims: 3"),
        ({"dims": 2}, "spacing: needs dims: 3"),
        ({"resolution": 33}, "found 33, expected an even number from 8 to 256"),
        ({"resolution": 512}, "found 512, expected an even number from 8 to 256"),
        ({"dims": 4}, "dims"),
    ],
)
def test_config_refuses_options_that_do_not_fit_the_dimensions(
    tmp_path: Path, fields: dict[str, object], expected: str
) -> None:
    with pytest.raises(ValidationError, match=expected):
        volume_config(tmp_path, **fields)


def test_check_names_a_patient_whose_files_do_not_match(tmp_path: Path) -> None:
    root = write_patients(tmp_path)
    write_patient(root / "BraTS2021_00002", seg=tumour(DEEP)[:-1])
    write_patient(root / "BraTS2021_00004", t1=np.zeros(SHAPE, np.float32))
    report = check(volume_config(root))
    assert not report["ok"]
    assert "2 of 10 patients cannot be used" in report["problems"][0]
    assert "BraTS2021_00004: BraTS2021_00004_t1.nii.gz is zero everywhere" in report["problems"][0]
    report = check(volume_config(root, max_bad=0.2))
    assert report["ok"], report
    assert report == json.loads(json.dumps(report))
    assert "volumes: 1 x 24 x 24 x 24" in describe(report)
    assert report["counts"]["test"] == {"background": 2, "target": 2}


def test_files_are_read_and_written_back_as_the_data_set_reads_them(
    patients: Path, tmp_path: Path
) -> None:
    import nibabel

    config = volume_config(patients, percentiles=(10, 90))
    data = BratsVolumes(config)
    rule = reading_rule(config, data.shape, EIGHT_BIT_RANGE)
    path = patients / "BraTS2021_00003" / "BraTS2021_00003_t1.nii.gz"
    read = read_user_file(path, rule)
    assert rule.several
    assert read.numbers == (0, 1)
    for name, image in zip(("left", "right"), read.images, strict=True):
        split, domain, row = place(data, f"BraTS2021_00003 {name}")
        known = data.images(split, domain, [row])[0].numpy()
        assert np.abs(image - known).max() < 1e-4
    write_back(read, read.images, tmp_path / "same.nii.gz", False)
    before, after = (np.asarray(nibabel.load(p).dataobj) for p in (path, tmp_path / "same.nii.gz"))
    low, high = np.percentile(before[before != 0], (10, 90))
    expected = np.where(before != 0, before.clip(low, high), before)
    assert np.abs(after - expected).max() < 0.1
    assert np.array_equal(nibabel.load(tmp_path / "same.nii.gz").affine, nibabel.load(path).affine)
    # A change of the left half changes the patient's left side only, which is stored last.
    changed = read.images.copy()
    changed[0] = 1
    write_back(read, changed, tmp_path / "left.nii.gz", False)
    left = np.abs(np.asarray(nibabel.load(tmp_path / "left.nii.gz").dataobj) - after) > 1
    assert left[12:].any()
    assert not left[:12].any()
    two = volume_config(patients, modalities=["t1", "t2"])
    with pytest.raises(StudioError, match="2 volumes per patient"):
        reading_rule(two, (2, 24, 24, 24), EIGHT_BIT_RANGE)


def test_brain_options_follow_the_config(tmp_path: Path) -> None:
    options = brain_options(BratsConfig(root=str(tmp_path), dims=3, resolution=64))
    assert options.voxel == 3.0
    assert options.halves
    whole = BratsConfig(root=str(tmp_path), dims=3, healthy="x")
    assert not brain_options(whole).halves
