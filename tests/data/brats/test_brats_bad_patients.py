"""BraTS: patients that cannot be used are set aside by name."""

import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.brats_files import (
    AFFINE,
    SHAPE,
    TUMOUR,
    brats_config,
    everything,
    head,
    open_brats,
    store,
    tumour,
    values_with_nan,
    write_patient,
)

from studio.data.catalogue import check
from studio.data.folders import QuarantineError
from studio.errors import StudioError


def break_header(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii"
    nibabel.save(store(head(0)), path)
    (folder / f"{folder.name}_t1.nii.gz").unlink()
    path.write_bytes(b"\x07" * 352 + path.read_bytes()[352:])


def cut_volume_short(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:-3000])


def flip_one_bit(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    whole = path.read_bytes()
    # The first bit that only the checksum detects.
    for place in range(len(whole) // 2, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            values = np.asarray(nibabel.load(path).dataobj)
        except Exception:
            continue
        if (
            not np.isnan(values).any()
            and np.abs(values).max() < 1e6
            and not np.array_equal(values, store(head(7)).dataobj)
        ):
            return
    raise AssertionError("no such bit")


def link_to_nowhere(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    path.unlink()
    path.symlink_to("nowhere")


def flatten_affine(folder: Path) -> None:
    path = folder / f"{folder.name}_t1.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[254:256], content[312:328] = (1).to_bytes(2, "little"), bytes(16)  # sform_code, srow_z
    path.write_bytes(gzip.compress(content))


def mask_with_odd_label() -> np.ndarray:
    return np.where(tumour(TUMOUR) == 2, 7, 0).astype(np.uint8)


FAULTS = {
    "header": (break_header, "_t1.nii cannot be decoded"),
    "cut short": (cut_volume_short, "_t1.nii.gz cannot be"),
    "one bit": (flip_one_bit, "_t1.nii.gz cannot be read: CRC check failed"),
    "empty": (
        lambda f: (f / f"{f.name}_t1.nii.gz").write_bytes(b""),
        "_t1.nii.gz is empty (0 bytes)",
    ),
    "no t1": (lambda f: (f / f"{f.name}_t1.nii.gz").unlink(), "has no t1 file, found seg"),
    "no seg": (lambda f: (f / f"{f.name}_seg.nii.gz").unlink(), "has no seg file, found t1"),
    "two t1": (lambda f: write_patient(f, "-", t1n=head(0)), "has 2 t1 files"),
    "dangling": (link_to_nowhere, "_t1.nii.gz cannot be read: No such file"),
    "4-D": (
        lambda f: write_patient(
            f, t1=nibabel.Nifti1Image(np.ones((*SHAPE, 2), np.float32), AFFINE)
        ),
        "expected one volume",
    ),
    "complex": (
        lambda f: write_patient(f, t1=nibabel.Nifti1Image(head(0).astype(np.complex64), AFFINE)),
        "of the type complex64",
    ),
    "nan": (
        lambda f: write_patient(f, t1=values_with_nan()),
        "_t1.nii.gz has 1 voxels that are NaN",
    ),
    "zero": (
        lambda f: write_patient(f, t1=np.zeros(SHAPE, np.float32)),
        "_t1.nii.gz is zero everywhere",
    ),
    "flat": (
        lambda f: write_patient(f, t1=(head(0) != 0).astype(np.float32)),
        "the same value, 1, in nearly all voxels",
    ),
    "mask": (
        lambda f: write_patient(f, seg=tumour(TUMOUR)[:, :, :11]),
        "_seg.nii.gz has 24 x 24 x 11 voxels, ",
    ),
    "label": (lambda f: write_patient(f, seg=mask_with_odd_label()), "_seg.nii.gz has the label 7"),
    "labels": (
        lambda f: write_patient(f, seg=tumour(TUMOUR) + (tumour(TUMOUR) == 1) * np.uint8(2)),
        "_seg.nii.gz has the label 3, the labels of BraTS 2017 to 2021 are 1 core, 2 oedema, 4",
    ),
    "voxels": (
        lambda f: write_patient(
            f, t1=store(head(0), AFFINE * 1.5), seg=store(tumour(TUMOUR), AFFINE * 1.5)
        ),
        "has 24 x 24 x 12 voxels of 1.5 x 1.5 x 1.5 mm, "
        "most have 24 x 24 x 12 voxels of 1 x 1 x 1 mm",
    ),
    "voxel": (
        lambda f: write_patient(f, t1=store(head(0), AFFINE * 1.5)),
        "has voxels of 1 x 1 x 1 mm, ",
    ),
    "apart": (
        lambda f: write_patient(f, seg=store(tumour(TUMOUR), AFFINE + 9 * np.eye(4, k=3))),
        "lie 9 mm apart",
    ),
    "slices": (
        lambda f: write_patient(f, t1=head(0)[..., :6], seg=tumour(TUMOUR)[..., :6]),
        "has 6 slices, but data.slices asks for",
    ),
    "size": (
        lambda f: write_patient(f, t1=head(0)[1:], seg=tumour(TUMOUR)[1:]),
        "has 23 x 24 x 12 voxels of 1 x 1 x 1 mm, most have",
    ),
    "axis": (flatten_affine, "has an affine that leaves out an axis"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_brats_sets_aside_a_bad_patient_and_changes_no_other(root: Path, fault: str) -> None:
    spoil, expected = FAULTS[fault]
    folder = root / "BraTS2021_00007"
    before = open_brats(root)
    whole = everything(before)
    spoil(folder)
    for data in (open_brats(root), open_brats(root)):  # from the volumes, then from the cache
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


def test_brats_raises_with_every_name_when_too_many_patients_are_bad(root: Path) -> None:
    for number in (3, 8):
        write_patient(root / f"BraTS2021_{number:05}", t1=values_with_nan())
    with pytest.raises(
        QuarantineError, match="2 of 30 patients cannot be used, max_bad is 5%"
    ) as caught:
        open_brats(root)
    assert "BraTS2021_00003: BraTS2021_00003_t1.nii.gz has 1 voxels that are NaN" in str(
        caught.value
    )
    report = check(brats_config(root))
    assert [name for name, _ in report["quarantined"]] == ["BraTS2021_00003", "BraTS2021_00008"]
    assert not report["ok"]
    assert open_brats(root, max_bad=0.1).size("train", "target") > 0
    with pytest.raises(StudioError, match="no target slice in the train split") as caught:
        open_brats(root, max_bad=0.1, min_tumour=30.0)
    assert (
        "\n2 patients are set aside\n  BraTS2021_00003: BraTS2021_00003_t1.nii.gz has 1 voxels"
        in str(caught.value)
    )


@pytest.mark.parametrize("whose", ["folder", "file"])
def test_brats_sets_aside_a_name_that_is_not_utf_8(root: Path, whose: str) -> None:
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
    data = open_brats(root)
    assert len(data.patients) == 29
    ((name, reason),) = data.quarantined
    assert name == ("BraTS2021_\\udcff" if whose == "folder" else folder.name)
    assert reason.startswith("has a path that is not UTF-8, BraTS2021_")
    assert "\\udcff" in reason
    json.dumps(data.notes()).encode()
    "\n".join(data.notes()).encode()


def test_brats_counts_a_repeated_folder_once(root: Path) -> None:
    shutil.copytree(root / "BraTS2021_00001", root / "again" / "BraTS2021_00001")
    data = open_brats(root)
    assert data.quarantined == [
        (
            "again/BraTS2021_00001",
            "is a second folder of the name BraTS2021_00001, see BraTS2021_00001",
        )
    ] or data.quarantined[0][1].endswith("see again/BraTS2021_00001")
    assert len(data.patients) == 30
