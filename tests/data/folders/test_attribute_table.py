"""Folders: the table `attributes.csv`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.folder_files import (
    DOMAINS,
    SPLITS,
    fill,
    item_names,
    noise,
    open_folders,
    write,
    write_table,
)

from studio.data.io.attribute_table import encode_column
from studio.errors import StudioError


def rows(*lines: str, header: str = "file,digit,size") -> str:
    """Returns a table as text."""
    return "\n".join((header, *lines)) + "\n"


FAULTS = {
    "empty": ("", {}, r"attributes\.csv: empty, expected a header with the column 'file'"),
    "no column file": (
        "path,digit\na,1\n",
        {},
        r"no column 'file' in the header; found path, digit",
    ),
    "a column twice": ("file,a,a\ntarget/000.png,1,2\n", {}, "more than one column is called a"),
    "a short row": (rows("target/000.png,1"), {}, "line 2: 2 cells, but the header has 3"),
    "a long row": (rows("target/000.png,1,2,3"), {}, "line 2: 4 cells, but the header has 3"),
    "a torn quote": (rows('target/000.png,"1,2'), {}, r"attributes\.csv, line 2: unexpected end"),
    "a missing file": (
        rows("target/0000.png,1,2"),
        {},
        "line 2: no image 'target/0000.png'; did you mean 'target/000",
    ),
    "not an image": (rows("target/x.txt,1,2"), {}, "'target/x.txt' is not among the images"),
    "a name that two images have": (
        rows("000.png,1,2"),
        {},
        "2 images: write background/000.png or target/000.png",
    ),
    "a row twice": (
        rows("target/000.png,,", "./target/000.png,,"),
        {},
        "line 3: target/000.png has a row already, ",
    ),
    "out of the folder": (rows("../secret.png,1,2"), {}, r"line 2: '\.\./secret\.png' leaves"),
    "an absolute path": (rows("/etc/a.png,1,2"), {}, "line 2: '/etc/a.png' leaves"),
    "no file name": (rows(",1,2"), {}, "line 2: no file name"),
    "a wrong split": (
        "file,split\ntarget/000.png,val\n",
        {},
        r"target/000\.png is 'val', expected train or test",
    ),
    "an unknown attribute": (
        rows(),
        {"digits": "salient"},
        "data.attributes.digits: .* did you mean 'digit'",
    ),
    "a reserved name": (
        rows("target/000.png,1,2"),
        {"file": "salient"},
        "data.attributes.file: no attribute can",
    ),
    "no value": (
        rows("target/000.png,,2"),
        {"digit": "salient"},
        "data.attributes.digit: no target image has a value",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_table_fault_is_one_clear_message(tmp_path: Path, fault: str) -> None:
    text, attributes, message = FAULTS[fault]
    fill(tmp_path)
    (tmp_path / "target/x.txt").touch()
    write_table(tmp_path, text)
    with pytest.raises(StudioError, match=message):
        open_folders(tmp_path, attributes=attributes)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_table_is_refused_when_not_utf_8(tmp_path: Path, encoding: str) -> None:
    fill(tmp_path)
    write_table(tmp_path, "file,größe\ntarget/000.png,1\n", encoding)
    with pytest.raises(StudioError, match=r"attributes\.csv: not UTF-8"):
        open_folders(tmp_path)


def test_table_counts_all_faulty_rows_and_lists_five(tmp_path: Path) -> None:
    fill(tmp_path)
    write_table(tmp_path, rows(*(f"target/x{i}.png,1,2" for i in range(15)), "target/000.png,1,2"))
    with pytest.raises(StudioError, match="15 of 16 rows are invalid") as error:
        open_folders(tmp_path)
    assert len(str(error.value).splitlines()) == 7
    assert "... and 10 more" in str(error.value)


def test_attributes_are_refused_without_a_table(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(
        StudioError, match=r"attributes\.csv: missing, but data\.attributes names digit"
    ):
        open_folders(tmp_path, attributes={"digit": "salient"})


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("file,size\ntarget/a b é.png,3.5\ntarget/000.png,4\n", "utf-8"),
        ("file,size\r\ntarget/a b é.png,3.5\r\ntarget/000.png,4\r\n", "utf-8-sig"),
        ("file;size\ntarget/a b é.png;3,5\ntarget/000.png;4\n", "utf-8"),
        ('"File"\t"size"\n"target/a b é.png"\t3.5\n\ntarget/000.png\t4\n', "utf-8"),
        ("size,file,\n3.5,target\\a b é.png,\n4,./target/000.png,\n", "utf-8"),
        ("file,size\na b é.png,3.5\ntarget/000.png,4,,\n,,\n", "utf-8-sig"),
        ("file,size\na b e\u0301.png, 3.5 \ntarget/000.png,4.0\n", "utf-8"),
    ],
    ids=["plain", "Excel", "semicolons", "tabs", "Windows", "bare name", "macOS"],
)
def test_table_is_read_as_programs_write_it(tmp_path: Path, text: str, encoding: str) -> None:
    fill(tmp_path)
    write(tmp_path / "target/a b é.png", noise(0))
    write_table(tmp_path, text, encoding)
    dataset = open_folders(tmp_path, attributes={"size": "salient"})
    assert dataset.attributes["size"].classes == ("3.5", "4")
    assert dataset.attributes["size"].target_only
    found = {
        name: label
        for split in SPLITS
        for name, label in zip(
            item_names(dataset, split, "target"),
            dataset.labels(split, "target")["size"],
            strict=True,
        )
        if label >= 0
    }
    assert found == {"target/a b é.png": 0, "target/000.png": 1}
    assert any("files have no row in attributes.csv" in note for note in dataset.notes())


def test_labels_belong_to_their_images(tmp_path: Path) -> None:
    def marked(key: tuple[str, int]) -> np.ndarray:
        values = noise(key)
        values[0, 0] = key[1]
        return values

    fill(tmp_path, make=marked)
    lines = [
        f"{name}/{i:03}.png,{'' if name == 'background' else i},{i / 2}"
        for name in DOMAINS
        for i in range(20)
    ]
    write_table(tmp_path, rows(*reversed(lines)))
    dataset = open_folders(tmp_path, attributes={"digit": "salient", "size": "common"})
    assert (dataset.attributes["digit"].belongs, dataset.attributes["size"].belongs) == (
        "salient",
        "common",
    )
    assert dataset.attributes["digit"].target_only
    assert not dataset.attributes["size"].target_only
    for split in SPLITS:
        for domain in DOMAINS:
            labels = dataset.labels(split, domain)
            assert set(labels) == ({"digit", "size"} if domain == "target" else {"size"})
            corner = dataset.images(split, domain, range(dataset.size(split, domain)))[:, 0, 0, 0]
            for values, scale in ((labels.get("digit"), 1), (labels["size"], 2)):
                if values is not None:
                    np.testing.assert_allclose((corner + 1) * 127.5, values * scale, atol=1e-3)


def test_attributes_are_only_the_named_columns(tmp_path: Path) -> None:
    fill(tmp_path)
    write_table(tmp_path, rows("target/000.png,1,2"))
    dataset = open_folders(tmp_path)
    assert dataset.attributes == {}
    assert dataset.labels("train", "target") == {}
    assert "columns that data.attributes does not name are not used: digit, size" in dataset.notes()


@pytest.mark.parametrize(
    ("texts", "classes", "values"),
    [
        (["b", "a", "", "b"], ("a", "b"), [1, 0, -1, 1]),
        (["10", "9", "nan", "9.0"], ("9", "10"), [1, 0, -1, 0]),
        (["1.5", "NA", *map(str, range(10))], (), [1.5, np.nan, *range(10)]),
        ([str(i) for i in range(10)], tuple("0123456789"), list(range(10))),
        (["1", "?", "2"], ("1", "2"), [0, -1, 1]),
        (["1", "x", "2"], ("1", "2", "x"), [0, 2, 1]),
        (["1", "inf", "1_0"], ("1", "1_0", "inf"), [0, 2, 1]),
    ],
)
def test_encode_column_returns_categories_or_numbers(
    texts: list[str], classes: tuple[str, ...], values: Sequence[float]
) -> None:
    found, numbers = encode_column(texts)
    assert found == classes
    np.testing.assert_array_equal(numbers, values)
    assert numbers.dtype == (np.int64 if classes else np.float64)


def test_notes_name_attributes_that_measure_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    lines = [f"target/{i:03}.png,same,{'x' if i == 3 else i}" for i in range(20)]
    write_table(tmp_path, rows(*lines))
    notes = open_folders(tmp_path, attributes={"digit": "salient", "size": "salient"}).notes()
    assert "attribute digit has the same value on every target image of the train split" in notes
    assert "attribute size is read as categories, because some values are not numbers: x" in notes
