"""Folders: the layout, file names, links and options."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydantic import ValidationError
from support.folder_files import DOMAINS, fill, items, noise, open_folders, shown, sides, write

from studio.data import DATASETS
from studio.data.folders import Folders, FoldersConfig
from studio.errors import StudioError


def test_datasets_register_folders() -> None:
    assert DATASETS["folders"] is Folders


def test_config_names_the_field_and_the_layout_without_a_root() -> None:
    with pytest.raises(ValidationError, match=r"root\n.*ROOT/background/.*ROOT/target/") as error:
        FoldersConfig(resolution=8)
    assert error.value.errors()[0]["loc"] == ("root",)


def test_folders_refuse_a_root_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        StudioError, match=r"data\.root: no folder .*nowhere; expected ROOT/background"
    ):
        open_folders(tmp_path / "nowhere")


@pytest.mark.parametrize("missing", DOMAINS)
def test_folders_name_a_missing_domain_folder(tmp_path: Path, missing: str) -> None:
    fill(tmp_path)
    (tmp_path / missing).rename(tmp_path / "healthy")
    with pytest.raises(StudioError, match=f"no folder {missing}/, found .*healthy"):
        open_folders(tmp_path)


@pytest.mark.parametrize("empty", DOMAINS)
def test_folders_refuse_a_domain_without_images(tmp_path: Path, empty: str) -> None:
    fill(tmp_path)
    for path in (tmp_path / empty).iterdir():
        path.rename(path.with_suffix(".gif"))
    with pytest.raises(
        StudioError,
        match=rf"{empty}: no images; expected .*png, jpg, tif, webp, bmp, npy, dcm, nrrd, mha, nii",
    ):
        open_folders(tmp_path)


def test_folders_name_the_options_when_a_split_is_empty(tmp_path: Path) -> None:
    fill(tmp_path, n=1)
    with pytest.raises(
        StudioError, match=r"none of the 1 images of \w+/ is in the \w+ split.*data\.test_share"
    ):
        open_folders(tmp_path)


def test_folders_find_nested_files_with_capitals_spaces_and_accents(tmp_path: Path) -> None:
    fill(tmp_path)
    given = [
        "target/a b/Größe 1.PNG",
        "target/x/y/z/é.JPeG",
        "target/deep/volume.NII.GZ",
        "target/deep/array.NPY",
    ]
    write(tmp_path / given[0], noise(0))
    write(tmp_path / given[1], noise(1))
    nibabel.save(nibabel.Nifti1Image(noise(2, (8, 8, 8)), np.eye(4)), tmp_path / "volume.nii.gz")
    (tmp_path / "target/deep").mkdir()
    (tmp_path / "volume.nii.gz").rename(tmp_path / given[2])
    write(tmp_path / "array.npy", noise(3)).rename(tmp_path / given[3])
    dataset = open_folders(tmp_path)
    assert set(given) < set(sides(dataset))
    assert not dataset.quarantined
    np.testing.assert_allclose(shown(dataset, given[0])[0], noise(0) / 127.5 - 1, atol=1e-6)


def test_folders_skip_hidden_files_and_note_other_files(tmp_path: Path) -> None:
    fill(tmp_path)
    write(tmp_path / "target/.hidden.png", noise(0))
    write(tmp_path / "target/.thumbnails/a.png", noise(0))
    (tmp_path / "target/notes.txt").write_text("x")
    dataset = open_folders(tmp_path)
    assert len(items(dataset)) == 40
    assert "1 other files are ignored: target/notes.txt" in dataset.notes()


def test_folders_ignore_and_note_an_unprintable_name(tmp_path: Path) -> None:
    fill(tmp_path)
    try:
        os.rename(tmp_path / "target/000.png", os.fsencode(tmp_path) + b"/target/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes item_names in UTF-8 only")
    dataset = open_folders(tmp_path)
    assert len(items(dataset)) == 39
    assert r"1 other files are ignored: target/caf\xe9.png" in dataset.notes()


def test_folders_follow_links_but_not_loops(tmp_path: Path) -> None:
    fill(tmp_path / "root")
    write(tmp_path / "elsewhere/far.png", noise("far"))
    (tmp_path / "root/target/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/target/loop").symlink_to(tmp_path / "root/target")
    (tmp_path / "root/background/self").symlink_to("self")
    dataset = open_folders(tmp_path / "root")
    assert len(items(dataset)) == 41
    assert "target/linked/far.png" in sides(dataset)
    assert any("target/loop/ (a link" in note for note in dataset.notes())
