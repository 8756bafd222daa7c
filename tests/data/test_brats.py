"""BraTS: the years' folders, windows, orientation, what the mask says, splits by patient, bad volumes, the cache."""

import errno
import gzip
import json
import multiprocessing
import os
import shutil
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors import safe_open

from studio.data import DATASETS
from studio.data.brats import cache, dataset
from studio.data.brats.dataset import Brats, BratsConfig
from studio.data.brats.layout import find_patients
from studio.data.catalogue import check, describe
from studio.data.folders import QuarantineError
from studio.data.io.volumes import axial_slice, read_volume
from studio.data.splits import split_of
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.render.preview import preview

SHAPE = (24, 24, 12)
AFFINE = np.array(
    [[-1.0, 0, 0, 0], [0, -1, 0, 23], [0, 0, 1, 0], [0, 0, 0, 1]]
)  # BraTS's: left and front are stored last
TUMOUR = {
    7: 5,
    8: 2,
}  # slice -> side of the square of tumour, so that 3 is free of it and 8 is too small


def head(seed: int) -> np.ndarray:
    """A smooth head of 16 x 20 x 10 voxels with values from 100 to 1000, in canonical axes."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = (x / 0.67) ** 2 + (y / 0.84) ** 2 < 1
    values = (
        550
        + 300 * np.sin(3 * x + rng.uniform(0, 6)) * np.cos(2 * y + z)
        + 150 * rng.uniform(-1, 1, SHAPE)
    )
    return np.where(inside & (np.abs(z) < 0.95), values, 0).astype(np.float32)


def tumour(sides: dict[int, int], corner: tuple[int, int] = (14, 6)) -> np.ndarray:
    """Squares of tumour whose outermost voxels are oedema, the first of the rest core and the others enhancing."""
    mask = np.zeros(SHAPE, np.uint8)
    x, y = corner
    for number, side in sides.items():
        mask[x : x + side, y : y + side, number] = 2
        mask[x + 1 : x + side - 1, y + 1 : y + side - 1, number] = 4
        if side > 2:
            mask[x + 1, y + 1, number] = 1
    return mask


def stored(values: np.ndarray, affine: np.ndarray = AFFINE) -> nibabel.Nifti1Image:
    """An image whose voxels lie in the file as the affine says, given in canonical axes."""
    wanted = nibabel.io_orientation(affine)
    back = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), wanted)
    return nibabel.Nifti1Image(nibabel.apply_orientation(values, back), affine)


def write(folder: Path, separator: str = "_", ending: str = ".nii.gz", **files: object) -> Path:
    """Writes a patient: modality -> canonical values or a NIfTI image."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in files.items():
        image = content if isinstance(content, nibabel.Nifti1Image) else stored(np.asarray(content))
        nibabel.save(image, folder / f"{folder.name}{separator}{kind}{ending}")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    for number in range(30):
        write(place / f"BraTS2021_{number:05}", t1=head(number), seg=tumour(TUMOUR))
    return place


def config(root: Path, **fields: object) -> BratsConfig:
    given = {
        "root": str(root),
        "resolution": 24,
        "slices": (3, 8),
        "slice_step": 1,
        "min_tumour": 0.1,
        **fields,
    }
    return BratsConfig(**given)


def open_data(root: Path, **fields: object) -> Brats:
    return Brats(config(root, **fields))


def everything(data: Brats) -> dict[tuple[str, str], np.ndarray]:
    return {
        (split, domain): data.images(split, domain, range(data.size(split, domain))).numpy()
        for split in ("train", "test")
        for domain in ("background", "target")
    }


# ---- what a volume becomes ----


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SLA"])
def test_a_volume_is_the_same_in_whatever_order_its_voxels_are_stored(
    tmp_path: Path, codes: str, ending: str
) -> None:
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    orientation = nibabel.orientations.axcodes2ornt(codes)
    affine = nibabel.orientations.inv_ornt_aff(orientation, SHAPE)
    affine = np.diag([1.0, 1.0, 2.5, 1.0]) @ affine
    image = stored(values, affine)
    nibabel.save(image, tmp_path / f"v{ending}")
    volume = read_volume(tmp_path / f"v{ending}")
    assert np.array_equal(volume.values, values)
    assert volume.spacing == pytest.approx((1, 1, 2.5))
    # The patient's right is on the right and the front at the top.
    plane = axial_slice(volume.values, 4)
    assert plane[0, 0] == values[0, -1, 4]
    assert plane[-1, -1] == values[-1, 0, 4]


