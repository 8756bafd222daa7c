"""`vbm`: volumes of a BIDS folder, splits, attributes, and the cache."""

import os
import shutil
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from support.bids_files import SITES, brain, rows, save, scan, write_bids, write_table

from studio.data.catalogue import check, describe
from studio.data.dataset import SPLITS, Attribute
from studio.data.vbm.dataset import Vbm, VbmConfig
from studio.domains import DOMAINS
from studio.errors import StudioError

PLACES = tuple(product(SPLITS, DOMAINS))


def config(root: Path, **fields: object) -> VbmConfig:
    plain = {"root": str(root), "target": "schizophrenia", "resolution": 32}
    return VbmConfig(**{**plain, **fields})


def opened(root: Path, **fields: object) -> Vbm:
    return Vbm(config(root, **fields))


def subjects(dataset: Vbm, split: str) -> set[str]:
    return {name for domain in DOMAINS for name in dataset.item_subjects(split, domain)}


def table_of(dataset: Vbm, column: str) -> dict[str, float]:
    """Returns subject -> value of a column of both sets."""
    found = {}
    for place in PLACES:
        labels = dataset.labels(*place)
        if column in labels:
            names = dataset.item_subjects(*place)
            found |= dict(zip(names, labels[column].tolist(), strict=True))
    return found


def test_subjects_are_sorted_into_sets_and_splits_by_the_table(shared: Path) -> None:
    dataset = opened(shared)
    assert [dataset.size(*place) for place in PLACES] == [6, 6, 2, 2]
    ill = {row["participant_id"] for row in rows() if row["diagnosis"] == "schizophrenia"}
    for split in SPLITS:
        assert set(dataset.item_subjects(split, "target")) <= ill
        assert not set(dataset.item_subjects(split, "background")) & ill
    assert not subjects(dataset, "train") & subjects(dataset, "test")


def test_items_are_the_volumes_of_their_names(shared: Path) -> None:
    dataset = opened(shared)
    for place in PLACES:
        images = dataset.images(*place, range(dataset.size(*place))).numpy()
        for image, name in zip(images, dataset.item_names(*place), strict=True):
            number = int(name[4:6])
            expected = brain(number)[:, 2:34].transpose(2, 1, 0)[::-1, ::-1]
            inside = expected > 0
            found = image[0][:-1, :, 1:]
            assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.9999


def test_attributes_are_the_known_columns_with_the_codes_where_they_belong(shared: Path) -> None:
    dataset = opened(shared)
    assert dataset.attributes == {
        "age": Attribute("common"),
        "sex": Attribute("common", ("F", "M")),
        "site": Attribute("common", SITES),
        "sans": Attribute("salient", target_only=True),
        "saps": Attribute("salient", target_only=True),
    }
    expected = {row["participant_id"]: row for row in rows()}
    ages, sans = table_of(dataset, "age"), table_of(dataset, "sans")
    assert ages == {name: float(row["age"]) for name, row in expected.items()}
    for name, value in sans.items():
        cell = expected[name]["sans"]
        assert np.isnan(value) if cell == "n/a" else value == float(cell)
    assert sum(np.isnan(list(sans.values()))) == 2


def test_config_names_other_attributes(root: Path) -> None:
    table = [{**row, "iq": str(90 + i)} for i, row in enumerate(rows())]
    write_table(root, table)
    dataset = opened(root, attributes={"iq": "common", "site": "salient"})
    assert dataset.attributes == {
        "iq": Attribute("common"),
        "site": Attribute("salient", SITES),
    }
    with pytest.raises(StudioError, match=r"data\.attributes\.ag: .*did you mean 'age'"):
        opened(root, attributes={"ag": "common"})


def test_several_targets_are_the_conditions_of_the_target_set(root: Path) -> None:
    table = rows()
    for row in table[12:]:
        row["diagnosis"] = "Bipolar"
    write_table(root, table)
    assert opened(root).size("train", "target") == 3
    dataset = opened(root, target=["schizophrenia", "bipolar"])
    assert dataset.condition == "diagnosis"
    kinds = ("schizophrenia", "bipolar")
    assert dataset.attributes["diagnosis"] == Attribute("salient", kinds, target_only=True)
    expected = {row["participant_id"]: i for i, row in enumerate(table) if i >= 8}
    found = table_of(dataset, "diagnosis")
    assert found == {name: int(i >= 12) for name, i in expected.items()}


def test_numbers_are_values_of_the_column(root: Path) -> None:
    table = rows()
    for row in table:
        row["diagnosis"] = "1" if row["diagnosis"] == "schizophrenia" else "2"
    write_table(root, table)
    assert opened(root, background=2, target=1).size("test", "target") == 2


def test_folds_are_five_draws_of_a_quarter_of_each_set(shared: Path) -> None:
    tests = [subjects(opened(shared, fold=fold), "test") for fold in range(5)]
    assert all(len(test) == 4 for test in tests)
    assert len({frozenset(test) for test in tests}) > 2
    assert tests[0] == subjects(opened(shared), "test")
    assert tests[1] == subjects(opened(shared, split_seed=1), "test")


def test_folds_test_each_subject_once_when_split_says_so(shared: Path) -> None:
    tests = [
        subjects(opened(shared, fold=fold, folds=4, split="folds"), "test") for fold in range(4)
    ]
    assert sorted(name for test in tests for name in test) == [
        row["participant_id"] for row in rows()
    ]


