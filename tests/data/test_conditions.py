"""Several conditions of the target set: attributes, folders, and the data sets that have them."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from support.folder_files import noise, open_folders, write, write_table
from support.vector_files import BACKGROUND, TARGET, write_mice_csv, write_rna

from studio.data.conditions import YES, Conditions
from studio.data.dataset import Attribute
from studio.data.mice_protein import MiceProtein, MiceProteinConfig
from studio.data.rna import Rna, RnaConfig
from studio.errors import StudioError

THREE = ("glasses", "hat", "scarf")


def fill_conditions(root: Path, folders: tuple[str, ...] = THREE, n: int = 12) -> Path:
    for folder in ("background", *(f"target/{name}" for name in folders)):
        for i in range(n):
            name = f"{folder.replace('/', '_')}_{i:02}.png"
            write(root / folder / name, noise((folder, i)))
    return root


def test_three_conditions_are_one_attribute_and_one_each() -> None:
    found = Conditions("kind", THREE, True)
    own = {name: Attribute("salient", YES, target_only=True) for name in THREE}
    assert found.attributes() == {"kind": Attribute("salient", THREE, target_only=True), **own}
    columns = found.columns(np.array([0, 2, -1, 1]))
    assert columns["kind"].tolist() == [0, 2, -1, 1]
    assert [columns[name].tolist() for name in THREE] == [
        [1, 0, -1, 0],
        [0, 0, -1, 1],
        [0, 1, -1, 0],
    ]
    assert found.values(1) == {"kind": 1, "glasses": 0, "hat": 1, "scarf": 0}
    assert [*Conditions("kind", THREE, False).attributes()] == ["kind"]
    assert [*Conditions("kind", THREE[:2], True).attributes()] == ["kind"]
    one = Conditions("kind", THREE[:1], True)
    assert (one.attributes(), one.columns(np.zeros(2)), one.main) == ({}, {}, "")
    with pytest.raises(StudioError, match=r"data\.attributes\.hat: is an attribute already"):
        found.attributes(["age", "hat"])


def test_folders_of_target_are_conditions(tmp_path: Path) -> None:
    dataset = open_folders(fill_conditions(tmp_path), conditions=THREE)
    assert dataset.condition == "condition"
    assert [*dataset.attributes] == ["condition", *THREE]
    seen = []
    for split in ("train", "test"):
        names, labels = dataset.item_names(split, "target"), dataset.labels(split, "target")
        expected = [THREE.index(name.split("/")[1]) for name in names]
        assert labels["condition"].tolist() == expected
        assert labels["hat"].tolist() == [int(number == 1) for number in expected]
        assert dataset.labels(split, "background") == {}
        seen += expected
    assert sorted(seen) == [0] * 12 + [1] * 12 + [2] * 12


def test_folders_of_conditions_are_no_subjects(tmp_path: Path) -> None:
    fill_conditions(tmp_path)
    assert len(set(open_folders(tmp_path, conditions=THREE).item_subjects("train", "target"))) > 3
    plain = {*open_folders(tmp_path).item_subjects("train", "target")}
    assert plain < {*THREE}  # without conditions, each folder is a subject
    for name in THREE[:2]:  # and folders inside of a condition are subjects
        for person in ("p1", "p2"):
            write(tmp_path / "target" / name / person / f"{name}.png", noise((name, person)))
    dataset = open_folders(tmp_path, conditions=THREE)
    subjects = {
        name: subject
        for split in ("train", "test")
        for name, subject in zip(
            dataset.item_names(split, "target"), dataset.item_subjects(split, "target"), strict=True
        )
    }
    assert subjects["target/glasses/p1/glasses.png"] == subjects["target/hat/p1/hat.png"] == "p1"


def test_targets_outside_of_the_folders_have_no_condition(tmp_path: Path) -> None:
    fill_conditions(tmp_path)
    dataset = open_folders(tmp_path, conditions=THREE[:2])
    assert [*dataset.attributes] == ["condition"]
    names = dataset.item_names("train", "target")
    column = dataset.labels("train", "target")["condition"]
    assert [name.split("/")[1] == "scarf" for name in names] == (column == -1).tolist()
    assert any("12 target images are in no folder of data.conditions" in n for n in dataset.notes())


def test_conditions_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    fill_conditions(tmp_path)
    with pytest.raises(StudioError, match=r"no folder .*/target/hot; did you mean 'hat'"):
        open_folders(tmp_path, conditions=["glasses", "hot"])
    (tmp_path / "target" / "empty").mkdir()
    with pytest.raises(StudioError, match=r"data\.conditions: no usable image in target/empty/"):
        open_folders(tmp_path, conditions=["glasses", "empty"])
    for given, words in ((["hat"], "two or more folders"), (["hat", "hat"], "each folder once")):
        with pytest.raises(ValidationError, match=words):
            open_folders(tmp_path, conditions=given)
    rows = [f"target/hat/target_hat_{i:02}.png,{i % 2}" for i in range(12)]
    write_table(tmp_path, "\n".join(["file,condition", *rows]))
    with pytest.raises(StudioError, match=r"data\.attributes\.condition: is an attribute already"):
        open_folders(tmp_path, conditions=THREE, attributes={"condition": "salient"})


def test_conditions_read_the_same_when_the_run_is_opened_again(tmp_path: Path) -> None:
    dataset = open_folders(fill_conditions(tmp_path), conditions=THREE)
    again = type(dataset)(dataset.config, dataset.derived())
    for split in ("train", "test"):
        assert again.item_names(split, "target") == dataset.item_names(split, "target")
        for name, column in dataset.labels(split, "target").items():
            assert np.array_equal(again.labels(split, "target")[name], column)


def test_samples_of_cells_and_genotypes_are_conditions(tmp_path: Path) -> None:
    own = write_rna(tmp_path)
    two = Rna(RnaConfig(**{"root": str(tmp_path), **own}))
    assert (two.condition, [*two.attributes]) == ("sample", ["sample"])
    first, second = BACKGROUND[0], BACKGROUND[1]
    samples = {"background": [first], "target": [second, *TARGET]}
    three = Rna(RnaConfig(**{"root": str(tmp_path), **own, **samples}))
    assert [*three.attributes] == ["sample", second, *TARGET]
    labels = three.labels("test", "target")
    names = three.item_names("test", "target")
    assert labels[second].tolist() == [int(name.startswith(f"{second}/")) for name in names]
    assert three.labels("test", "background") == {}
    write_mice_csv(tmp_path)
    assert MiceProtein(MiceProteinConfig(root=str(tmp_path))).condition == "genotype"
