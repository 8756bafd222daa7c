"""`affectnet`: three layouts, numbers of images, the square around the face, bad tables."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_files import (
    EXPRESSIONS,
    write_affectnet,
    write_affectnet_arrays,
    write_affectnet_folders,
)

from studio.data.affectnet import AffectNet, AffectNetConfig
from studio.data.dataset import SPLITS
from studio.domains import DOMAINS
from studio.errors import StudioError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_affectnet(tmp_path_factory.mktemp("affectnet"))


@pytest.fixture
def own(files: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(files, tmp_path / "own"))


def opened(root: Path, **options: object) -> AffectNet:
    return AffectNet(AffectNetConfig(root=str(root), **options))


def fault(root: Path, **options: object) -> str:
    with pytest.raises(StudioError) as caught:
        opened(root, **options)
    return str(caught.value)


def annotations(root: Path) -> dict[str, list[str]]:
    """Returns the cells of every row by file, read without the loader."""
    found = {}
    for stem in ("training", "validation"):
        for line in (root / "Manually_Annotated_file_lists" / f"{stem}.csv").open():
            cells = [stem, *line.strip().split(",")]
            found[cells[1]] = cells
    return found


def test_tables_decide_set_split_and_labels(files: Path) -> None:
    data, rows = opened(files), annotations(files)
    for split, stem in zip(SPLITS, ("training", "validation"), strict=True):
        assert data.size(split, "background") == {"train": 4, "test": 2}[split]
        for name in data.item_names(split, "background"):
            assert (rows[name][0], rows[name][7]) == (stem, "0")
        labels = data.labels(split, "target")
        for i, name in enumerate(data.item_names(split, "target")):
            cells = rows[name]
            code = int(cells[7])
            assert cells[0] == stem
            assert labels["expression"][i] == code - 1
            assert labels[EXPRESSIONS[code]][i] == 1
            assert sum(labels[key][i] for key in EXPRESSIONS[1:]) == 1
            wanted = float(cells[8])
            assert labels["valence"][i] == wanted or (
                wanted == -2 and np.isnan(labels["valence"][i])
            )
    assert "background" not in data.labels("train", "background")
    notes = "\n".join(data.notes())
    assert "left out: 6 no face, 6 none, 6 uncertain" in notes
    assert "validation.csv has no header" in notes
    assert "4 training images of each expression are used instead of 5,000" in notes
    assert "the background has 4 training images instead of 28" in notes


def test_image_is_the_square_around_the_face(files: Path) -> None:
    data = opened(files)
    name = data.item_names("test", "target")[3]
    with Image.open(files / "Manually_Annotated_Images" / name) as picture:
        cut = picture.crop((10, 5, 100, 95)).resize((96, 96), Image.Resampling.BILINEAR)
    image = data.images("test", "target", [3])[0]
    wanted = torch.from_numpy(np.array(cut)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(image, wanted, atol=1e-6)
    centre = opened(files, crop="centre").images("test", "target", [3])[0]
    assert not torch.allclose(centre, image, atol=0.1)


@pytest.mark.parametrize("write", [write_affectnet_arrays, write_affectnet_folders])
def test_other_layouts_have_the_same_sets(tmp_path: Path, write: object) -> None:
    data = opened(write(tmp_path), resolution=16)
    for split in SPLITS:
        assert data.size(split, "background") >= 2
        counts = np.bincount(data.labels(split, "target")["expression"])
        assert counts.tolist() == [counts[0]] * 7
        assert {*data.labels(split, "target")["expression"][:7]} == set(range(7))
    if write is write_affectnet_arrays:
        labels = data.labels("train", "target")
        assert (labels["valence"] == 0.25).all()
        assert np.isnan(labels["arousal"]).all()


def test_folders_without_a_split_are_divided_alike_on_every_machine(tmp_path: Path) -> None:
    write_affectnet_folders(tmp_path, [""])
    for name in ("happy", "neutral"):
        (tmp_path / name).rename(tmp_path / {"happy": "1", "neutral": "Neutrality"}[name])
    options = {"resolution": 16, "target": ["happy", "sad"], "test_share": 0.4}
    one, again = opened(tmp_path, **options), opened(tmp_path, **options)
    for domain in DOMAINS:
        names = [set(one.item_names(split, domain)) for split in SPLITS]
        assert not names[0] & names[1]
        assert [one.item_names(s, domain) for s in SPLITS] == [
            again.item_names(s, domain) for s in SPLITS
        ]
    assert one.attributes["expression"].classes == ("happy", "sad")
    assert "happy" not in one.attributes  # two conditions need one attribute only


def test_per_class_and_conditions_can_be_chosen(files: Path) -> None:
    data = opened(
        files, per_class=2, target=["anger", "fear", "sad"], background=["neutral", "happy"]
    )
    assert np.bincount(data.labels("train", "target")["expression"]).tolist() == [2, 2, 2]
    assert data.size("train", "background") == 6
    assert opened(files, per_class="all").size("train", "target") == 28
    assert [*opened(files, each_condition=False).attributes] == ["expression", "valence", "arousal"]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_table_reads_alike_with_other_separators_order_and_mark(own: Path, separator: str) -> None:
    plain = opened(own)
    path = own / "Manually_Annotated_file_lists" / "training.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    marks = rows[0].index("facial_landmarks")
    lines = [separator.join(r[:marks][::-1] + r[marks + 1 :]) for r in rows]
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    again = opened(own)
    for domain in DOMAINS:
        assert again.item_names("train", domain) == plain.item_names("train", domain)
    assert torch.equal(again.images("train", "target", [5]), plain.images("train", "target", [5]))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",7,0.200,", ",7,nan,", "valence is 'nan', expected a number"),
        (",7,0.200", ",-3,0.200", "expression is -3, expected 0 to 10"),
        (",7,0.200", ",happy,0.200", "expression is 'happy', expected a number"),
        (",expression,", ",emotion,", "no column expression in the header"),
    ],
)
def test_odd_cells_are_errors(own: Path, old: str, new: str, words: str) -> None:
    path = own / "Manually_Annotated_file_lists" / "training.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert words in fault(own)


def test_table_that_is_cut_short_is_an_error(own: Path) -> None:
    path = own / "Manually_Annotated_file_lists" / "training.csv"
    path.write_text(path.read_text()[:-30])
    assert "perhaps the file is cut short" in fault(own)


def test_absent_and_repeated_images_are_noted_and_never_tested_and_trained(own: Path) -> None:
    lists = own / "Manually_Annotated_file_lists"
    train, test = (lists / f"{stem}.csv" for stem in ("training", "validation"))
    twice = next(line for line in train.read_text().splitlines() if ",1," in line)
    test.write_text(test.read_text() + twice + "\n")
    gone = opened(own).item_names("train", "background")[0]
    (own / "Manually_Annotated_Images" / gone).unlink()
    data = opened(own)
    notes = "\n".join(data.notes())
    assert f"1 listed images are not there as jpg or png and are left out: {gone}" in notes
    assert "1 rows name an image a second time" in notes
    assert twice.split(",")[0] in data.item_names("test", "target")
    assert twice.split(",")[0] not in data.item_names("train", "target")


def test_expression_without_images_is_an_error(files: Path, tmp_path: Path) -> None:
    write_affectnet_folders(tmp_path)
    shutil.rmtree(tmp_path / "val" / "contempt")
    message = fault(tmp_path)
    assert "no contempt images for the test split, found 6 neutral, 6 happy" in message
    assert "leave it out of data.target" in message
    assert opened(tmp_path, target=["sad", "fear"]).size("test", "target") == 12
    (tmp_path / "train" / "fear").rename(tmp_path / "train" / "fearr")
    assert "6 images in folders of no expression are left out: train/fearr" in fault(tmp_path)


def test_folder_of_something_else_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    message = fault(tmp_path)
    assert "no annotations and no folder of an expression, found cats; expected ROOT/" in message
    with pytest.raises(ValueError, match=r"found neutral, which data\.background has, too"):
        AffectNetConfig(target=["neutral", "sad"])
