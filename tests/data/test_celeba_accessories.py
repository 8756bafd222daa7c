"""`celeba_accessories`: which faces are in which set, cuts, splits by person, bad files."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_files import CELEBA, celeba_rows, write_celeba

from studio.data.celeba_accessories import CelebaAccessories, CelebaAccessoriesConfig
from studio.data.dataset import SPLITS
from studio.data.folders import QuarantineError
from studio.domains import DOMAINS
from studio.errors import StudioError

ROWS = celeba_rows(96)
BY_NAME = {f"{i:06}.jpg": row for i, row in enumerate(ROWS, 1)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba"), rows=ROWS)


@pytest.fixture
def own(files: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(files, tmp_path / "own"))


def opened(root: Path, **options: object) -> CelebaAccessories:
    return CelebaAccessories(CelebaAccessoriesConfig(root=str(root), **options))


def names(data: CelebaAccessories, domain: str) -> list[str]:
    return [name for split in SPLITS for name in data.item_names(split, domain)]


def fault(root: Path, **options: object) -> str:
    with pytest.raises(StudioError) as caught:
        opened(root, **options)
    return str(caught.value)


@pytest.mark.parametrize("split", ["carton", "louiset", "choudhuri", "abid", "official"])
def test_faces_are_in_the_set_that_their_attributes_say(files: Path, split: str) -> None:
    data = opened(files, split=split)
    for name in names(data, "background"):
        assert not BY_NAME[name]["Eyeglasses"]
        assert not BY_NAME[name]["Wearing_Hat"]
    for side in SPLITS:
        labels = data.labels(side, "target")
        for i, name in enumerate(data.item_names(side, "target")):
            assert BY_NAME[name]["Eyeglasses" if labels["accessory"][i] == 0 else "Wearing_Hat"]
            assert labels["Male"][i] == BY_NAME[name]["Male"]
        subjects = {s: {*data.item_subjects(s, "target")} for s in SPLITS}
        subjects = {s: subjects[s] | {*data.item_subjects(s, "background")} for s in SPLITS}
        if split != "official":
            assert not subjects["train"] & subjects["test"]


def test_classes_are_equal_and_interleaved_when_hats_are_few(own: Path) -> None:
    data = opened(own)
    for side in SPLITS:
        column = data.labels(side, "target")["accessory"]
        assert abs(np.diff(np.bincount(column))) <= 0
        assert set(column[:2]) == {0, 1}
    assert any("needs 10,000 images of" in note and "there are 24" in note for note in data.notes())


def test_official_follows_the_partition_and_says_what_is_left_out(files: Path) -> None:
    data = opened(files, split="official")
    lines = (files / "list_eval_partition.txt").read_text().split("\n")[:-1]
    part = dict(line.split() for line in lines)
    assert {part[name] for d in DOMAINS for name in data.item_names("train", d)} == {"0"}
    assert {part[name] for d in DOMAINS for name in data.item_names("test", d)} == {"2"}
    left = list(part.values()).count("1")
    assert f"{left} images of CelebA's validation part are left out" in data.notes()


def test_image_is_the_resized_square_in_the_middle(files: Path) -> None:
    data = opened(files)
    image = data.images("train", "target", [0])[0]
    name = data.item_names("train", "target")[0]
    with Image.open(files / "img_align_celeba" / name) as picture:
        cut = picture.crop((35, 55, 143, 163)).resize((64, 64), Image.Resampling.BILINEAR)
    wanted = torch.from_numpy(np.array(cut)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(image, wanted, atol=1e-6)
    assert data.images("train", "target", [0]).shape == (1, 3, 64, 64)
    assert opened(files, resolution=128, channels=1).images("test", "target", [1]).shape[1:] == (
        1,
        128,
        128,
    )


def test_conditions_and_background_can_be_any_expressions(files: Path) -> None:
    smiling = opened(
        files,
        split="abid",
        background="not Smiling and not Eyeglasses",
        target={"both": "Smiling and Eyeglasses"},
    )
    assert all(BY_NAME[n]["Smiling"] and BY_NAME[n]["Eyeglasses"] for n in names(smiling, "target"))
    assert "accessory" not in smiling.attributes
    assert set(smiling.attributes) == {"Male", "Young"}
    rest = opened(files, split="abid", background=None, target={"caps": "Wearing_Hat"})
    wanted = {name for name, row in BY_NAME.items() if not row["Wearing_Hat"]}
    assert set(names(rest, "background")) == wanted
    three = {
        "glasses": "Eyeglasses",
        "hat": "Wearing_Hat",
        "smile": "Smiling and not Eyeglasses and not Wearing_Hat",
    }
    several = opened(files, split="abid", background=None, target=three)
    assert [*several.attributes][:4] == ["accessory", "glasses", "hat", "smile"]
    labels = several.labels("train", "target")
    assert np.array_equal(labels["hat"], labels["accessory"] == 1)


def test_overlapping_conditions_are_left_out_with_a_note(files: Path) -> None:
    data = opened(files, split="abid", target={"hat": "Wearing_Hat", "man": "Male"})
    both = sum(row["Wearing_Hat"] and row["Male"] for row in ROWS)
    assert both
    assert f"{both} images fulfil several conditions of the target: left out" in data.notes()
    assert not any(
        BY_NAME[name]["Wearing_Hat"] and BY_NAME[name]["Male"] for name in names(data, "target")
    )
    assert any("fulfil data.background and data.target" in note for note in data.notes())


def test_zip_and_kaggles_tables_give_the_same_items(files: Path, tmp_path: Path) -> None:
    (tmp_path / "Anno").mkdir()
    (tmp_path / "Img").mkdir()
    with zipfile.ZipFile(tmp_path / "Img" / "img_align_celeba.zip", "w") as archive:
        for path in sorted((files / "img_align_celeba").iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
    order = sorted(CELEBA)
    lines = ["image_id," + ",".join(order)]
    lines += [
        name + "," + ",".join(str(2 * row[key] - 1) for key in order)
        for name, row in BY_NAME.items()
    ]
    text = "\r\n".join(lines).encode("utf-8-sig")
    (tmp_path / "Anno" / "list_attr_celeba.csv").write_bytes(text)
    persons = (files / "identity_CelebA.txt").read_text().replace(" ", ",")
    (tmp_path / "Anno" / "identity_CelebA.csv").write_text("image_id,identity\n" + persons)
    # The names of pictures decide their order, and they differ by the folder of the archive.
    one, other = opened(files, split="abid"), opened(tmp_path, split="abid")
    for domain in DOMAINS:
        mine = {
            name: person
            for s in SPLITS
            for name, person in zip(
                one.item_names(s, domain), one.item_subjects(s, domain), strict=True
            )
        }
        theirs = {
            name.split("/")[1]: person
            for s in SPLITS
            for name, person in zip(
                other.item_names(s, domain), other.item_subjects(s, domain), strict=True
            )
        }
        assert mine == theirs
    name = other.item_names("test", "target")[0].split("/")[1]
    split = next(s for s in SPLITS if name in one.item_names(s, "target"))
    row = one.item_names(split, "target").index(name)
    assert torch.equal(other.images("test", "target", [0]), one.images(split, "target", [row]))


def test_contamination_exchanges_training_images_only(files: Path) -> None:
    plain = opened(files, split="abid")
    mixed = opened(files, split="abid", contamination_background=0.5, contamination_target=0.25)
    for domain in DOMAINS:
        assert mixed.item_names("test", domain) == plain.item_names("test", domain)
        assert mixed.size("train", domain) == plain.size("train", domain)
    own, found = set(plain.item_names("train", "target")), mixed.item_names("train", "background")
    share = np.mean([name in own for name in found])
    assert 0.3 < share < 0.7
    labels = mixed.labels("train", "target")["accessory"]
    own = set(plain.item_names("train", "background"))
    assert [name in own for name in mixed.item_names("train", "target")] == [*(labels < 0)]
    assert (labels < 0).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"background": "not Eyeglases"}, "no attribute 'Eyeglases'; did you mean 'Eyeglasses'?"),
        ({"common": ["Yung"]}, "data.common: CelebA has no attribute 'Yung'; did you mean 'Young'"),
        ({"target": {"Male": "Eyeglasses"}}, "data.target: 'Male' is an attribute of CelebA"),
        ({"target": {"hat": "Male and not Male"}}, "none of 96 images is in hat"),
        ({"crop": 178, "resolution": 8}, None),
    ],
)
def test_options_are_refused_with_the_nearest_name(
    files: Path, options: dict, words: str | None
) -> None:
    if words is None:
        assert opened(files, **options).shape == (3, 8, 8)
        return
    assert words in fault(files, **options)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("list_attr_celeba.txt", "no list_attr_celeba.txt; expected ROOT/img_align_celeba/000001"),
        ("img_align_celeba", "no folder img_align_celeba and no img_align_celeba.zip"),
        ("list_eval_partition.txt", "which data.split: official needs"),
    ],
)
def test_missing_file_is_named_with_its_place(own: Path, name: str, words: str) -> None:
    path = own / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert words in fault(own, split="official")


def test_missing_identities_and_pictures_are_noted(own: Path) -> None:
    (own / "identity_CelebA.txt").unlink()
    (own / "img_align_celeba" / "000003.jpg").unlink()
    shutil.copy(own / "img_align_celeba" / "000004.jpg", own / "img_align_celeba" / "new.jpg")
    notes = "\n".join(opened(own).notes())
    assert "no identity_CelebA.txt: a person may have pictures in both splits" in notes
    assert "1 of 96 pictures of list_attr_celeba.txt are not in img_align_celeba" in notes
    assert "1 pictures are not in list_attr_celeba.txt and are left out: new.jpg" in notes


def test_damaged_tables_are_errors(own: Path) -> None:
    table = own / "list_attr_celeba.txt"
    text = table.read_text()
    table.write_text(text[: len(text) // 2])
    assert "perhaps the file is cut short" in fault(own)
    table.write_text(text.replace("000002.jpg", "000001.jpg", 1))
    assert "line 4: 000001.jpg has a row already, line 3" in fault(own)
    table.write_text(text.replace(" 1", " 2", 1))
    assert "found '2', expected 1 or -1" in fault(own, common="all")
    table.write_text(text.replace(".jpg", ".bad").replace("0000", "9999"))
    assert "none of the 96 listed pictures, such as 999901.bad, is in" in fault(own)


def test_truncated_picture_is_set_aside_and_many_are_an_error(own: Path) -> None:
    data = opened(own, split="abid")
    chosen = [name for domain in DOMAINS for name in names(data, domain)]
    for count, name in enumerate(chosen[:8], 1):
        path = own / "img_align_celeba" / name
        path.write_bytes(path.read_bytes()[:600] if count > 1 else b"")
        if count == 2:
            data = opened(own, split="abid")
            assert dict(data.quarantined)[chosen[0]] == "is empty (0 bytes)"
            assert "truncated" in dict(data.quarantined)[chosen[1]].lower()
            assert "2 of 96 chosen pictures are set aside" in data.notes()
            assert not set(chosen[:2]) & {n for d in DOMAINS for n in names(data, d)}
    with pytest.raises(
        QuarantineError, match=r"8 of 96 pictures cannot be used, data\.max_bad is 5%"
    ):
        opened(own, split="abid")


def test_truncated_archive_is_one_clear_line(own: Path) -> None:
    shutil.rmtree(own / "img_align_celeba")
    archive = own / "img_align_celeba.zip"
    archive.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "not a whole zip archive, perhaps cut short" in fault(own)


def test_picture_that_changes_later_is_named(own: Path) -> None:
    data = opened(own)
    path = own / "img_align_celeba" / data.item_names("test", "target")[0]
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(StudioError, match=path.name):
        data.images("test", "target", [0])
    Image.new("RGB", (90, 90)).save(path)
    with pytest.raises(StudioError, match="has 90 x 90 pixels, expected at least 108 x 108"):
        data.images("test", "target", [0])


@pytest.mark.parametrize("split", ["carton", "abid"])
def test_condition_with_one_image_is_named(tmp_path: Path, split: str) -> None:
    rows = [{**row, "Wearing_Hat": int(i == 1)} for i, row in enumerate(celeba_rows(24))]
    message = fault(write_celeba(tmp_path, rows=rows), split=split)
    assert re.search(r"no image of hat for the (test|train) split: 1 images of 1 persons", message)
