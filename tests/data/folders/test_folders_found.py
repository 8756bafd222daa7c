"""Folders: what lies beside the images is said, and patterns pick images."""

import json
from pathlib import Path

import pytest
from support.folder_files import DOMAINS, fill, items, noise, open_folders, sides, write

from studio.config import parse_assignment
from studio.data.io.scan import matches_any, scan_images
from studio.errors import StudioError


def notes_of(root: Path, **fields: object) -> str:
    return "\n".join(open_folders(root, **fields).notes())


@pytest.mark.parametrize(
    "name",
    [
        *("attributes.tsv", "attribute.csv", "attributes.csv.csv", "metadata.csv"),
        *("attributes.xlsx", "participants.tsv"),
    ],
)
def test_folders_note_a_table_under_another_name(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    assert "did you mean attributes.csv" not in notes_of(tmp_path)
    (tmp_path / name).write_text("file,subject\n")
    assert f"1 other tables are not read: {name}; did you mean attributes.csv?" in notes_of(
        tmp_path
    )
    with pytest.raises(StudioError, match=f"missing, but data.attributes names age.*{name}"):
        open_folders(tmp_path, attributes={"age": "common"})


@pytest.mark.parametrize("name", ["Attributes.csv", "ATTRIBUTES.CSV"])
def test_folders_read_a_table_in_another_case(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    (tmp_path / name).write_text("file,age\ntarget/000.png,3\ntarget/001.png,4\n")
    dataset = open_folders(tmp_path, attributes={"age": "common"})
    assert dataset.attributes["age"].classes == ("3", "4")
    assert f"{name} is read as attributes.csv" in dataset.notes()


def test_folders_note_a_table_beside_the_images(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "background/attributes.csv").write_text("file\n")
    assert "1 tables beside the images are not read: background/attributes.csv" in notes_of(
        tmp_path
    )


@pytest.mark.parametrize("place", ["p{i}_mask.npy", "sub-{i}_desc-brain_dseg.npy", "masks/{i}.npy"])
def test_folders_note_masks_and_patterns_leave_them_out(tmp_path: Path, place: str) -> None:
    fill(tmp_path)
    assert "names of masks" not in notes_of(tmp_path)
    for domain in DOMAINS:
        for i in range(9):
            write(tmp_path / domain / place.format(i=i), noise(("mask", domain, i)))
    notes = notes_of(tmp_path)
    assert "18 of 58 images have names of masks or labels: data.exclude: [" in notes
    patterns = json.loads(notes.split("data.exclude: ")[1].split("]")[0] + "]")
    dataset = open_folders(tmp_path, exclude=patterns)
    assert len(items(dataset)) == 40
    assert "leaves out 18 of 58 images" in "\n".join(dataset.notes())


def test_folders_use_the_images_that_patterns_pick(tmp_path: Path) -> None:
    fill(tmp_path)
    for domain in DOMAINS:
        for i in range(9):
            write(tmp_path / domain / f"s{i}/{i}_T1w.npy", noise((domain, "x", i)))
    picked = open_folders(tmp_path, files="*_t1w.npy")
    assert len(items(picked)) == 18
    fewer = open_folders(tmp_path, files=["*_T1w.npy"], exclude=["target/s0/*", "nothing*"])
    assert len(items(fewer)) == 17
    assert "data.exclude: no image matches 'nothing*'" in fewer.notes()
    with pytest.raises(StudioError, match=r"data\.files: '\*_T2w\.npy' leaves none of the 29"):
        open_folders(tmp_path, files="*_T2w.npy")


def test_parse_assignment_takes_a_pattern_without_quotes() -> None:
    assert parse_assignment("data.files=*_T1w.nii.gz") == ("data.files", "*_T1w.nii.gz")
    assert parse_assignment("data.files=['*.png']") == ("data.files", ["*.png"])


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*_T1w.nii.gz", "target/sub-1/x_T1w.nii.gz", True),
        ("*_T1W.NII.GZ", "target/sub-1/x_T1w.nii.gz", True),
        ("mask*", "target/masks/x.png", False),
        ("masks/*", "target/masks/x.png", True),
        ("target/*", "target/masks/x.png", True),
        ("x.png", "target/masks/x.png", True),
        ("x", "target/masks/x.png", False),
    ],
)
def test_matches_any_compares_names_and_paths(pattern: str, name: str, expected: bool) -> None:
    assert matches_any(name, [pattern]) is expected


