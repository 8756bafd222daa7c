"""Text tables: separators, byte-order marks, headers, and files that are cut short."""

from pathlib import Path

import pytest

from studio.data.sources.text_tables import open_table, read_pairs
from studio.errors import StudioError

ROWS = [["a.jpg", "1", "-1"], ["b.jpg", "-1", "1"]]


def read(path: Path) -> list[list[str]]:
    table = open_table(path, ("image_id",), ("Hat",))
    assert table.columns == ("image_id", "Hat", "Male")
    return [cells for _, cells in table.rows()]


@pytest.mark.parametrize("separator", [" ", ",", ";", "\t", "   "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_table_reads_alike_whatever_separates_its_cells(
    tmp_path: Path, separator: str, encoding: str, end: str
) -> None:
    lines = [separator.join(row) for row in [["image_id", "Hat", "Male"], *ROWS]]
    path = tmp_path / "table.txt"
    path.write_bytes((end.join([*lines, "", ""])).encode(encoding))
    assert read(path) == ROWS


def test_table_without_a_name_for_files_and_with_a_count_is_celebas(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("2\nHat Male \na.jpg  1 -1\nb.jpg -1  1\n")
    assert read(path) == ROWS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("3\nHat Male\na.jpg 1 -1\n", "states 3 rows, found 1; perhaps the file is cut short"),
        ("Hat Male\na.jpg 1\n", "line 2: found 2 cells, expected 3; perhaps the file is cut"),
        ("Glasses,Male\na.jpg,1,1\n", "no column Hat in the header; found Glasses, Male"),
        ("Hat Hat\na.jpg 1 1\n", "more than one column is called Hat"),
        ("Hat Male\n", "a header without any row"),
        ("Hat\0Male\n", "has zero bytes"),
    ],
)
def test_table_refuses_what_is_cut_short(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "table.txt"
    path.write_text(text)
    with pytest.raises(StudioError, match=words):
        read(path)


def test_table_of_another_encoding_is_read_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("image_id,Hat\nm\u00fcller.jpg,1\n".encode("cp1252"))
    table = open_table(path, ("image_id",), ("Hat",))
    assert [cells for _, cells in table.rows()] == [["m\u00fcller.jpg", "1"]]
    assert table.notes == ("table.csv is not UTF-8, it is read as Windows-1252",)


def test_pairs_are_read_with_and_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    for text in ("a.jpg 7\nb.jpg 9\n", "image_id,partition\na.jpg,7\nb.jpg,9\n"):
        path.write_text(text)
        assert read_pairs(path) == {"a.jpg": 7, "b.jpg": 9}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a.jpg 1\nb.j", "line 2: found 'b.j', expected the name of a file and a whole number"),
        ("a.jpg 1\na.jpg 2\n", "line 2: a.jpg has a row already"),
        ("a.jpg 1\nb.jpg x\n", "line 2: found 'b.jpg x'"),
    ],
)
def test_pairs_refuse_other_rows(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(StudioError, match=words):
        read_pairs(path)
