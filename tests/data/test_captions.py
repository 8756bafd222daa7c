"""Names of images in pictures: files and subjects, or numbers where they are hidden or unknown."""

from pathlib import Path

import numpy as np
import pytest
from support.experiments import tiny
from support.folder_files import fill, noise, open_folders, write, write_table

from studio.build import build_dataset
from studio.data.captions import caption_images, hide_names, name_images, shorten
from studio.data.folders import Folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(tmp_path)
    write(tmp_path / "target" / "deep" / ("x" * 60 + "_T1w.png"), noise("long"))
    rows = [f"target/{i:03}.png,person {i // 2}" for i in range(20)]
    write_table(tmp_path, "\n".join(["file,subject", *rows]))
    return tmp_path


def every_caption(dataset: Folders, domain: str) -> dict[str, str]:
    """Returns the caption of each file of a domain."""
    found = {}
    for split in ("train", "test"):
        indices = np.arange(dataset.size(split, domain))
        files = name_images(dataset, split, domain, indices)
        found |= dict(zip(files, caption_images(dataset, split, domain, indices), strict=True))
    return found


def test_caption_images_names_the_file_and_the_subject(root: Path) -> None:
    dataset = open_folders(root)
    targets = every_caption(dataset, "target")
    assert targets["target/007.png"] == "target 007.png (person 3)"
    long = next(name for name in targets if "T1w" in name)
    assert targets[long].startswith("target deep/xxx")
    assert "…" in targets[long]
    assert targets[long].endswith("xxxxxx_T1w.png"), "its subject is the folder"
    assert every_caption(dataset, "background")["background/007.png"] == "background 007.png"


def test_caption_images_names_the_condition_unless_the_folder_does(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(8):
            write(tmp_path / "background" / name / f"{i}.png", noise(("background", name, i)))
            write(tmp_path / "target" / name / f"{name}{i}.png", noise((name, i)))
    dataset = open_folders(tmp_path, conditions=["a", "b"])
    assert every_caption(dataset, "target")["target/a/a3.png"] == "target a/a3.png"
    dataset.show_names = False
    kinds = dataset.labels("test", "target")["condition"]
    expected = [f"target [{'ab'[kind]}] {i}" for i, kind in enumerate(kinds)]
    assert caption_images(dataset, "test", "target", range(len(kinds))) == expected
    assert caption_images(dataset, "test", "background", [1]) == ["background 1"]


def test_caption_images_hides_names_when_the_config_says_so(root: Path) -> None:
    dataset = open_folders(root, show_names=False)
    assert caption_images(dataset, "test", "target", [0, 2]) == ["target 0", "target 2"]
    assert name_images(dataset, "test", "target", np.array([1])) == ["target 1"]


def test_caption_images_counts_images_of_a_data_set_without_files() -> None:
    assert caption_images(build_dataset(tiny()), "test", "target", [271]) == ["target 271"]


def test_hide_names_drops_the_names_of_files_and_subjects(root: Path) -> None:
    (root / "target" / "broken.png").write_text("no picture")
    dataset = open_folders(root)
    notes = dataset.notes()
    assert any("broken.png" in note for note in notes)
    assert hide_names(dataset, notes) == notes
    dataset.show_names = False
    hidden = hide_names(dataset, [*notes, "subjects with most files: person 3, person 4"])
    assert "broken" not in "".join(hidden)
    assert hidden[-1] == "subjects with most files"
    assert len(hidden) == len(notes) + 1


def test_shorten_keeps_both_ends_of_a_long_name() -> None:
    assert shorten("a" * 28) == "a" * 28
    assert shorten("sub-01" + "a" * 60 + "T1w.png").startswith("sub-01")
    assert shorten("sub-01" + "a" * 60 + "T1w.png").endswith("T1w.png")