def test_images_are_windowed_by_percentiles_of_the_brain_and_outside_it_is_black(
    root: Path,
) -> None:
    data = open_data(root, percentiles=(10, 90))
    split = split_of("BraTS2021_00004", 0.2)
    row = next(
        i
        for i, patient in enumerate(data.item_patients(split, "background"))
        if patient.name == "BraTS2021_00004"
    )
    image = data.images(split, "background", [row])[0, 0].numpy()
    values = head(4)
    low, high = np.percentile(values[values != 0], (10, 90))
    expected = (
        np.where(values != 0, ((values - low) / (high - low)).clip(0, 1), 0)[:, :, 3].T[::-1] * 2
        - 1
    )
    assert data.labels(split, "background")["slice"][row] == 3
    assert np.abs(image - expected).max() < 1e-4  # 24 voxels to 24 pixels: nothing is resized
    assert image[0, 0] == -1
    assert (image == 1).sum() > 5


def test_every_modality_is_a_channel_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    for number in range(20):
        volume = head(number)
        write(
            tmp_path / f"P_{number}",
            t1=volume,
            t2=np.where(volume != 0, 1100 - volume, 0),
            seg=tumour(TUMOUR),
        )
    both = open_data(tmp_path, modalities=["t2", "t1"])
    assert both.shape == (2, 24, 24)
    image = both.images("train", "target", [0])[0]
    inside = image[1] > -0.9
    assert torch.corrcoef(torch.stack([image[0][inside], image[1][inside]]))[0, 1] < -0.99
    alone = open_data(tmp_path, modalities=["t1"]).images("train", "target", [0])[0]
    assert torch.equal(alone[0], image[1])


def test_crop_and_resolution(root: Path) -> None:
    whole, cropped = open_data(root), open_data(root, crop=12, resolution=48)
    assert cropped.shape == (1, 48, 48)
    large, small = (data.images("train", "background", [0])[0, 0] for data in (cropped, whole))
    middle = torch.nn.functional.avg_pool2d(large[None], 4)[0]
    assert (middle - small[6:18, 6:18]).abs().mean() < 0.15  # enlarged, then shrunk again
    assert (middle - small[0:12, 0:12]).abs().mean() > 0.5
    # The tumour's corner at (14, 6) is partly outside of the frame of 12 around the middle.
    assert (
        cropped.labels("train", "target")["tumour_area"]
        < whole.labels("train", "target")["tumour_area"]
    ).all()


# ---- what the mask says ----


def test_domains_and_attributes_follow_from_the_mask(root: Path) -> None:
    data = open_data(root)
    subjects = [f"BraTS2021_{number:05}" for number in range(30)]
    for split in ("train", "test"):
        patients = sum(split_of(subject, 0.2) == split for subject in subjects)
        assert data.size(split, "background") == 4 * patients  # slices 3, 4, 5, 6
        assert (
            data.size(split, "target") == patients
        )  # slice 7; the tumour of slice 8 has 4 mm2, less than 0.1 cm2
    labels = data.labels("train", "target")
    assert set(labels) == set(data.attributes)
    assert np.unique(labels["slice"]).tolist() == [7]
    area = 25
    shares = {
        "oedema": 16 / area,
        "enhancing": 8 / area,
        "core": 1 / area,
        "tumour_area": area / 100,
    }
    for name, value in shares.items():
        assert labels[name] == pytest.approx(np.full(len(labels[name]), value), abs=1e-6), name
    # Voxels 14 to 18 across, of 24; 6 to 10 from behind, so 13 to 17 from the top.
    assert labels["tumour_x"][0] == pytest.approx(16.5 / 24 * 2 - 1, abs=1e-6)
    assert labels["tumour_y"][0] == pytest.approx(15.5 / 24 * 2 - 1, abs=1e-6)
    assert np.unique(labels["tumour_side"]).tolist() == [1]
    assert data.attributes["tumour_side"].classes[1] == "right"
    brain = np.count_nonzero(head(0)[:, :, 7]) / 100
    assert labels["brain_area"][0] == pytest.approx(brain, abs=1e-5)
    assert set(data.labels("train", "background")) == {"slice", "brain_area"}
    assert {name for name, a in data.attributes.items() if a.belongs == "common"} == {
        "slice",
        "brain_area",
    }
    assert all(a.target_only == (a.belongs == "salient") for a in data.attributes.values())
    assert f"{30} in between are left out" in data.notes()[0]