def test_folders_leave_out_files_of_systems(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/@eaDir/000.png/SYNOPHOTO_THUMB_M.png", noise(1))
    write(tmp_path / "target/__MACOSX/a.png", noise(2))
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "target" / name).touch()
    dataset = open_folders(tmp_path)
    assert len(items(dataset)) == 40
    notes = "\n".join(dataset.notes())
    assert "2 files of the system, such as @eaDir and __MACOSX, are left out" in notes
    assert "ignored" not in notes


def test_folders_count_files_that_are_not_read_by_ending(tmp_path: Path) -> None:
    fill(tmp_path)
    for ending, count in {"gif": 3, "heic": 2, "mgz": 1, "jfif": 1}.items():
        for i in range(count):
            (tmp_path / f"target/x{i}.{ending}").write_bytes(b"123")
    notes = open_folders(tmp_path).notes()
    assert any(note.startswith("3 .gif files are not read: convert them to png") for note in notes)
    assert "1 .jfif files are not read: rename them to .jpg" in notes
    assert any(
        note.startswith("1 .mgz files are not read: convert them to nii.gz") for note in notes
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("{}.gif", b"x", "found 5 .gif files that are not read: convert them to png"),
        ("{}.txt", b"x", "found 5 other files: target/0.txt, "),
    ],
)
def test_folders_without_images_name_what_they_have(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    fill(tmp_path)
    for path in (tmp_path / "target").iterdir():
        path.unlink()
    for i in range(5):
        (tmp_path / "target" / name.format(i)).write_bytes(content)
    with pytest.raises(StudioError, match="target: no images; expected") as error:
        open_folders(tmp_path)
    assert expected in str(error.value)


def test_folders_note_what_lies_outside_of_the_two_sets(tmp_path: Path) -> None:
    fill(tmp_path)
    assert "of the root" not in notes_of(tmp_path)
    write(tmp_path / "masks/a.png", noise(1))
    write(tmp_path / "loose.png", noise(2))
    notes = notes_of(tmp_path)
    assert "1 other folders of the root are not read: masks/" in notes
    assert "1 images of the root are not read: loose.png" in notes


def test_folders_count_links(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "far.png", noise("far"))
    (tmp_path / "target/near.png").symlink_to(tmp_path / "far.png")
    assert scan_images(tmp_path, DOMAINS).links == 1
    assert "1 images are links to other files" in notes_of(tmp_path)


def test_folders_say_how_to_rearrange_other_layouts(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    with pytest.raises(StudioError, match="move train/background/ to background/train/"):
        open_folders(tmp_path)
    for domain in DOMAINS:
        (tmp_path / "train" / domain).rename(tmp_path / domain.capitalize())
    with pytest.raises(StudioError, match="rename Background to background"):
        open_folders(tmp_path)


def test_folders_say_how_subjects_were_found(tmp_path: Path) -> None:
    fill(tmp_path / "flat")
    for i in range(20):
        write(tmp_path / f"flat/target/only{i}.png", noise(("only", i)))
    notes = notes_of(tmp_path / "flat")
    assert (
        "40 files by a name that several files share (20 names, each counts as one subject)"
        in notes
    )
    assert "20 files count as a subject each: if a subject has several files" in notes
    for domain in DOMAINS:
        for i in range(40):
            write(tmp_path / f"deep/{domain}/p{i // 4}/{i}.png", noise((domain, i)))
    dataset = open_folders(tmp_path / "deep")
    assert (
        "split: 80 files by sub-folder (each of 10 counts as one subject, see data.subjects)"
        in dataset.notes()
    )
    assert len({name.split("/")[1] for name, s in sides(dataset).items() if s == "test"}) == 2
    assert set(dataset.item_subjects("test", "target")) <= {f"p{i}" for i in range(10)}


def test_folders_note_a_subject_with_most_files(tmp_path: Path) -> None:
    fill(tmp_path)
    rows = [f"{domain}/{i:03}.png,{'s' if i < 15 else i}" for domain in DOMAINS for i in range(20)]
    (tmp_path / "attributes.csv").write_text("file,subject\n" + "\n".join(rows))
    assert "subject s has 30 of 40 files" in notes_of(tmp_path)
