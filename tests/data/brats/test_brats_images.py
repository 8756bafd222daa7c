"""BraTS: orientation, windows, modalities, masks and attributes."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from support.brats_files import SHAPE, TUMOUR, head, open_brats, store, tumour, write_patient

from studio.data.captions import caption_images
from studio.data.io.volumes import axial_slice, read_volume


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SLA"])
def test_read_volume_is_independent_of_the_order_of_voxels(
    tmp_path: Path, codes: str, ending: str
) -> None:
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    orientation = nibabel.orientations.axcodes2ornt(codes)
    affine = nibabel.orientations.inv_ornt_aff(orientation, SHAPE)
    affine = np.diag([1.0, 1.0, 2.5, 1.0]) @ affine
    image = store(values, affine)
    nibabel.save(image, tmp_path / f"v{ending}")
    volume = read_volume(tmp_path / f"v{ending}")
    assert np.array_equal(volume.values, values)
    assert volume.spacing == pytest.approx((1, 1, 2.5))
    # The patient's right is on the right and the front at the top.
    plane = axial_slice(volume.values, 4)
    assert plane[0, 0] == values[0, -1, 4]
    assert plane[-1, -1] == values[-1, 0, 4]


def test_images_are_windowed_by_percentiles_of_the_brain(
    root: Path,
) -> None:
    data = open_brats(root, percentiles=(10, 90))
    split = data.derived()["split"]["BraTS2021_00004"]
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


def test_images_have_a_channel_per_modality_in_order(tmp_path: Path) -> None:
    for number in range(20):
        volume = head(number)
        write_patient(
            tmp_path / f"P_{number}",
            t1=volume,
            t2=np.where(volume != 0, 1100 - volume, 0),
            seg=tumour(TUMOUR),
        )
    both = open_brats(tmp_path, modalities=["t2", "t1"])
    assert both.shape == (2, 24, 24)
    image = both.images("train", "target", [0])[0]
    inside = image[1] > -0.9
    assert torch.corrcoef(torch.stack([image[0][inside], image[1][inside]]))[0, 1] < -0.99
    alone = open_brats(tmp_path, modalities=["t1"]).images("train", "target", [0])[0]
    assert torch.equal(alone[0], image[1])


def test_images_are_cropped_and_resized(root: Path) -> None:
    whole, cropped = open_brats(root), open_brats(root, crop=12, resolution=48)
    assert cropped.shape == (1, 48, 48)
    large, small = (data.images("train", "background", [0])[0, 0] for data in (cropped, whole))
    middle = torch.nn.functional.avg_pool2d(large[None], 4)[0]
    assert (middle - small[6:18, 6:18]).abs().mean() < 0.15  # enlarged, then shrunk again
    assert (middle - small[0:12, 0:12]).abs().mean() > 0.5
    # The tumour's corner at (14, 6) is partly outside the centred square of 12.
    assert (
        cropped.labels("train", "target")["tumour_area"]
        < whole.labels("train", "target")["tumour_area"]
    ).all()


def test_domains_and_attributes_follow_from_the_mask(root: Path) -> None:
    data = open_brats(root)
    for split, patients in (("train", 24), ("test", 6)):
        assert data.size(split, "background") == 4 * patients  # slices 3, 4, 5, 6
        # Slice 7. The tumour of slice 8 has 4 mm2, less than 0.1 cm2.
        assert data.size(split, "target") == patients
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
    # Of 24 voxels, 14 to 18 across, and 6 to 10 from the back, so 13 to 17 from the top.
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


def test_masks_match_the_images(tmp_path: Path) -> None:
    for number in range(20):
        bright, mask = head(number), tumour({7: 5})
        bright[mask > 0] = 5000  # so that the image itself shows the tumour
        write_patient(tmp_path / f"P_{number}", t1=bright, seg=mask)
    for resolution in (24, 48):
        data = open_brats(tmp_path, resolution=resolution, percentiles=(0, 100))
        indices = range(data.size("test", "target"))
        masks, images = data.masks("test", indices), data.images("test", "target", indices)
        assert masks.shape == (len(indices), resolution, resolution)
        assert masks.dtype == torch.bool
        assert torch.equal(masks, images[:, 0] > 0)
        assert masks[0].sum() == 25 * (resolution / 24) ** 2


def test_attributes_use_the_patients_sides_and_the_labels_of_2023(
    tmp_path: Path,
) -> None:
    for number in range(20):
        mask = tumour({7: 5}, corner=(5 if number % 2 else 14, 6))
        write_patient(
            tmp_path / f"BraTS-GLI-{number:05}-000",
            "-",
            t1n=head(0),
            seg=np.where(mask == 4, 3, mask),
        )
    data = open_brats(tmp_path)
    for split in ("train", "test"):
        odd = np.array(
            [int(patient.subject[-1]) % 2 for patient in data.item_patients(split, "target")]
        )
        assert np.array_equal(data.labels(split, "target")["tumour_side"], 1 - odd)
        assert data.labels(split, "target")["enhancing"] == pytest.approx(np.full(len(odd), 8 / 25))


def test_background_excludes_a_slice_with_tumour_outside_the_crop(tmp_path: Path) -> None:
    for number in range(20):
        write_patient(
            tmp_path / f"P_{number}",
            t1=head(number),
            seg=tumour({7: 4, 5: 2}, corner=(14, 2)) + tumour({7: 5}, (8, 8)),
        )
    data = open_brats(tmp_path, crop=12)
    slices_ = np.concatenate(
        [data.labels(split, "background")["slice"] for split in ("train", "test")]
    )
    assert np.unique(slices_).tolist() == [
        3,
        4,
        6,
        8,
    ]  # slice 5 has its tumour beyond the frame's edge


def test_items_are_named_by_patient_and_slice(root: Path) -> None:
    data = open_brats(root)
    slices = data.labels("test", "target")["slice"].astype(int)
    patients = data.item_patients("test", "target")
    names = data.item_names("test", "target")
    assert names == [f"{p.name} slice {n}" for p, n in zip(patients, slices, strict=True)]
    assert data.item_subjects("test", "target") == [patient.subject for patient in patients]
    assert caption_images(data, "test", "target", [0]) == [f"target {names[0]}"]
    hidden = open_brats(root, show_names=False)
    assert caption_images(hidden, "test", "target", [0]) == ["target 0"]