def test_masks_lie_on_the_images(tmp_path: Path) -> None:
    for number in range(20):
        bright, mask = head(number), tumour({7: 5})
        bright[mask > 0] = 5000  # so that the image itself shows where the tumour is
        write(tmp_path / f"P_{number}", t1=bright, seg=mask)
    for resolution in (24, 48):
        data = open_data(tmp_path, resolution=resolution, percentiles=(0, 100))
        indices = range(data.size("test", "target"))
        masks, images = data.masks("test", indices), data.images("test", "target", indices)
        assert masks.shape == (len(indices), resolution, resolution)
        assert masks.dtype == torch.bool
        assert torch.equal(masks, images[:, 0] > 0)
        assert masks[0].sum() == 25 * (resolution / 24) ** 2


def test_sides_are_the_patients_and_2023_has_another_label_for_enhancing_tumour(
    tmp_path: Path,
) -> None:
    for number in range(20):
        mask = tumour({7: 5}, corner=(5 if number % 2 else 14, 6))
        write(
            tmp_path / f"BraTS-GLI-{number:05}-000",
            "-",
            t1n=head(0),
            seg=np.where(mask == 4, 3, mask),
        )
    data = open_data(tmp_path)
    for split in ("train", "test"):
        odd = np.array(
            [int(patient.subject[-1]) % 2 for patient in data.item_patients(split, "target")]
        )
        assert np.array_equal(data.labels(split, "target")["tumour_side"], 1 - odd)
        assert data.labels(split, "target")["enhancing"] == pytest.approx(np.full(len(odd), 8 / 25))


def test_a_slice_with_little_tumour_outside_of_the_frame_is_no_background(tmp_path: Path) -> None:
    for number in range(20):
        write(
            tmp_path / f"P_{number}",
            t1=head(number),
            seg=tumour({7: 4, 5: 2}, corner=(14, 2)) + tumour({7: 5}, (8, 8)),
        )
    data = open_data(tmp_path, crop=12)
    slices_ = np.concatenate(
        [data.labels(split, "background")["slice"] for split in ("train", "test")]
    )
    assert np.unique(slices_).tolist() == [
        3,
        4,
        6,
        8,
    ]  # slice 5 has its tumour beyond the frame's edge


# ---- folders ----


def test_the_folders_of_every_year_are_found(tmp_path: Path) -> None:
    whole = {"t1": head(0), "seg": tumour(TUMOUR)}
    training = tmp_path / "MICCAI_BraTS_2018_Data_Training"
    write(training / "HGG" / "Brats18_2013_2_1", **whole)
    write(
        training / "LGG" / "Brats18_TCIA09_141_1", **whole, flair=head(1), t1ce=head(2), t2=head(3)
    )
    write(
        tmp_path / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001", ending=".nii", **whole
    )
    odd = write(
        tmp_path / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_355", ending=".nii", **whole
    )
    (odd / "BraTS20_Training_355_seg.nii").rename(
        odd / "W39_1998.09.19_Segm.nii"
    )  # as it is published
    write(tmp_path / "BraTS2021_00000", **whole)
    challenge = tmp_path / "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData"
    for visit in ("000", "001"):
        write(
            challenge / f"BraTS-GLI-00005-{visit}",
            "-",
            t1n=head(0),
            t1c=head(1),
            seg=tumour(TUMOUR),
        )
    write(tmp_path / ".hidden" / "BraTS2021_00009", **whole)
    (tmp_path / "BraTS2021_00000" / "notes.txt").write_text("no image")
    (tmp_path / "loop").symlink_to(tmp_path)
    found, patients = find_patients(tmp_path)
    assert found == tmp_path
    assert [patient.subject for patient in patients] == [
        "BraTS-GLI-00005",
        "BraTS-GLI-00005",
        "BraTS2021_00000",
        "BraTS20_Training_001",
        "BraTS20_Training_355",
        "Brats18_2013_2_1",
        "Brats18_TCIA09_141_1",
    ]
    assert set(patients[6].files) == {"t1", "t1ce", "t2", "flair", "seg"}
    assert all(set(patient.select_files(["t1"])) == {"t1", "seg"} for patient in patients)
    assert patients[0].select_files(["t1ce"])["t1ce"].endswith("BraTS-GLI-00005-000-t1c.nii.gz")


