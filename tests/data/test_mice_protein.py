"""`mice_protein`: the three forms of its table, the split by mouse, and bad tables."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support.vector_files import (
    HEADER,
    mice_rows,
    write_mice_csv,
    write_mice_npz,
    write_mice_xls,
)

from studio.data.dataset import SPLITS
from studio.data.mice_protein import MiceProtein, MiceProteinConfig
from studio.domains import DOMAINS
from studio.errors import StudioError

ROWS = mice_rows()
# The first row of the background: C/S, Control, Saline.
FIRST = next(i for i, row in enumerate(ROWS) if row[7:10] == ["Control", "Saline", "C/S"])


def opened(root: Path, **fields: object) -> MiceProtein:
    return MiceProtein(MiceProteinConfig(**{"root": str(root), **fields}))


def all_of(dataset: MiceProtein, domain: str) -> dict[str, np.ndarray]:
    """Returns row -> vector, of both splits."""
    return {
        name: vector
        for split in SPLITS
        for name, vector in zip(
            dataset.item_names(split, domain),
            dataset.images(split, domain, range(dataset.size(split, domain))).numpy(),
            strict=True,
        )
    }


def changed(row: int, column: int, cell: str) -> list[list[str]]:
    rows = [[*cells] for cells in ROWS]
    rows[row][column] = cell
    return rows


def test_csv_xls_and_npz_give_the_same_vectors(tmp_path: Path) -> None:
    pytest.importorskip("xlrd", reason="the extra xls is not installed")
    found = []
    for name, write in (("a", write_mice_csv), ("b", write_mice_xls), ("c", write_mice_npz)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, changed(FIRST, 3, ""))
        found.append(opened(tmp_path / name))
    for domain, other in product(DOMAINS, found[1:]):
        one, two = all_of(found[0], domain), all_of(other, domain)
        assert one.keys() == two.keys()
        for name, vector in one.items():
            np.testing.assert_allclose(two[name], vector, atol=1e-5)


@pytest.mark.parametrize(
    ("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-8"), (",", "utf-8-sig")]
)
def test_csv_is_read_with_other_separators_a_bom_and_another_order(
    tmp_path: Path, separator: str, encoding: str
) -> None:
    (tmp_path / "plain").mkdir()
    write_mice_csv(tmp_path / "plain")
    turned = [[*reversed(cells)] for cells in ROWS[::-1]]
    write_mice_csv(tmp_path, turned, HEADER[::-1], separator, encoding)
    plain, other = opened(tmp_path / "plain"), opened(tmp_path)
    places = [plain.rule.features.index(name) for name in other.rule.features]
    for domain in DOMAINS:
        expected = all_of(plain, domain)
        for name, vector in all_of(other, domain).items():
            np.testing.assert_allclose(vector, expected[name][places], atol=1e-5)


def test_proteins_are_standardised_and_gaps_filled_by_training_rows(tmp_path: Path) -> None:
    write_mice_csv(tmp_path, changed(FIRST, 3, ""))
    dataset = opened(tmp_path)
    training = {name for domain in DOMAINS for name in dataset.item_names("train", domain)}
    values = np.array(
        [[float(cell or "nan") for cell in row[1:7]] for row in ROWS if row[0] in training]
    )
    if ROWS[FIRST][0] in training:
        values[[row[0] for row in ROWS if row[0] in training].index(ROWS[FIRST][0]), 2] = np.nan
    mean, sd = np.nanmean(values, 0), np.nanstd(values, 0)
    np.testing.assert_allclose(dataset.rule.fill, mean)
    np.testing.assert_allclose(dataset.rule.high - dataset.rule.low, 8 * sd)
    vectors = all_of(dataset, "background") | all_of(dataset, "target")
    assert vectors[ROWS[FIRST][0]][2] == pytest.approx(0, abs=1e-6)  # the gap
    row = ROWS[FIRST + 1]
    expected = (np.array([float(cell) for cell in row[1:7]]) - mean) / (4 * sd)
    np.testing.assert_allclose(vectors[row[0]], expected.clip(-1, 1), atol=1e-5)
    assert any("1 of 216 values are missing" in note for note in dataset.notes())


def test_no_mouse_is_in_both_splits_and_folds_test_each_once(tmp_path: Path) -> None:
    write_mice_csv(tmp_path)
    tested: list[str] = []
    for fold in range(4):
        dataset = opened(tmp_path, folds=4, fold=fold)
        mice = {
            split: {m for d in DOMAINS for m in dataset.item_subjects(split, d)} for split in SPLITS
        }
        assert not mice["train"] & mice["test"]
        assert np.bincount(dataset.labels("test", "target")["genotype"]).tolist() == [3, 3]
        tested += sorted(mice["test"])
    assert len(tested) == len(set(tested)) == 12


def test_target_behavior_exchanges_the_sets(tmp_path: Path) -> None:
    write_mice_csv(tmp_path)
    usual, other = opened(tmp_path), opened(tmp_path, target_behavior="C/S")
    group = {row[0]: (row[7], row[9]) for row in ROWS}
    for dataset, target in ((usual, "S/C"), (other, "C/S")):
        assert {group[name][1] for name in all_of(dataset, "target")} == {target}
        assert {group[name] for name in all_of(dataset, "background")} == {
            ("Control", "C/S" if target == "S/C" else "S/C")
        }
        labels = dataset.labels("train", "target")["genotype"]
        names = dataset.item_names("train", "target")
        assert [("Control", "Ts65Dn")[i] for i in labels] == [group[name][0] for name in names]


def test_run_keeps_its_rule_and_split_when_rows_are_added(tmp_path: Path) -> None:
    write_mice_csv(tmp_path)
    before = opened(tmp_path)
    extra = [["999_1", *["5"] * 6, "Control", "Saline", "C/S", "x"]]
    write_mice_csv(tmp_path, [*ROWS, *extra])
    after = MiceProtein(before.config, before.derived())
    np.testing.assert_array_equal(after.rule.low, before.rule.low)
    for name, vector in all_of(before, "background").items():
        np.testing.assert_array_equal(all_of(after, "background")[name], vector)
    assert not np.array_equal(opened(tmp_path).rule.low, before.rule.low)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (changed(FIRST, 3, "1,5x"), "line 8.*|P2_N is '1,5x', expected a number"),
        (changed(FIRST, 7, "Wild"), "Genotype of .* is 'Wild', expected Control or Ts65Dn"),
        (changed(FIRST, 0, ROWS[FIRST + 1][0]), "1 rows occur twice"),
        (changed(FIRST, 9, "S/C"), "is in two groups"),
        (
            [row for row in ROWS if row[7] == "Control"],
            "no mouse with Behavior S/C, Genotype Ts",
        ),
        (
            [row for row in ROWS if row[7] == "Control" or row[0].startswith("700_")],
            "1 subjects of S/C, Ts65Dn, expected at least 2",
        ),
        (
            [[*row[:3], "2", *row[4:]] for row in ROWS],
            "1 proteins have no value or always",
        ),
        ([row[:-1] for row in ROWS], "10 cells, but the header has 11"),
    ],
)
def test_bad_tables_are_refused_by_name(tmp_path: Path, rows: list[list[str]], words: str) -> None:
    path = write_mice_csv(tmp_path, rows)
    with pytest.raises(StudioError, match=words) as error:
        opened(tmp_path)
    assert str(path) in str(error.value) or "subjects" in str(error.value)


def test_missing_and_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match=r"no table of mice in .*Data_Cortex_Nuclear\.csv"):
        opened(tmp_path)
    write_mice_csv(tmp_path, header=["Mouse", *HEADER[1:]])
    with pytest.raises(StudioError, match="no column 'mouseid'"):
        opened(tmp_path)
    (tmp_path / "Data_Cortex_Nuclear.csv").unlink()
    path = write_mice_npz(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(StudioError, match="not a whole npz file, perhaps cut short"):
        opened(tmp_path)
    np.savez(path, x=np.zeros((2, 3)))
    with pytest.raises(StudioError, match="no array 'mouse', found x"):
        opened(tmp_path)


def test_damaged_workbook_is_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("xlrd", reason="the extra xls is not installed")
    path = write_mice_xls(tmp_path)
    whole = path.read_bytes()
    for damaged in (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 300, b"no workbook", b""):
        path.write_bytes(damaged)
        with pytest.raises(StudioError, match=r"Data_Cortex_Nuclear.xls: not a whole xls workbook"):
            opened(tmp_path)
    path.write_bytes(whole)
    assert opened(tmp_path).size("train", "target")
