"""BraTS: the meaning of labels by edition."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from support.brats_files import SHAPE, brats_config, head, open_brats, write_patient

from studio.data.brats.editions import EDITIONS, find_edition
from studio.data.folders import QuarantineError
from studio.data.io.slices import UnreadableError

# Side of the squares of four tissues, from the outer to the inner, in voxels.
SIDES = (8, 6, 4, 2)


def nested(labels: tuple[int, ...]) -> np.ndarray:
    """Returns nested squares of these labels in slice 7, the first one outside."""
    mask = np.zeros(SHAPE, np.uint8)
    for side, label in zip(SIDES, labels, strict=False):
        start = 12 - side // 2
        mask[start : start + side, start : start + side, 7] = label
    return mask


def write_all(root: Path, name: str, labels: tuple[int, ...], n: int = 12) -> None:
    """Writes patients with one square per label. `{}` in the name becomes a number."""
    new = "-" in name
    for number in range(n):
        folder = root / name.format(number)
        scans = {"t1n" if new else "t1": head(number), "seg": nested(labels)}
        write_patient(folder, "-" if new else "_", **scans)


def shares(labels: tuple[int, ...]) -> dict[int, float]:
    """Returns label -> share of its ring of all rings."""
    areas = np.subtract([side**2 for side in SIDES], [*(s**2 for s in SIDES[1:]), 0.0])
    areas = [*areas[: len(labels) - 1], float(SIDES[len(labels) - 1] ** 2)]
    return {label: area / SIDES[0] ** 2 for label, area in zip(labels, areas, strict=True)}


@pytest.mark.parametrize(
    ("name", "labels", "parts"),
    [
        ("BraTS20_Training_{:03}", (2, 4, 1), {2: "oedema", 4: "enhancing", 1: "core"}),
        ("Brats18_TCIA01_{}_1", (2, 4, 1), {2: "oedema", 4: "enhancing", 1: "core"}),
        ("BraTS2021_{:05}", (2, 4, 1), {2: "oedema", 4: "enhancing", 1: "core"}),
        ("BraTS-GLI-{:05}-000", (2, 3, 1), {2: "oedema", 3: "enhancing", 1: "core"}),
        ("BraTS-SSA-{:05}-000", (2, 3, 1), {2: "oedema", 3: "enhancing", 1: "core"}),
        ("BraTS-MEN-{:05}-000", (2, 3, 1), {2: "oedema", 3: "enhancing", 1: "core"}),
        ("BraTS-MET-{:05}-000", (2, 3, 1), {2: "oedema", 3: "enhancing", 1: "core"}),
        ("BRATS_{:03}", (1, 3, 2), {1: "oedema", 3: "enhancing", 2: "core"}),
        (
            "ASNR-MICCAI-BraTS2023-PED-Challenge-TrainingData/BraTS-PED-{:05}-000",
            (2, 3, 1),
            {2: "oedema", 3: "enhancing", 1: "core"},
        ),
        (
            "BraTS-PEDs2024_Training/BraTS-PED-{:05}-000",
            (4, 1, 2, 3),
            {4: "oedema", 1: "enhancing", 2: "core", 3: "cyst"},
        ),
    ],
)
def test_brats_reads_labels_by_the_edition_of_the_name(
    tmp_path: Path, name: str, labels: tuple[int, ...], parts: dict[int, str]
) -> None:
    write_all(tmp_path, name, labels)
    data = open_brats(tmp_path)
    assert not data.quarantined
    found, expected = data.labels("train", "target"), shares(labels)
    for label, part in parts.items():
        np.testing.assert_allclose(found[part], expected[label], atol=1e-6, err_msg=part)
    assert ("cyst" in data.attributes) == ("cyst" in parts.values())
    assert "cavity_area" not in data.attributes or "MET" in name
    np.testing.assert_allclose(found["tumour_area"], 0.64, atol=1e-6)
    assert any("have the labels of" in note and "enhancing" in note for note in data.notes())


def test_brats_counts_a_resection_cavity_as_no_tumour_and_no_background(tmp_path: Path) -> None:
    write_all(tmp_path, "BraTS-GLI-{:05}-100", (2, 3, 1, 4))
    for number in range(12):
        mask = nested((2, 3, 1, 4))
        mask[8:16, 8:16, 5] = 4  # a slice that shows the cavity only
        write_patient(tmp_path / f"BraTS-GLI-{number:05}-100", "-", seg=mask)
    data = open_brats(tmp_path)
    labels = data.labels("train", "target")
    np.testing.assert_allclose(labels["cavity_area"], 0.04, atol=1e-6)
    np.testing.assert_allclose(labels["tumour_area"], 0.60, atol=1e-6)
    np.testing.assert_allclose(labels["core"], 12 / 60, atol=1e-6)
    np.testing.assert_allclose(
        labels["enhancing"] + labels["oedema"] + labels["core"], 1, atol=1e-6
    )
    assert data.attributes["cavity_area"].belongs == "salient"
    assert data.masks("train", [0]).sum() == 64  # where the image differs from a healthy one
    assert np.unique(labels["slice"]).tolist() == [7]
    assert 5 not in data.labels("train", "background")["slice"]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("BraTS-PED-{:05}-000", (2, 4, 1), "set data.edition to ped2023 or ped2024"),
        ("BraTS-MEN-RT-{:04}-1", (1,), "is of BraTS-MEN-RT, whose masks"),
        ("BraTS-XYZ-{:05}-000", (1,), "is of the unknown edition BraTS-XYZ: set data.edition to"),
        ("BraTS-GLI-{:05}-000", (2, 4, 1), "has the label 4, the labels of BraTS-GLI 2023"),
        ("BraTS2021_{:05}", (2, 3, 1), "has the label 3, the labels of BraTS 2017 to 2021 are"),
        ("mine_{}", (2, 3, 1), "if it is of another edition, name that in data.edition"),
    ],
)
def test_brats_refuses_by_name_when_the_edition_is_unknown_or_the_labels_are_of_another(
    tmp_path: Path, name: str, labels: tuple[int, ...], expected: str
) -> None:
    write_all(tmp_path, name, labels)
    with pytest.raises(QuarantineError) as caught:
        open_brats(tmp_path)
    assert "12 of 12 patients cannot be used" in str(caught.value)
    assert expected in str(caught.value)


def test_brats_takes_the_edition_of_the_config_whatever_the_names(tmp_path: Path) -> None:
    write_all(tmp_path, "BraTS-PED-{:05}-000", (4, 1, 2))
    data = open_brats(tmp_path, edition="ped2024")
    expected = shares((4, 1, 2))
    labels = data.labels("train", "target")
    for part, label in (("oedema", 4), ("enhancing", 1), ("core", 2)):
        np.testing.assert_allclose(labels[part], expected[label], atol=1e-6)
    # The cache keeps what another edition gives apart.
    other = open_brats(tmp_path, edition="met").labels("train", "target")
    np.testing.assert_allclose(other["cavity_area"], 28 / 100, atol=1e-6)


def test_brats_mixes_editions_that_differ_in_their_labels(tmp_path: Path) -> None:
    write_all(tmp_path, "BraTS-GLI-{:05}-000", (2, 3, 1), 8)
    write_all(tmp_path, "BraTS-GLI-1{:04}-100", (2, 3, 1, 4), 8)
    data = open_brats(tmp_path)
    labels = data.labels("train", "target")
    after = ["-1" in patient.subject for patient in data.item_patients("train", "target")]
    np.testing.assert_allclose(labels["cavity_area"], np.where(after, 0.04, 0), atol=1e-6)
    notes = [note for note in data.notes() if "have the labels of" in note]
    assert [note.split(" patients")[0] for note in notes] == ["8", "8"]


def test_find_edition_uses_the_spelling_of_files_when_the_name_is_not_of_brats() -> None:
    assert find_edition("mine", [], "auto", "old") is EDITIONS["brats2021"]
    assert find_edition("mine", [], "auto", "new") is EDITIONS["gli2023"]
    with pytest.raises(UnreadableError, match="no known edition"):
        find_edition("mine", [], "auto", "none")


def test_find_edition_refuses_ped_of_a_year_that_is_not_known() -> None:
    with pytest.raises(UnreadableError, match="its folder says 2025"):
        find_edition("BraTS-PED-00001-000", ["BraTS-PEDs2025"], "auto", "new")


def test_find_edition_refuses_ped_when_folders_name_two_years() -> None:
    folders = ["BraTS-PED-2023", "BraTS-PED-2024"]
    with pytest.raises(UnreadableError, match="says 2023 and 2024"):
        find_edition("BraTS-PED-00001-000", folders, "auto", "new")
    assert find_edition("BraTS-PED-00001-000", folders[1:], "auto", "new").has("cyst")


def test_config_refuses_an_unknown_edition_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="found 'gli2042'; did you mean 'gli20"):
        brats_config(tmp_path, edition="gli2042")
