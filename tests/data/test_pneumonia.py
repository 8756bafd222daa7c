"""`pneumonia`: Kermany's folders and names, persons, numbers of images, bad files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_files import XRAY, write_picture, write_xrays

from studio.data.dataset import SPLITS
from studio.data.folders import QuarantineError
from studio.data.pneumonia import Pneumonia, PneumoniaConfig
from studio.errors import StudioError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xrays(tmp_path_factory.mktemp("xrays"))


@pytest.fixture
def own(files: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(files, tmp_path / "own"))


def opened(root: Path, **options: object) -> Pneumonia:
    return Pneumonia(PneumoniaConfig(root=str(root), **options))


def fault(root: Path, **options: object) -> str:
    with pytest.raises(StudioError) as caught:
        opened(root, **options)
    return str(caught.value)


def test_folders_and_names_decide_split_set_and_subtype(files: Path) -> None:
    data = opened(files)
    sizes = {
        (split, domain): data.size(split, domain)
        for split in SPLITS
        for domain in ("background", "target")
    }
    assert sizes == {
        ("train", "background"): 12,
        ("train", "target"): 24,
        ("test", "background"): 6,
        ("test", "target"): 12,
    }
    for split in SPLITS:
        assert all(f"/{split}/NORMAL/" in name for name in data.item_names(split, "background"))
        column = data.labels(split, "target")["subtype"]
        for name, number in zip(data.item_names(split, "target"), column, strict=True):
            assert f"/{split}/PNEUMONIA/" in name
            assert ("bacteria", "virus")[number] in name
        assert set(column[:2]) == {0, 1}
    assert "6 images of val/ are left out (data.val)" in data.notes()
    assert opened(files, val="test").size("test", "target") == 16


def test_image_is_squashed_gray_or_three_equal_channels(files: Path) -> None:
    gray, three = opened(files, channels=1), opened(files)
    image = gray.images("test", "background", [2])
    assert image.shape == (1, 1, 64, 64)
    assert torch.equal(three.images("test", "background", [2]), image.expand(1, 3, 64, 64))
    with Image.open(files / gray.item_names("test", "background")[2]) as picture:
        assert picture.size == XRAY[::-1]
        wanted = np.asarray(picture.convert("L").resize((64, 64), Image.Resampling.BOX))
    assert torch.allclose(image[0, 0], torch.from_numpy(wanted / 127.5 - 1).float(), atol=1e-6)
    cropped = opened(files, fit="crop").images("test", "background", [2])
    assert not torch.allclose(cropped, three.images("test", "background", [2]), atol=0.1)


def test_classes_have_as_many_images_as_the_smallest(own: Path) -> None:
    for path in sorted((own / "chest_xray/train/PNEUMONIA").glob("*virus*"))[:5]:
        path.unlink()
    data = opened(own)
    assert data.size("train", "background") == 7
    assert np.bincount(data.labels("train", "target")["subtype"]).tolist() == [7, 7]
    note = "7 training images of each class are used instead of 1,342, because there are no more"
    assert any(note in line and line.endswith("of viral") for line in data.notes())
    assert opened(own, per_class="all").size("train", "target") == 19
    assert opened(own, per_class=3).size("train", "background") == 3


def test_one_image_of_a_class_is_no_silent_truncation(own: Path) -> None:
    for path in sorted((own / "chest_xray/train/PNEUMONIA").glob("*virus*"))[1:]:
        path.unlink()
    assert any(line.startswith("1 training images of each class") for line in opened(own).notes())


def test_persons_of_the_test_folder_are_left_out_of_training(own: Path) -> None:
    sick = own / "chest_xray" / "test" / "PNEUMONIA"
    # Bacterial and viral cases are numbered apart: this is the person of two training images.
    write_picture(sick / "person1_bacteria_999.jpeg", 1)
    data = opened(own)
    persons = {s: {*data.item_subjects(s, "target")} for s in SPLITS}
    assert not persons["train"] & persons["test"]
    assert "person1_bacteria" in persons["test"]
    assert any("2 training images are left out" in note for note in data.notes())
    write_picture(sick / "person1_virus_999.jpeg", 1)  # of another person
    assert any("2 training images are left out" in note for note in opened(own).notes())


def test_split_by_persons_uses_every_image_once_and_folds_cover_all(files: Path) -> None:
    tested: list[str] = []
    for fold in range(3):
        data = opened(files, split="persons", per_class="all", fold=fold, folds=3)
        for domain in ("background", "target"):
            sides = [{*data.item_subjects(split, domain)} for split in SPLITS]
            assert not sides[0] & sides[1]
            tested += data.item_names("test", domain)
    assert len(tested) == len(set(tested)) == 60


def test_authors_archive_and_a_nested_copy_are_read_once(files: Path, tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        for i in range(4):
            key = 10 * number + i
            normal = tmp_path / part / "NORMAL" / f"NORMAL-{1000 + key}-0001.jpeg"
            sick = tmp_path / part / "PNEUMONIA"
            write_picture(normal, key)
            write_picture(sick / f"BACTERIA-{2000 + key}-0001.jpeg", 100 + key)
            write_picture(sick / f"VIRUS-{3000 + key}-0001.jpeg", 200 + key)
    data = opened(tmp_path)
    assert data.size("train", "target") == 8
    assert data.item_subjects("test", "background")[0].startswith("101")
    shutil.copytree(files / "chest_xray", tmp_path / "twice" / "chest_xray")
    shutil.copytree(files / "chest_xray", tmp_path / "twice" / "chest_xray" / "chest_xray")
    shutil.copytree(files / "chest_xray", tmp_path / "twice" / "__MACOSX" / "chest_xray")
    again = opened(tmp_path / "twice")
    assert again.size("train", "target") == opened(files).size("train", "target")


def test_one_condition_has_no_attribute_of_it(files: Path) -> None:
    data = opened(files, target="viral")
    assert data.attributes == {}
    assert all("virus" in name for name in data.item_names("train", "target"))


def test_missing_folders_say_what_is_there_and_what_is_expected(own: Path) -> None:
    shutil.rmtree(own / "chest_xray" / "test" / "NORMAL")
    message = fault(own)
    assert "no X-rays in test/NORMAL, found chest_xray/test/PNEUMONIA, " in message
    assert "expected ROOT/train and ROOT/test (or ROOT/chest_xray/...)" in message
    empty = own / "empty"
    empty.mkdir()
    assert "no X-rays in train/NORMAL, found no jpg or png files" in fault(empty)


def test_names_without_a_subtype_are_left_out_with_a_note(own: Path) -> None:
    write_picture(own / "chest_xray" / "train" / "PNEUMONIA" / "scan7.jpeg", 7)
    data = opened(own)
    assert any("neither bacteria nor virus: " in note for note in data.notes())
    assert not any("scan7" in name for name in data.item_names("train", "target"))
    for path in (own / "chest_xray" / "test" / "PNEUMONIA").glob("*virus*"):
        path.unlink()
    assert "no viral images for the test split" in fault(own)


def test_truncated_xray_is_set_aside(own: Path) -> None:
    path = sorted((own / "chest_xray" / "test" / "NORMAL").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-40])
    data = opened(own)
    assert [name for name, _ in data.quarantined] == [str(path.relative_to(own))]
    assert data.size("test", "background") == 5
    with pytest.raises(QuarantineError, match="1 of 54 pictures cannot be used"):
        opened(own, max_bad=0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"per_class": 0}, "found 0, expected all or a whole number from 1"),
        ({"per_class": "some"}, "found 'some', expected all"),
        ({"target": "fungal"}, "'bacterial' or 'viral'"),
        ({"split_rule": "names"}, "pneumonia has no other rule than quotas"),
    ],
)
def test_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PneumoniaConfig(**options)
