"""BraTS: the layouts that archives and converters leave."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.brats_files import AFFINE, TUMOUR, everything, head, open_brats, store, tumour

from studio.data.brats.layout import find_patients
from studio.data.folders import QuarantineError
from studio.errors import StudioError

NAMES = [f"BraTS2021_{number:05}" for number in range(30)]


def same_images(root: Path, other: Path) -> bool:
    one, two = everything(open_brats(root)), everything(open_brats(other))
    return all(np.array_equal(one[place], two[place]) for place in one)


def test_brats_reads_files_that_lie_in_a_folder_each(root: Path, tmp_path: Path) -> None:
    kaggle = tmp_path / "kaggle"
    for number, name in enumerate(NAMES):
        for kind in ("t1", "seg"):
            folder = kaggle / name / f"{name}_{kind}.nii"
            folder.mkdir(parents=True)
            image = nibabel.load(root / name / f"{name}_{kind}.nii.gz")
            nibabel.save(image, folder / f"{number:08}_brain_{kind}.nii")
    _, patients = find_patients(kaggle)
    assert [patient.subject for patient in patients] == NAMES
    assert same_images(root, kaggle)


def test_brats_refuses_a_folder_of_a_file_when_another_kind_is_in_it(
    root: Path, tmp_path: Path
) -> None:
    folder = root / NAMES[3] / f"{NAMES[3]}_t1.nii"
    folder.mkdir()
    (root / NAMES[3] / f"{NAMES[3]}_t1.nii.gz").rename(folder / "x_flair.nii.gz")
    ((name, reason),) = open_brats(root).quarantined
    assert name == NAMES[3]
    assert reason.startswith(f"has no t1 file, found flair (in a folder {NAMES[3]}_t1.nii), seg")


def test_brats_reads_files_that_lie_in_one_folder(root: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(root.rglob("*.nii.gz")):
        shutil.copy(path, flat / path.name)
    _, patients = find_patients(flat)
    assert [patient.name for patient in patients] == NAMES
    assert same_images(root, flat)


def test_brats_reads_files_that_lie_in_a_folder_per_kind(root: Path, tmp_path: Path) -> None:
    sorted_ = tmp_path / "sorted"
    for kind in ("t1", "seg"):
        (sorted_ / kind).mkdir(parents=True)
        for path in sorted(root.rglob(f"*_{kind}.nii.gz")):
            shutil.copy(path, sorted_ / kind / path.name)
    _, patients = find_patients(sorted_)
    assert [patient.name for patient in patients] == NAMES
    assert same_images(root, sorted_)


def test_brats_names_the_folders_when_files_of_a_patient_lie_apart(root: Path) -> None:
    (root / "masks").mkdir()
    name = NAMES[4]
    (root / name / f"{name}_seg.nii.gz").rename(root / "masks" / f"{name}_seg.nii.gz")
    reasons = dict(open_brats(root, max_bad=0.1).quarantined)
    assert reasons[name] == (
        f"has no seg file, found t1; its files lie in 2 folders ({name}, masks): put them into one"
    )


def test_brats_keeps_a_stray_scan_from_becoming_a_patient(root: Path) -> None:
    name = NAMES[4]
    shutil.copy(root / name / f"{name}_t1.nii.gz", root / name / "old_t1.nii.gz")
    assert dict(open_brats(root).quarantined)[name].startswith("has 2 t1 files")


def write_decathlon(root: Path, order: tuple[str, ...] | None = None, name: str = "BRATS") -> Path:
    """Writes 4-D files with other values in each volume, in the Decathlon's order or another."""
    names = order or ("FLAIR", "T1w", "t1gd", "T2w")
    seeds = {"FLAIR": 100, "T1w": 0, "t1gd": 200, "T2w": 300}
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (root / folder).mkdir(parents=True)
    for number in range(20):
        scans = [np.asarray(store(head(seeds[kind] + number)).dataobj) for kind in names]
        image = nibabel.Nifti1Image(np.stack(scans, -1), AFFINE)
        nibabel.save(image, root / "imagesTr" / f"{name}_{number:03}.nii.gz")
        mask = np.choose(tumour(TUMOUR), [0, 2, 1, 0, 3]).astype(np.uint8)
        nibabel.save(store(mask), root / "labelsTr" / f"{name}_{number:03}.nii.gz")
        (root / "imagesTr" / f"._{name}_{number:03}.nii.gz").write_bytes(b"of a Mac")
    if order:
        stated = {"modality": {str(i): kind for i, kind in enumerate(order)}}
        (root / "dataset.json").write_text(json.dumps(stated))
    return root


