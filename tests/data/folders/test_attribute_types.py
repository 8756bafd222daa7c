"""Folders: how columns become categories or numbers, rows without images, and damaged subjects."""

from pathlib import Path

import numpy as np
import pytest
from support.folder_files import DOMAINS, fill, items, open_folders, write_table

from studio.data.catalogue import check, describe
from studio.data.folders import FoldersConfig
from studio.data.io.attribute_table import encode_column
from studio.errors import StudioError


def table_of(root: Path, values: object, header: str = "file,v") -> Path:
    """Writes a table with one value per image, and returns the root."""
    fill(root)
    names = [f"{domain}/{i:03}.png" for domain in DOMAINS for i in range(20)]
    write_table(root, "\n".join([header, *(f"{n},{values(i)}" for i, n in enumerate(names))]))
    return root


def notes_of(root: Path, **fields: object) -> str:
    return "\n".join(open_folders(root, **{"attributes": {"v": "common"}, **fields}).notes())


def test_attributes_take_the_kind_from_the_config(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: i % 12)
    auto = open_folders(tmp_path, attributes={"v": "common"})
    assert auto.attributes["v"].classes == ()
    remedy = "write data.attributes.v: {belongs: common, kind: category} to make it a category"
    assert f"attribute v: a number from 0 to 11; {remedy}" in auto.notes()
    site = open_folders(tmp_path, attributes={"v": {"belongs": "common", "kind": "category"}})
    assert site.attributes["v"].classes == tuple(map(str, range(12)))
    assert site.attributes["v"].belongs == "common"
    assert not any("a number from" in note for note in site.notes())


def test_attributes_are_numbers_of_few_values_when_asked(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: i % 3)
    few = open_folders(tmp_path, attributes={"v": {"belongs": "salient", "kind": "number"}})
    assert few.attributes["v"].classes == ()
    assert few.attributes["v"].belongs == "salient"
    assert open_folders(tmp_path, attributes={"v": "salient"}).attributes["v"].classes == (
        *("0", "1", "2"),
    )


def test_attributes_refuse_words_as_numbers(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: f"{i} mm")
    with pytest.raises(StudioError, match=r"attributes\.v: kind is number, but 40 values are not"):
        open_folders(tmp_path, attributes={"v": {"belongs": "common", "kind": "number"}})


@pytest.mark.parametrize(
    "choice",
    ["saliant", {"belongs": "x"}, {"kind": "number"}, 3, {"belongs": "common", "type": "x"}],
)
def test_config_refuses_another_form_of_an_attribute(choice: object) -> None:
    with pytest.raises(ValueError, match="salient"):
        FoldersConfig(root="x", attributes={"v": choice})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (lambda i: f'"{i},5"', "numbers with a decimal comma such as '0,5'"),
        (lambda i: f"{i}%", "numbers with a percent sign such as '0%'"),
        (lambda i: f'"1,{200 + i}"', "numbers with thousands separators such as '1,200'"),
        (lambda i: f"{i} mm", "numbers with a unit such as '0 mm'"),
        (lambda i: f"{i}kg", "numbers with a unit such as '0kg'"),
        (lambda i: f"2021-01-{i + 1:02}", "dates such as '2021-01-01'"),
        (lambda i: f"{i + 1:02}.03.2021", "dates such as '01.03.2021'"),
    ],
)
def test_notes_name_columns_that_nearly_are_numbers(
    tmp_path: Path, value: object, kind: str
) -> None:
    table_of(tmp_path, value)
    assert f"attribute v: 40 different values, none a plain number: {kind}" in notes_of(tmp_path)


def test_notes_name_one_odd_cell_among_numbers(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: "<5" if i == 3 else i)
    assert "39 a plain number: numbers with < or > such as '<5'" in notes_of(tmp_path)


def test_notes_name_classes_that_differ_in_spelling_only(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: ["M", "m", "F", "yes", "Yes"][i % 5])
    assert "classes that differ in spelling only: M and m, Yes and yes" in notes_of(tmp_path)
    table_of(tmp_path, lambda i: "MF"[i % 2])
    assert "in spelling only" not in notes_of(tmp_path)


def test_encode_column_composes_and_trims_values() -> None:
    classes, values = encode_column(["n\u00e9", "ne\u0301", " n\u00e9\u00a0", "b"])
    assert classes == ("b", "n\u00e9")
    assert values.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "word", ["NA", "n/a", "NaN", "None", "NULL", "-", "--", "?", "Unknown", "#N/A", "n.a.", ""]
)
def test_attributes_take_words_for_no_value_as_missing(tmp_path: Path, word: str) -> None:
    table_of(tmp_path, lambda i: word if i % 2 else i)
    dataset = open_folders(tmp_path, attributes={"v": "common"})
    assert dataset.attributes["v"].classes == ()
    assert (
        sum(np.isnan(dataset.labels(s, d)["v"]).sum() for s in ("train", "test") for d in DOMAINS)
        == 20
    )
    said = f"column v: 20 cells count as no value: {word}" in dataset.notes()
    assert said == (word.lower() not in ("", "na", "n/a", "nan"))