def test_a_folder_brats_below_the_root_is_taken_and_all_year_share_one_split(root: Path) -> None:
    root.rename(root.parent / "brats")
    data = open_data(root.parent)
    assert data.root == root.parent / "brats"


def test_the_split_is_by_patient_and_adding_one_moves_none(root: Path) -> None:
    def sides(data: Brats) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for split, domain in product(("train", "test"), DOMAINS):
            for patient in data.item_patients(split, domain):
                found.setdefault(patient.subject, set()).add(split)
        return found

    before = sides(open_data(root))
    assert len(before) == 30
    assert all(len(side) == 1 for side in before.values())
    for visit in ("000", "001", "002"):
        for number in range(9):
            write(
                root / f"BraTS-GLI-{number:05}-{visit}", "-", t1n=head(number), seg=tumour(TUMOUR)
            )
    after = sides(open_data(root))
    assert len(after) == 39
    assert all(
        len(side) == 1 for side in after.values()
    )  # three visits of a patient are on one side
    assert all(after[subject] == side for subject, side in before.items())


# ---- what cannot be used ----


def broken_header(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii"
    nibabel.save(stored(head(0)), path)
    (folder / f"{folder.name}_t1.nii.gz").unlink()
    path.write_bytes(b"\x07" * 352 + path.read_bytes()[352:])


def cut_short(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:-3000])


