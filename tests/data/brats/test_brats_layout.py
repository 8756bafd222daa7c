"""BraTS: the folders of each year, splits by patient, and options."""

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support.brats_files import TUMOUR, brats_config, head, open_brats, tumour, write_patient

from studio.data import DATASETS
from studio.data.brats.dataset import Brats, BratsConfig
from studio.data.brats.layout import find_patients
from studio.domains import DOMAINS
from studio.errors import StudioError


def test_find_patients_finds_the_folders_of_every_year(tmp_path: Path) -> None:
    whole = {"t1": head(0), "seg": tumour(TUMOUR)}
    training = tmp_path / "MICCAI_BraTS_2018_Data_Training"
    write_patient(training / "HGG" / "Brats18_2013_2_1", **whole)
    write_patient(
        training / "LGG" / "Brats18_TCIA09_141_1", **whole, flair=head(1), t1ce=head(2), t2=head(3)
    )
    write_patient(
        tmp_path / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001", ending=".nii", **whole
    )
    odd = write_patient(
        tmp_path / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_355", ending=".nii", **whole
    )
    (odd / "BraTS20_Training_355_seg.nii").rename(
        odd / "W39_1998.09.19_Segm.nii"
    )  # as it is published
    write_patient(tmp_path / "BraTS2021_00000", **whole)
    challenge = tmp_path / "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData"
    for visit in ("000", "001"):
        write_patient(
            challenge / f"BraTS-GLI-00005-{visit}",
            "-",
            t1n=head(0),
            t1c=head(1),
            seg=tumour(TUMOUR),
        )
    write_patient(tmp_path / ".hidden" / "BraTS2021_00009", **whole)
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


def test_brats_takes_a_folder_brats_below_the_root(root: Path) -> None:
    root.rename(root.parent / "brats")
    data = open_brats(root.parent)
    assert data.root == root.parent / "brats"


def sides(data: Brats) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for split, domain in product(("train", "test"), DOMAINS):
        for patient in data.item_patients(split, domain):
            found.setdefault(patient.subject, set()).add(split)
    return found


@pytest.mark.parametrize("rule", ["quotas", "names"])
def test_split_is_by_patient_when_a_patient_has_several_visits(root: Path, rule: str) -> None:
    before = sides(open_brats(root, split_rule=rule))
    assert len(before) == 30
    assert all(len(side) == 1 for side in before.values())
    for visit in ("000", "001", "002"):
        for number in range(9):
            write_patient(
                root / f"BraTS-GLI-{number:05}-{visit}",
                "-",
                t1n=head(number),
                seg=np.minimum(tumour(TUMOUR), 3),
            )
    after = sides(open_brats(root, split_rule=rule))
    assert len(after) == 39
    # Three visits of a patient are in one split.
    assert all(len(side) == 1 for side in after.values())
    moved = sum(after[subject] != side for subject, side in before.items())
    assert moved == 0 if rule == "names" else moved <= 9


@pytest.mark.parametrize("patients", [2, 3, 5, 10])
def test_split_gives_each_set_a_test_patient(root: Path, patients: int) -> None:
    for number in range(patients, 30):
        shutil.rmtree(root / f"BraTS2021_{number:05}")
    data = open_brats(root)
    tests = [subject for subject, split in data.derived()["split"].items() if split == "test"]
    assert len(tests) == max(1, round(0.2 * patients))
    assert all(data.size(split, domain) for split in ("train", "test") for domain in DOMAINS)


def test_split_gives_each_set_a_test_patient_when_few_patients_have_a_target(root: Path) -> None:
    for number in range(2, 30):
        write_patient(root / f"BraTS2021_{number:05}", seg=tumour({8: 2}))
    data = open_brats(root)
    assert {data.size(split, "target") for split in ("train", "test")} == {1}


def test_split_tests_each_patient_once_when_folds_are_given(root: Path) -> None:
    tests = [
        {
            subject
            for subject, split in open_brats(root, fold=fold, folds=3).derived()["split"].items()
            if split == "test"
        }
        for fold in range(3)
    ]
    assert [len(test) for test in tests] == [10, 10, 10]
    assert len(set.union(*tests)) == 30


def test_split_changes_with_its_seed_and_keeps_a_stored_one(root: Path) -> None:
    first, other = open_brats(root), open_brats(root, split_seed=1)
    assert first.derived()["split"] != other.derived()["split"]
    again = Brats(other.config, first.derived())
    assert again.derived()["split"] == first.derived()["split"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"min_tumour": 30.0}, "no target slice in the train split, of 180 slices of 30 patients"),
        ({"slices": (7, 7)}, "no background slice in the train split"),
        ({"crop": 25}, "has slices of 24 x 24, smaller than data.crop: 25"),
        ({"modalities": ["t2"]}, "BraTS2021_00000: has no t2 file, found seg, t1"),
    ],
)
def test_brats_names_the_options_that_leave_no_slices(
    root: Path, fields: dict, expected: str
) -> None:
    with pytest.raises(StudioError) as caught:
        open_brats(root, **fields)
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
def test_config_refuses_invalid_options(root: Path, fields: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        brats_config(root, **fields)
    assert expected in str(caught.value)


def test_brats_states_the_layout_without_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        StudioError, match=r"no patients; expected a folder per patient anywhere below ROOT"
    ):
        open_brats(tmp_path)
    monkeypatch.delenv("STUDIO_DATA", raising=False)
    with pytest.raises(StudioError, match=r"data\.root: not given"):
        Brats(BratsConfig())
    assert "BraTS2021_00000_t1.nii.gz" in DATASETS["brats"].LAYOUT