def test_notes_name_codes_of_missing_numbers(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: -999 if i % 4 == 0 else 40 + i)
    assert "attribute v: 10 values are -999: if that means no value, write NA" in notes_of(tmp_path)
    table_of(tmp_path, lambda i: 80 + i)
    assert "if that means no value" not in notes_of(tmp_path)


def test_encode_column_keeps_all_digits_of_numbers() -> None:
    classes, values = encode_column(["1234567890123", "1234567890124", "1.0"])
    assert len(set(classes)) == 3
    assert len(set(values.tolist())) == 3


@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        (lambda i: f"{i}.0", "numbers with a .0"),
        (lambda i: f"{i + 1}E+05", "rounded numbers"),
        (lambda i: f"{i % 28 + 1:02}-Mar", "dates"),
        (lambda i: i % 20 if i % 20 else "x", "numbers without the leading zeros"),
    ],
)
def test_notes_name_subjects_that_a_spreadsheet_changed(
    tmp_path: Path, subject: object, fault: str
) -> None:
    table_of(tmp_path, subject, "file,subject")
    assert fault in notes_of(tmp_path, attributes={})
    table_of(tmp_path, lambda i: f"s{i}", "file,subject")
    assert "a spreadsheet may have changed them" not in notes_of(tmp_path, attributes={})


@pytest.mark.parametrize("name", ["participant_id", "patient", "Subject_ID", "sub"])
def test_notes_ask_whether_a_column_is_the_subject(tmp_path: Path, name: str) -> None:
    table_of(tmp_path, lambda i: f"s{i % 8}", f"file,{name}")
    assert f"column {name} is not used: did you mean subject?" in notes_of(tmp_path, attributes={})
    assert "did you mean subject" not in notes_of(tmp_path, attributes={name: "common"})


def test_table_without_file_asks_whether_a_column_is_it(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: i, "filename,v")
    with pytest.raises(StudioError, match="did you mean 'filename'"):
        open_folders(tmp_path)


def test_table_reads_the_first_line_of_excel(tmp_path: Path) -> None:
    fill(tmp_path)
    for separator in ";,\t|":
        rows = [f"sep={separator}", "file,v", "target/000.png,1", "target/001.png,2"]
        write_table(tmp_path, "\r\n".join(row.replace(",", separator) for row in rows), "utf-8-sig")
        assert open_folders(tmp_path, attributes={"v": "salient"}).attributes["v"].classes == (
            *("1", "2"),
        )


def test_table_takes_absolute_paths_below_the_root(tmp_path: Path) -> None:
    fill(tmp_path)
    write_table(tmp_path, f"file,v\n{tmp_path}/target/000.png,1\n{tmp_path}/target/001.png,2\n")
    assert open_folders(tmp_path, attributes={"v": "salient"}).attributes["v"].classes == ("1", "2")


def test_table_notes_rows_without_an_image(tmp_path: Path) -> None:
    fill(tmp_path)
    names = [f"{domain}/{i:03}.png" for domain in DOMAINS for i in range(20)]
    rows = [
        f"{name},{i % 3}"
        for i, name in enumerate([*names, *(f"target/gone{i}.png" for i in range(90))])
    ]
    write_table(tmp_path, "\n".join(["file,v", *rows]))
    dataset = open_folders(tmp_path, attributes={"v": "common"})
    assert len(items(dataset)) == 40
    assert any(
        note.startswith("90 of 130 rows of attributes.csv name no image that is used: target/gone0")
        and note.endswith("and 85 more")
        for note in dataset.notes()
    )
    write_table(tmp_path, "file,v\ntarget/gone.png,1\n")
    with pytest.raises(StudioError, match="1 of 1 rows are invalid"):
        open_folders(tmp_path)


def test_table_takes_a_name_with_a_backslash(tmp_path: Path) -> None:
    fill(tmp_path)
    try:
        (tmp_path / "target/000.png").rename(tmp_path / "target" / "back\\slash.png")
    except OSError:
        pytest.skip("this file system takes no backslash in names")
    write_table(tmp_path, "file,v\ntarget/back\\slash.png,1\ntarget\\001.png,2\n")
    assert open_folders(tmp_path, attributes={"v": "salient"}).attributes["v"].classes == ("1", "2")


def test_lists_of_classes_end_after_five_and_a_count(tmp_path: Path) -> None:
    table_of(tmp_path, lambda i: f"id-{i:03}")
    config = FoldersConfig(root=str(tmp_path), resolution=8, attributes={"v": "common"})
    text = describe(check(config))
    assert "one of id-000, id-001, id-002, id-003, id-004 and 35 more" in text
    assert max(map(len, text.splitlines())) < 300
    assert "perhaps a name of the image and not a property" in text