def test_site_is_left_out_when_test_site_names_it(shared: Path) -> None:
    sites = {row["participant_id"]: row["site"] for row in rows()}
    for site in ("Paris", "boston"):
        dataset = opened(shared, test_site=site)
        for split in SPLITS:
            found = {sites[name].lower() == site.lower() for name in subjects(dataset, split)}
            assert found == {split == "test"}
    with pytest.raises(StudioError, match=r"data\.test_site: .*'Pari'.*did you mean 'Paris'"):
        opened(shared, test_site="Pari")
    with pytest.raises(ValueError, match="fold both decide"):
        config(shared, test_site="Paris", fold=0)


def test_sessions_of_a_subject_are_on_one_side(tmp_path: Path) -> None:
    options = write_bids(tmp_path)
    for i in range(16):
        name = f"sub-{i:02}"
        raw = scan(tmp_path, name)
        for session in ("ses-1", "ses-2"):
            save(scan(tmp_path, name, session), brain(i))
        raw.unlink()
    for fold in range(5):
        dataset = opened(tmp_path, **options, fold=fold)
        assert sum(dataset.size(*place) for place in PLACES) == 32
        assert not subjects(dataset, "train") & subjects(dataset, "test")
    first = opened(tmp_path, **options, sessions="first")
    assert sum(first.size(*place) for place in PLACES) == 16
    assert all("ses-1" in name for place in PLACES for name in first.item_names(*place))


def test_derivatives_are_read_when_files_picks_them(root: Path) -> None:
    for i in range(16):
        save(root / f"derivatives/cat12/sub-{i:02}/mri/mwp1sub-{i:02}_T1w.nii", brain(20 + i))
    assert opened(root).item_names("test", "target")[0].endswith("anat/sub-08_T1w.nii.gz")
    dataset = opened(root, files=["derivatives/cat12/*mwp1*.nii"])
    assert all("mwp1" in name for place in PLACES for name in dataset.item_names(*place))
    assert sum(dataset.size(*place) for place in PLACES) == 16
    with pytest.raises(StudioError, match=r"data\.files: 'x\*' matches none; found 32 NIfTI files"):
        opened(root, files=["x*"])


def test_split_of_a_run_stays_when_subjects_are_added(root: Path) -> None:
    stored = opened(root).derived()
    new = [{**row, "participant_id": f"sub-9{i}"} for i, row in enumerate(rows(4, 0))]
    write_table(root, [*rows(), *new])
    for i in range(4):
        save(scan(root, f"sub-9{i}"), brain(90 + i))
    again = Vbm(config(root, split_seed=7), stored)
    for name, split in stored["split"].items():
        assert f"sub-{name}" in subjects(again, split)
    assert len(subjects(again, "train") | subjects(again, "test")) == 20


def test_fingerprint_sees_changed_volumes_and_cells(root: Path) -> None:
    before = opened(root).fingerprint()
    assert not before.changes(opened(root).fingerprint())
    save(scan(root, "sub-03"), brain(77))
    changes = before.changes(opened(root).fingerprint())
    assert changes == "1 volume changed (sub-03/anat/sub-03_T1w.nii.gz)"
    table = rows()
    table[3]["age"] = "50"
    write_table(root, table)
    assert "1 volume with other labels" in before.changes(opened(root).fingerprint())


def test_cache_is_read_again_only_when_a_file_or_an_option_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studio.data.vbm import dataset as module

    read: list[str] = []

    def counting(path: Path, options: object) -> object:
        read.append(path.name)
        return original(path, options)

    original = module.cut_cube
    monkeypatch.setattr(module, "cut_cube", counting)
    opened(root)
    opened(root, fold=2, test_share=0.5, attributes={"age": "common"})
    assert read == []  # the copied folder has a cache
    opened(root, spread=3.0)
    assert len(read) == 16
    read.clear()
    save(scan(root, "sub-05"), brain(70))
    opened(root)
    assert read == ["sub-05_T1w.nii.gz"]


def _open_and_sum(root: Path) -> float:
    dataset = opened(root)
    return float(dataset.images("train", "target", range(6)).double().sum())


def test_several_processes_fill_a_cache_at_once(root: Path) -> None:
    shutil.rmtree(root / ".studio-cache")
    with get_context("fork").Pool(2) as pool:
        sums = pool.map(_open_and_sum, [root] * 2)
    assert sums[0] == sums[1] == _open_and_sum(root)
    files = [*root.glob(".studio-cache/vbm-*/*.safetensors")]
    assert len(files) == 16
    assert not [*root.glob(".studio-cache/vbm-*/.writing-*")]


def test_cache_lies_where_the_config_or_the_environment_says(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(root / ".studio-cache")
    monkeypatch.setenv("STUDIO_CACHE", str(tmp_path / "one"))
    opened(root)
    opened(root, cache=str(tmp_path / "two"))
    assert {path.name for path in tmp_path.iterdir()} == {"bids", "one", "two"}
    assert not (root / ".studio-cache").exists()


def test_images_raise_when_a_cached_volume_has_gone(root: Path) -> None:
    dataset = opened(root)
    for file in root.glob(".studio-cache/vbm-*/*.safetensors"):
        os.unlink(file)
    with pytest.raises(StudioError, match="has changed or gone since the data set was opened"):
        dataset.images("train", "target", [0])


def test_check_describes_vbm(shared: Path) -> None:
    report = check(config(shared))
    assert report["ok"]
    assert report["shape"] == [1, 32, 32, 32]
    text = describe(report)
    assert "volumes: 1 x 32 x 32 x 32 (channels, depth, height, width)" in text
    assert "files: 31 x 37 x 31 voxels of 6 x 6 x 6 mm" in text
    assert "attribute sans: salient, a number, target only" in text