@pytest.mark.parametrize("order", [None, ("T2w", "t1gd", "T1w", "FLAIR")])
@pytest.mark.parametrize("nested", [False, True])
def test_brats_reads_the_4d_files_of_the_decathlon(
    tmp_path: Path, nested: bool, order: tuple[str, ...] | None
) -> None:
    root = tmp_path / "all" / "Task01_BrainTumour" if nested else tmp_path / "all"
    write_decathlon(root, order)
    plain = tmp_path / "plain"
    for number in range(20):
        folder = plain / f"BraTS2021_{number:05}"
        folder.mkdir(parents=True)
        for kind, seed in (("t1", 0), ("flair", 100)):
            nibabel.save(store(head(seed + number)), folder / f"{folder.name}_{kind}.nii.gz")
        nibabel.save(store(tumour(TUMOUR)), folder / f"{folder.name}_seg.nii.gz")
    data = open_brats(tmp_path / "all", modalities=["t1", "flair"])
    assert [patient.subject for patient in data.patients] == [f"BRATS_{i:03}" for i in range(20)]
    stated = "t2, t1ce, t1, flair" if order else "flair, t1, t1ce, t2"
    assert any(f"have a 4-D file, and its volumes are {stated}:" in note for note in data.notes())
    other = open_brats(plain, modalities=["t1", "flair"])
    for one, two in zip(data._entries, other._entries, strict=True):
        np.testing.assert_array_equal(one.numbers, two.numbers)
        np.testing.assert_array_equal(
            data._cache.read_rows(one, "images"), other._cache.read_rows(two, "images")
        )


def test_brats_sets_aside_a_4d_file_without_a_label(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    (tmp_path / "labelsTr" / "BRATS_003.nii.gz").unlink()
    assert open_brats(tmp_path).quarantined == [
        ("BRATS_003", "has no seg file, found flair, t1, t1ce, t2")
    ]


def test_brats_refuses_a_file_per_modality_in_the_folders_of_the_decathlon(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    for path in sorted((tmp_path / "imagesTr").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii", "_0000.nii")))
    with pytest.raises(StudioError, match=r"found BRATS_000_0000.*must be called NAME_t1\.nii\.gz"):
        open_brats(tmp_path)


def test_brats_refuses_4d_files_of_other_modalities_or_names(tmp_path: Path) -> None:
    write_decathlon(tmp_path / "a", name="Mine")
    with pytest.raises(QuarantineError, match="Mine_000: has a name of no known edition"):
        open_brats(tmp_path / "a")
    assert len(open_brats(tmp_path / "a", edition="decathlon").patients) == 20
    write_decathlon(tmp_path / "b")
    (tmp_path / "b" / "dataset.json").write_text('{"modality": {"0": "CT"}}')
    with pytest.raises(StudioError, match="found the modalities CT, expected FLAIR, T1w, t1gd"):
        open_brats(tmp_path / "b")


def test_brats_says_which_nifti_files_it_found_when_there_are_no_patients(tmp_path: Path) -> None:
    for number in range(5):
        nibabel.save(store(head(number)), tmp_path / f"{number}_anatomy.nii.gz")
    with pytest.raises(StudioError) as caught:
        open_brats(tmp_path)
    assert (
        "no patients; found 5 NIfTI files of other names (0_anatomy.nii.gz, 1_anatomy.nii.gz, "
        "2_anatomy.nii.gz and 2 more); expected a folder per patient"
    ) in str(caught.value)