def one_bit(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    whole = path.read_bytes()
    for place in range(
        len(whole) // 2, len(whole)
    ):  # the first of which nobody but the checksum takes notice
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            values = np.asarray(nibabel.load(path).dataobj)
        except Exception:
            continue
        if (
            not np.isnan(values).any()
            and np.abs(values).max() < 1e6
            and not np.array_equal(values, stored(head(7)).dataobj)
        ):
            return
    raise AssertionError("no such bit")


def dangling(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    path.unlink()
    path.symlink_to("nowhere")


def flat_affine(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[254:256], content[312:328] = (1).to_bytes(2, "little"), bytes(16)  # sform_code, srow_z
    path.write_bytes(gzip.compress(content))


def with_nan() -> np.ndarray:
    values = head(0)
    values[12, 12, 1] = np.nan  # in no slice that is used, and yet
    return values


def odd_label() -> np.ndarray:
    return np.where(tumour(TUMOUR) == 2, 7, 0).astype(np.uint8)


FAULTS = {
    "header": (broken_header, "_t1.nii cannot be decoded"),
    "cut short": (cut_short, "_t1.nii.gz cannot be"),
    "one bit": (one_bit, "_t1.nii.gz cannot be read: CRC check failed"),
    "empty": (
        lambda f: (f / f"{f.name}_t1.nii.gz").write_bytes(b""),
        "_t1.nii.gz is empty (0 bytes)",
    ),
    "no t1": (lambda f: (f / f"{f.name}_t1.nii.gz").unlink(), "has no t1 file, found seg"),
    "no seg": (lambda f: (f / f"{f.name}_seg.nii.gz").unlink(), "has no seg file, found t1"),
    "two t1": (lambda f: write(f, "-", t1n=head(0)), "has 2 t1 files"),
    "dangling": (dangling, "_t1.nii.gz cannot be read: No such file"),
    "4-D": (
        lambda f: write(f, t1=nibabel.Nifti1Image(np.ones((*SHAPE, 2), np.float32), AFFINE)),
        "expected one volume",
    ),
    "complex": (
        lambda f: write(f, t1=nibabel.Nifti1Image(head(0).astype(np.complex64), AFFINE)),
        "of the type complex64",
    ),
    "nan": (lambda f: write(f, t1=with_nan()), "_t1.nii.gz has 1 voxels that are NaN"),
    "zero": (lambda f: write(f, t1=np.zeros(SHAPE, np.float32)), "_t1.nii.gz is zero everywhere"),
    "flat": (
        lambda f: write(f, t1=(head(0) != 0).astype(np.float32)),
        "the same value, 1, in nearly all voxels",
    ),
    "mask": (
        lambda f: write(f, seg=tumour(TUMOUR)[:, :, :11]),
        "_seg.nii.gz has 24 x 24 x 11 voxels, ",
    ),
    "label": (lambda f: write(f, seg=odd_label()), "_seg.nii.gz has the label 7"),
    "labels": (
        lambda f: write(f, seg=tumour(TUMOUR) + (tumour(TUMOUR) == 1) * np.uint8(2)),
        "has both labels 3 and 4",
    ),
    "voxels": (
        lambda f: write(
            f, t1=stored(head(0), AFFINE * 1.5), seg=stored(tumour(TUMOUR), AFFINE * 1.5)
        ),
        "has 24 x 24 x 12 voxels of 1.5 x 1.5 x 1.5 mm, most have 24 x 24 x 12 voxels of 1 x 1 x 1 mm",
    ),
    "voxel": (lambda f: write(f, t1=stored(head(0), AFFINE * 1.5)), "has voxels of 1 x 1 x 1 mm, "),
    "apart": (
        lambda f: write(f, seg=stored(tumour(TUMOUR), AFFINE + 9 * np.eye(4, k=3))),
        "lie 9 mm apart",
    ),
    "slices": (
        lambda f: write(f, t1=head(0)[..., :6], seg=tumour(TUMOUR)[..., :6]),
        "has 6 slices, but data.slices asks for",
    ),
    "size": (
        lambda f: write(f, t1=head(0)[1:], seg=tumour(TUMOUR)[1:]),
        "has 23 x 24 x 12 voxels of 1 x 1 x 1 mm, most have",
    ),
    "axis": (flat_affine, "has an affine that leaves out an axis"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_patient_is_set_aside_by_name_and_changes_nothing_else(
    root: Path, fault: str
) -> None:
    spoil, expected = FAULTS[fault]
    folder = root / "BraTS2021_00007"
    before = open_data(root)
    whole = everything(before)
    spoil(folder)
    for data in (open_data(root), open_data(root)):  # from the volumes, then from the cache
        assert [name for name, _ in data.quarantined] == [folder.name]
        assert expected in data.quarantined[0][1]
        assert any(f"1 patients are set aside\n  {folder.name}: " in note for note in data.notes())
        for place, images in everything(data).items():
            rows = [
                i
                for i, patient in enumerate(before.item_patients(*place))
                if patient.name != folder.name
            ]
            assert np.array_equal(images, whole[place][rows])


def test_too_many_bad_patients_are_an_error_with_every_name(root: Path) -> None:
    for number in (3, 8):
        write(root / f"BraTS2021_{number:05}", t1=with_nan())
    with pytest.raises(
        QuarantineError, match="2 of 30 patients cannot be used, max_bad is 5%"
    ) as caught:
        open_data(root)
    assert "BraTS2021_00003: BraTS2021_00003_t1.nii.gz has 1 voxels that are NaN" in str(
        caught.value
    )
    report = check(config(root))
    assert [name for name, _ in report["quarantined"]] == ["BraTS2021_00003", "BraTS2021_00008"]
    assert not report["ok"]
    assert open_data(root, max_bad=0.1).size("train", "target") > 0
    with pytest.raises(StudioError, match="no target slice in the train split") as caught:
        open_data(root, max_bad=0.1, min_tumour=30.0)
    assert (
        "\n2 patients are set aside\n  BraTS2021_00003: BraTS2021_00003_t1.nii.gz has 1 voxels"
        in str(caught.value)
    )


def test_all_patients_in_one_folder_are_not_listed_file_by_file(root: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(root.rglob("*.nii.gz")):
        path.rename(flat / path.name)
    with pytest.raises(QuarantineError) as caught:
        open_data(flat)
    names = ", ".join(f"BraTS2021_0000{number}_t1.nii.gz" for number in range(3))
    assert str(caught.value).endswith(
        f"has 30 t1 files: {names} and 27 more: expected a folder per patient"
    )


@pytest.mark.parametrize("whose", ["folder", "file"])
def test_a_name_that_is_not_utf_8_is_set_aside_in_words(root: Path, whose: str) -> None:
    folder = root / "BraTS2021_00004"
    try:
        if whose == "folder":
            folder.rename(root / os.fsdecode(b"BraTS2021_\xff"))
        else:
            (folder / f"{folder.name}_t1.nii.gz").rename(
                folder / os.fsdecode(b"BraTS2021_\xff_t1.nii.gz")
            )
    except OSError:
        pytest.skip("this file system has no such names")
    data = open_data(root)
    assert len(data.patients) == 29
    ((name, reason),) = data.quarantined
    assert name == ("BraTS2021_\\udcff" if whose == "folder" else folder.name)
    assert reason.startswith("has a path that is not UTF-8, BraTS2021_")
    assert "\\udcff" in reason
    json.dumps(data.notes()).encode()
    "\n".join(data.notes()).encode()


def test_the_same_folder_twice_counts_once(root: Path) -> None:
    shutil.copytree(root / "BraTS2021_00001", root / "again" / "BraTS2021_00001")
    data = open_data(root)
    assert data.quarantined == [
        (
            "again/BraTS2021_00001",
            "is a second folder of the name BraTS2021_00001, see BraTS2021_00001",
        )
    ] or data.quarantined[0][1].endswith("see again/BraTS2021_00001")
    assert len(data.patients) == 30


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"min_tumour": 30.0}, "no target slice in the train split, of 180 slices of 30 patients"),
        ({"slices": (7, 7)}, "no background slice in the train split"),
        ({"crop": 25}, "has slices of 24 x 24, smaller than data.crop: 25"),
        ({"modalities": ["t2"]}, "BraTS2021_00000: has no t2 file, found seg, t1"),
    ],
)
def test_options_that_leave_nothing_are_named(root: Path, fields: dict, expected: str) -> None:
    with pytest.raises(StudioError) as caught:
        open_data(root, **fields)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"slices": (9, 3)}, "expected [first, last]"),
        ({"percentiles": (99, 1)}, "with low < high"),
        ({"percentiles": (0, 101)}, "less than or equal to 100"),
        ({"modalities": ["t1", "t1"]}, "at most once"),
        ({"modalities": []}, "at least 1 item"),
        ({"modalities": ["t1n"]}, "'t1', 't1ce', 't2' or 'flair'"),
        ({"min_tumour": 0.0}, "greater than 0"),
    ],
)
def test_wrong_options_are_refused(root: Path, fields: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        config(root, **fields)
    assert expected in str(caught.value)


def test_no_patients_says_what_is_expected_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        StudioError, match=r"no patients; expected a folder per patient anywhere below ROOT"
    ):
        open_data(tmp_path)
    monkeypatch.delenv("STUDIO_DATA", raising=False)
    with pytest.raises(StudioError, match=r"data\.root: not given"):
        Brats(BratsConfig())
    assert "BraTS2021_00000_t1.nii.gz" in DATASETS["brats"].LAYOUT


