"""`vbm`: bad tables and bad volumes are named and counted, and refused when there are too many."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.bids_files import SHAPE, brain, grid, rows, save, scan, write_table

from studio.data.catalogue import check
from studio.data.folders import QuarantineError
from studio.data.vbm.dataset import Vbm, VbmConfig
from studio.errors import StudioError

ONE_BAD = 0.1  # max_bad that accepts one of 16


def opened(root: Path, **fields: object) -> Vbm:
    plain = {"root": str(root), "target": "schizophrenia", "resolution": 32}
    return Vbm(VbmConfig(**{**plain, **fields}))


def notes(root: Path, **fields: object) -> str:
    return "\n".join(opened(root, **fields).notes())


def no_place() -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(brain(0), grid())
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    return image


def replace(root: Path, subject: str, values: object) -> Path:
    path = scan(root, subject)
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif isinstance(values, nibabel.Nifti1Image):
        nibabel.save(values, path)
    else:
        save(path, np.asarray(values, np.float32))
    return path


BAD: dict[str, tuple[object, str]] = {
    "empty": (np.zeros(SHAPE), "has the value 0 everywhere"),
    "constant": (np.full(SHAPE, 2), "has the value 2 everywhere"),
    "mask": (np.where(brain(0) > 0, 1, 0), "has the same value, 1, in all voxels"),
    "no background": (np.random.default_rng(0).normal(size=SHAPE), "no value that fills its bo"),
    "nan": (np.where(brain(0) > 0.7, np.nan, brain(0)), "voxels that are NaN"),
    "4-D": (np.stack([brain(0)] * 3, -1), "expected one volume of three axes"),
    "no file": (b"", "is empty (0 bytes)"),
    "text": (b"not a volume" * 9, "cannot be"),
    "no place": (no_place(), "states no place in space"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_volume_is_set_aside_by_name_and_refused_beyond_max_bad(
    root: Path, kind: str
) -> None:
    content, words = BAD[kind]
    path = replace(root, "sub-09", content)
    name = path.relative_to(root).as_posix()
    dataset = opened(root, max_bad=ONE_BAD)
    assert [file for file, _ in dataset.quarantined] == [name]
    assert words in dataset.quarantined[0][1]
    assert "1 volumes or rows are set aside" in "\n".join(dataset.notes())
    assert dataset.size("train", "target") + dataset.size("test", "target") == 7
    with pytest.raises(QuarantineError, match="1 of 16 volumes cannot be used, max_bad is 5%") as e:
        opened(root)
    assert name in str(e.value)


def test_a_truncated_volume_is_set_aside(root: Path) -> None:
    path = scan(root, "sub-02")
    path.write_bytes(path.read_bytes()[:-4000])
    assert [name for name, _ in opened(root, max_bad=ONE_BAD).quarantined] == [
        path.relative_to(root).as_posix()
    ]


def test_a_link_to_a_file_that_was_not_fetched_is_set_aside(root: Path) -> None:
    path = scan(root, "sub-02")
    path.unlink()
    path.symlink_to(root / ".git" / "annex" / "SHA256E-s1.nii.gz")
    ((_, reason),) = opened(root, max_bad=ONE_BAD).quarantined
    assert reason.startswith("cannot be read: No such file")
    assert reason.endswith("the link leads to a file that is not here, fetch it first")


def test_volumes_of_other_grids_are_resampled_or_refused(root: Path) -> None:
    fine = grid(4.0)
    for name in ("sub-01", "sub-09"):
        save(scan(root, name), brain(1, (46, 55, 46), fine), fine)
    assert (
        "files: 14 of 31 x 37 x 31 voxels of 6 x 6 x 6 mm, 2 of 46 x 55 x 46 voxels of 4 x 4 x 4 mm"
        " (sub-01/anat/sub-01_T1w.nii.gz, sub-09/anat/sub-09_T1w.nii.gz)"
        "; all are resampled (data.mixed: refuse sets the others aside)"
    ) in notes(root)
    dataset = opened(root, mixed="refuse", max_bad=0.2)
    assert len(dataset.quarantined) == 2
    assert dataset.quarantined[0][1] == (
        "has 46 x 55 x 46 voxels of 4 x 4 x 4 mm, most have 31 x 37 x 31 voxels of 6 x 6 x 6 mm"
    )
    with pytest.raises(QuarantineError, match="2 of 16 volumes"):
        opened(root, mixed="refuse")


def test_voxel_sizes_that_tell_the_sets_apart_are_noted(root: Path) -> None:
    fine = grid(4.0)
    for i in range(8, 16):
        save(scan(root, f"sub-{i:02}"), brain(i, (46, 55, 46), fine), fine)
    assert (
        "voxels of 6 x 6 x 6 mm are in 100% of the background volumes and 0% of the target "
        "volumes: a model can tell the sets apart by it"
    ) in notes(root)


def test_files_that_are_stored_in_other_orders_are_named(root: Path) -> None:
    image = nibabel.Nifti1Image(brain(3), grid())
    nibabel.save(image.as_reoriented([[0, -1], [1, 1], [2, 1]]), scan(root, "sub-03"))
    assert (
        "stored axes: 15 of RAS, 1 of LAS (sub-03/anat/sub-03_T1w.nii.gz); "
        "all are turned to the same axes"
    ) in notes(root)


def test_contradictory_orientations_are_counted(root: Path) -> None:
    image = nibabel.Nifti1Image(brain(3), grid())
    turned = grid()
    turned[0, 0] *= -1
    image.set_sform(grid(), 1)
    image.set_qform(turned, 1)
    nibabel.save(image, scan(root, "sub-03"))
    assert "orientation is contradictory in 1 of 16 volumes" in notes(root)


def changed(edit: Callable[[list[dict[str, str]]], object]) -> list[dict[str, str]]:
    table = rows()
    edit(table)
    return table


def test_a_volume_without_a_row_is_set_aside(root: Path) -> None:
    write_table(root, changed(lambda table: table.pop(4)))
    dataset = opened(root, max_bad=ONE_BAD)
    assert dataset.quarantined == [
        ("sub-04/anat/sub-04_T1w.nii.gz", "is of sub-04, which has no row in the table")
    ]
    with pytest.raises(QuarantineError, match="1 of 16 volumes"):
        opened(root)


def test_rows_without_a_volume_are_counted_and_refused_beyond_max_missing(root: Path) -> None:
    for name in ("sub-01", "sub-02"):
        shutil.rmtree(root / name)
    assert "2 background rows have no volume: sub-01, sub-02" in notes(root)
    with pytest.raises(StudioError, match=r"2 of 8 background rows .* max_missing is 10%"):
        opened(root, max_missing=0.1)


def test_ids_that_fit_no_volume_are_an_error_with_the_nearest(root: Path) -> None:
    table = [
        {**row, "participant_id": row["participant_id"][:4] + "x" + row["participant_id"][4:]}
        for row in rows()
    ]
    write_table(root, table)
    with pytest.raises(StudioError, match=r"8 of 8 background rows .* have no volume"):
        opened(root)


def test_ids_are_compared_without_prefix_and_case(root: Path) -> None:
    write_table(root, [{**row, "participant_id": row["participant_id"][4:]} for row in rows()])
    assert opened(root).size("train", "target") == 6


def test_a_row_without_an_id_is_set_aside_and_refused_beyond_max_bad(root: Path) -> None:
    write_table(root, changed(lambda table: table[5].update(participant_id="n/a")))
    dataset = opened(root, max_bad=ONE_BAD)
    assert dataset.quarantined == [
        ("participants.tsv, line 7", "has no participant_id"),
        ("sub-05/anat/sub-05_T1w.nii.gz", "is of sub-05, which has no row in the table"),
    ]
    with pytest.raises(StudioError, match="1 of 16 rows cannot be used, max_bad is 5%"):
        opened(root)


def test_rows_that_differ_are_set_aside_and_equal_ones_count_once(root: Path) -> None:
    write_table(root, [*rows(), rows()[2]])
    assert "1 rows repeat another row of their subject and count once" in notes(root)
    write_table(root, [*rows(), {**rows()[2], "age": "99"}])
    dataset = opened(root, max_bad=ONE_BAD)
    reason = "has 2 rows that differ in age, lines 4, 18: write one row per subject"
    assert dataset.quarantined == [
        ("sub-02", reason),
        ("sub-02/anat/sub-02_T1w.nii.gz", f"is of sub-02, which {reason}"),
    ]
    with pytest.raises(StudioError, match="1 of 17 rows cannot be used"):
        opened(root)


def test_text_in_a_column_of_numbers_is_counted_and_refused_beyond_max_bad(root: Path) -> None:
    write_table(root, changed(lambda table: table[6].update(age="26 y")))
    words = "column age: 1 of 16 values are not numbers: 26 y; numbers with a unit: leave out"
    dataset = opened(root, max_bad=ONE_BAD)
    assert words in "\n".join(dataset.notes())
    assert dataset.attributes["age"].classes == ()
    with pytest.raises(StudioError, match=f"^participants.tsv: {words}.* max_bad is 5%"):
        opened(root)
    chosen = {"age": {"belongs": "common", "kind": "category"}}
    assert len(opened(root, attributes=chosen).attributes["age"].classes) == 16


def test_a_table_with_commas_is_read_and_noted(root: Path) -> None:
    words = "participants.tsv is separated by commas, and BIDS has tabs"
    assert words not in notes(root)
    write_table(root, rows(), ",")
    assert words in notes(root)


def test_a_table_with_short_rows_is_refused_by_line(root: Path) -> None:
    lines = (root / "participants.tsv").read_text().splitlines()
    lines[3] = lines[3].replace("\t", ",")
    (root / "participants.tsv").write_text("\n".join(lines))
    with pytest.raises(StudioError, match=r"line 4: 1 cells, but the header has 7"):
        opened(root)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"participants": "people.tsv"}, r"people.tsv: no such table; found participants.tsv"),
        ({"column": "diagnos"}, r"data\.column: .*did you mean 'diagnosis'"),
        ({"target": "schizofrenia"}, r"data\.target: .*did you mean 'schizophrenia'.*control \(8"),
        ({"background": "HC"}, r"data\.background: no row .* has 'HC' .*control \(8\)"),
        ({"attributes": {"target": "common"}}, "no attribute can have this name"),
        ({"exclude": ["*"]}, r"data\.exclude: '\*' leaves none of the 16 volumes"),
    ],
)
def test_options_that_do_not_fit_the_table_are_refused(
    shared: Path, fields: dict, words: str
) -> None:
    with pytest.raises(StudioError, match=words):
        opened(shared, **fields)


def test_a_table_without_ids_names_the_column_that_may_be_meant(root: Path) -> None:
    write_table(
        root,
        [
            {("subject" if k == "participant_id" else k): v for k, v in row.items()}
            for row in rows()
        ],
    )
    with pytest.raises(StudioError, match=r"did you mean 'subject'. Rename it to participant_id"):
        opened(root)


def test_a_folder_without_scans_says_which_volumes_it_has(tmp_path: Path) -> None:
    write_table(tmp_path, rows())
    with pytest.raises(StudioError, match=r"no \*_T1w.nii.gz .*; found none; expected a BIDS"):
        opened(tmp_path)
    save(tmp_path / "sub-01" / "func" / "sub-01_bold.nii.gz", brain(0))
    with pytest.raises(
        StudioError, match=r"found 1 NIfTI files, such as .*; data.files picks others"
    ):
        opened(tmp_path)


def test_volumes_whose_subject_is_not_clear_are_set_aside(root: Path) -> None:
    save(root / "sub-01" / "anat" / "sub-02_T1w.nii.gz", brain(1))
    save(root / "more" / "anat" / "brain_T1w.nii.gz", brain(1))
    found = dict(opened(root, max_bad=0.2).quarantined)
    assert found == {
        "sub-01/anat/sub-02_T1w.nii.gz": "is named sub-02 but lies in a folder sub-01",
        "more/anat/brain_T1w.nii.gz": "has no sub-XX in its path, so its subject is not known",
    }


def test_values_of_other_diagnoses_and_unused_columns_are_counted(root: Path) -> None:
    table = [{**row, "iq": "100"} for row in rows()]
    table[1]["diagnosis"], table[2]["diagnosis"] = "ADHD", "n/a"
    write_table(root, table)
    text = notes(root)
    assert "2 rows are in neither set, by their diagnosis: ADHD (1), no value (1)" in text
    assert "1 columns are not used: iq; data.attributes names the columns to use" in text


def test_check_reports_bad_volumes_as_a_problem(root: Path) -> None:
    replace(root, "sub-09", np.zeros(SHAPE))
    report = check(VbmConfig(root=str(root), target="schizophrenia", resolution=32))
    assert not report["ok"]
    assert report["quarantined"] == [
        ["sub-09/anat/sub-09_T1w.nii.gz", "has the value 0 everywhere"]
    ]


def test_a_table_of_a_spreadsheet_is_read_as_a_plain_one(root: Path) -> None:
    plain = opened(root)
    text = (root / "participants.tsv").read_text(encoding="utf-8")
    quoted = text.replace("Boston", '"Boston"').replace("diagnosis", '"diagnosis"')
    (root / "participants.tsv").write_bytes(
        b"\xef\xbb\xbf" + quoted.replace("\n", "\r\n").encode("utf-8")
    )
    again = opened(root)
    assert again.attributes == plain.attributes
    for domain in ("background", "target"):
        found, expected = (d.labels("train", domain) for d in (again, plain))
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[k], expected[k], equal_nan=True) for k in found)


def test_a_table_that_is_not_utf_8_or_has_no_row_is_named(root: Path) -> None:
    path = root / "participants.tsv"
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(StudioError, match=r"participants\.tsv: not UTF-8"):
        opened(root)
    path.write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(StudioError, match=r"in the column diagnosis; found no row$"):
        opened(root)


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "with NaN or infinity"), (0, "that leaves out an axis")]
)
def test_an_affine_that_states_no_place_is_set_aside(root: Path, value: float, words: str) -> None:
    path = scan(root, "sub-02")
    stored = bytearray(gzip.decompress(path.read_bytes()))
    rows_of_affine = grid()[:3]
    rows_of_affine[0, 0] = value
    stored[280:328] = rows_of_affine.astype("<f4").tobytes()  # srow of NIfTI-1
    path.write_bytes(gzip.compress(bytes(stored)))
    ((name, reason),) = opened(root, max_bad=ONE_BAD).quarantined
    assert (name, reason) == ("sub-02/anat/sub-02_T1w.nii.gz", f"has an affine {words}")


def test_several_volumes_of_a_session_are_noted(root: Path) -> None:
    assert "have several volumes" not in notes(root)
    save(root / "sub-02" / "anat" / "sub-02_run-2_T1w.nii.gz", brain(2))
    assert (
        "1 subjects or sessions have several volumes, such as sub-02/anat/sub-02_T1w.nii.gz, "
        "sub-02/anat/sub-02_run-2_T1w.nii.gz; each is an item"
    ) in notes(root)


def test_options_of_sites_and_folds_are_refused_by_name(shared: Path) -> None:
    with pytest.raises(StudioError, match=r"data\.site_column: .* no column 'sit'; did you mean"):
        opened(shared, test_site="Boston", site_column="sit")
    with pytest.raises(ValueError, match="found 5, expected 0 to 4"):
        opened(shared, fold=5)
    with pytest.raises(StudioError, match=r"data\.files: 'mwp1\*' matches none; found 16 NIfTI"):
        opened(shared, files=["mwp1*"])