# ---- the cache ----


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the patients whose volumes are read."""
    names: list[str] = []

    def counted(root: Path, files: dict, cutting: object) -> cache.PatientSlices:
        names.append(Path(files["seg"]).parent.name)
        return real(root, files, cutting)

    real = dataset.cut_patient
    monkeypatch.setattr(dataset, "cut_patient", counted)
    return names


def test_volumes_are_read_once_and_again_where_they_or_the_options_change(
    root: Path, reads: list[str]
) -> None:
    first = everything(open_data(root))
    assert sorted(reads) == [f"BraTS2021_{number:05}" for number in range(30)]
    reads.clear()
    again = everything(open_data(root, min_tumour=0.1, test_share=0.2))
    assert all(np.array_equal(first[place], again[place]) for place in first)
    open_data(root, min_tumour=0.02)  # decided from the cache
    assert reads == []
    write(root / "BraTS2021_00003", t1=head(99))
    changed = everything(open_data(root))
    assert reads == ["BraTS2021_00003"]
    split = split_of("BraTS2021_00003", 0.2)
    assert not np.array_equal(first[split, "target"], changed[split, "target"])
    reads.clear()
    stamp = (root / "BraTS2021_00005" / "BraTS2021_00005_seg.nii.gz").stat()
    os.utime(root / "BraTS2021_00005" / "BraTS2021_00005_seg.nii.gz", ns=(0, stamp.st_mtime_ns + 1))
    open_data(root)
    assert reads == ["BraTS2021_00005"]
    for fields in ({"resolution": 32}, {"percentiles": (1, 99)}, {"crop": 20}, {"slices": (3, 7)}):
        reads.clear()
        open_data(root, **fields)
        assert len(reads) == 30, fields


def test_a_cache_of_another_version_or_a_damaged_one_is_made_anew(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = everything(open_data(root))
    files = sorted((root / ".studio-cache").rglob("*.safetensors"))
    assert len(files) == 30
    reads.clear()
    files[0].write_bytes(files[0].read_bytes()[:-100])
    files[1].write_bytes(b"something else")
    files[2].unlink()
    again = everything(open_data(root))
    assert len(reads) == 3
    assert all(np.array_equal(first[place], again[place]) for place in first)
    reads.clear()
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    open_data(root)
    assert len(reads) == 30
    assert (
        len(sorted((root / ".studio-cache").rglob("*.safetensors"))) == 30
    )  # in the place of the old ones
    with safe_open(files[0], "numpy") as file:
        assert json.loads(file.metadata()["version"]) == cache.VERSION


@pytest.mark.parametrize("memory_gb", [0.0, 2.0])
def test_a_cache_that_changes_under_an_open_data_set_is_an_error(
    root: Path, memory_gb: float
) -> None:
    data, kept = open_data(root, memory_gb=memory_gb), open_data(root)
    expected = everything(kept)
    for place, images in everything(open_data(root, memory_gb=memory_gb)).items():
        assert np.array_equal(images, expected[place])
    for number in range(30):
        write(root / f"BraTS2021_{number:05}", t1=head(number + 50))
    open_data(root)
    with pytest.raises(StudioError, match="has changed or gone since the data set was opened"):
        data.images("train", "target", [0])
    assert all(
        np.array_equal(images, expected[place]) for place, images in everything(kept).items()
    )


def test_what_the_system_refuses_is_tried_again_and_a_damaged_file_is_not(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "BraTS2021_00003", t1=with_nan())
    locked, open_file = root / "BraTS2021_00007" / "BraTS2021_00007_seg.nii.gz", Path.open

    def refusing(path: Path, *args: object) -> object:
        if path == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_file(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", refusing
        )  # whoever runs this may be root, to whom nothing is forbidden
        for expected in (30, 1):
            reads.clear()
            data = open_data(root, max_bad=0.1)
            assert len(reads) == expected
            assert (
                dict(data.quarantined)["BraTS2021_00007"]
                == f"{locked.name} cannot be read: Permission denied"
            )
    reads.clear()
    assert [name for name, _ in open_data(root, max_bad=0.1).quarantined] == ["BraTS2021_00003"]
    assert reads == ["BraTS2021_00007"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_who_may_read_the_folder_of_the_cache_may_read_its_files(
    root: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        open_data(root)
    finally:
        os.umask(before)
    files = [path for path in (root / ".studio-cache").rglob("*") if path.is_file()]
    assert len(files) == 31  # and the lock
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}


def test_where_the_cache_is(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    open_data(root)
    assert f"reading 30 patients once into {root / '.studio-cache'}" in capsys.readouterr().err
    monkeypatch.setenv("STUDIO_CACHE", str(tmp_path / "environment"))
    open_data(root)
    assert list((tmp_path / "environment").glob("brats-*/*.safetensors"))
    data = open_data(root, cache=str(tmp_path / "given"))
    assert list((tmp_path / "given").glob("brats-*/*.safetensors"))
    assert any(str(tmp_path / "given") in note for note in data.notes())
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StudioError, match=r"file.*cannot be written.*set data.cache or STUDIO_CACHE"
    ):
        open_data(root, cache=str(tmp_path / "file"))


def _open(root: str, place: str, queue: object) -> None:
    data = open_data(Path(root), cache=place)
    queue.put([float(images.sum()) for images in everything(data).values()])


def test_several_processes_at_once_read_every_patient_once(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [
        context.Process(target=_open, args=(str(root), str(tmp_path / "shared"), queue))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    sums = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert (
        sums[0]
        == sums[1]
        == sums[2]
        == [float(images.sum()) for images in everything(open_data(root)).values()]
    )
    said = capfd.readouterr().err
    assert said.count(f"reading 30 patients once into {tmp_path / 'shared'}") == 1
    assert not list((tmp_path / "shared").rglob(f"{cache.WRITING}*"))


# ---- verbs ----


def test_check_and_preview(root: Path) -> None:
    report = check(config(root))
    assert report["ok"], report
    assert report == json.loads(json.dumps(report))
    assert report["shape"] == [1, 24, 24]
    text = describe(report)
    assert "attribute tumour_side: salient, one of left, right, target only" in text
    assert preview(open_data(root), 3).size > (100, 100)
    write(root / "BraTS2021_00000", t1=head(0), t2=head(1))
    for number in range(30):
        write(root / f"BraTS2021_{number:05}", t2=head(1))
    assert preview(open_data(root, modalities=["t1", "t2"]), 2).size > (100, 100)


def test_phantoms_in_the_layout_of_brats_are_read_as_their_own_files_say(tmp_path: Path) -> None:
    phantom = pytest.importorskip("studio.data.brain_phantom")
    phantom.write_brats(tmp_path, 12, seed=1, side=48, slices=range(86, 95))
    data = open_data(
        tmp_path,
        resolution=64,
        slices=(86, 94),
        slice_step=2,
        min_tumour=1.0,
        modalities=["t1", "flair"],
    )
    assert data.quarantined == []
    assert data.shape == (2, 64, 64)
    seen = 0
    for split in ("train", "test"):
        labels, masks = (
            data.labels(split, "target"),
            data.masks(split, range(data.size(split, "target"))),
        )
        for i, patient in enumerate(data.item_patients(split, "target")):
            folder = tmp_path / patient.name
            seg = nibabel.load(folder / f"{folder.name}_seg.nii.gz")
            plane = np.asarray(seg.dataobj)[:, :, int(labels["slice"][i])]
            assert labels["tumour_area"][i] == pytest.approx(
                np.count_nonzero(plane) * 0.25, rel=1e-5
            )  # voxels of 5 mm
            # Where the patient's own axes say the tumour is, in mm: x to the right, y to the front.
            head_ = np.asarray(nibabel.load(folder / f"{folder.name}_t1.nii.gz").dataobj)[
                :, :, int(labels["slice"][i])
            ]
            place, centre = (
                seg.affine[:2, :2] @ np.argwhere(values).mean(0) for values in (plane, head_)
            )
            if abs(place[0] - centre[0]) > 10:
                side = data.attributes["tumour_side"].classes[labels["tumour_side"][i]]
                assert side == ("right" if place[0] > centre[0] else "left")
                seen += 1
            rows, columns = torch.nonzero(masks[i], as_tuple=True)
            assert (columns.double().mean() + 0.5) / 32 - 1 == pytest.approx(
                labels["tumour_x"][i], abs=0.05
            )
            assert (rows.double().mean() + 0.5) / 32 - 1 == pytest.approx(
                labels["tumour_y"][i], abs=0.05
            )
    assert seen >= 3
