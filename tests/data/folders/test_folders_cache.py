"""The cache of decoded images: the same data set as without it, and nothing decoded in vain."""

import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from support.folder_files import fill, items, noise, open_folders, write

from studio.data import folders_cache
from studio.data.folders import Folders
from studio.data.io import images

ROOT = Path("photos")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Caches every data set, and lists the files that are decoded."""
    names: list[str] = []
    read = images.read_image

    def observe(path: Path, *args: Any, **options: Any) -> images.Picture:
        names.append(path.name)
        return read(path, *args, **options)

    monkeypatch.setattr(folders_cache, "SLOW", 0.0)
    monkeypatch.setattr(images, "read_image", observe)
    return names


def content(dataset: Folders) -> dict[str, Any]:
    """Returns everything that a data set says about itself."""
    return {
        "images": [dataset.images(s, d, [i]) for s, d, i in items(dataset)],
        "notes": dataset.notes(),
        "derived": dataset.derived(),
        "items": dataset.fingerprint().items,
        "names": dataset.item_names("train", "target"),
        "quarantined": dataset.quarantined,
        "shape": dataset.shape,
    }


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert len(first["images"]) == len(second["images"]) > 0
    for one, other in zip(first.pop("images"), second.pop("images"), strict=True):
        assert torch.equal(one, other)
    assert first == second


def save_volume(root: Path) -> None:
    for domain in ("background", "target"):
        for i in range(20):
            path = root / domain / f"{i:02}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = noise((domain, i), (9, 10, 11), 900, np.int16)
            nibabel.Nifti1Image(values, np.diag([1, 1, 2, 1])).to_filename(path)


def fill_mixed(root: Path) -> None:
    """Gray images, gray ones saved as RGB, transparent ones, and one file that is broken."""
    fill(root, 18)
    for domain in ("background", "target"):
        gray = noise(domain)
        write(root / domain / "rgb.png", np.stack([gray] * 3, -1))
        write(root / domain / "alpha.png", np.stack([gray, gray // 2 + 99], -1))
    write(root / "target" / "broken.png", noise("broken"))
    (root / "target" / "broken.png").write_bytes(b"not a picture")


@pytest.mark.parametrize(
    "make",
    [
        fill_mixed,
        save_volume,
        lambda root: fill(root, suffix=".npy", make=lambda key: noise(key, high=99, dtype=float)),
    ],
    ids=["pictures", "volumes", "numbers"],
)
@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_second_opening_decodes_nothing_and_finds_the_same(
    decoded: list[str], monkeypatch: pytest.MonkeyPatch, make: Any, memory_gb: float
) -> None:
    make(ROOT)
    monkeypatch.setattr(folders_cache, "SLOW", 1e9)
    without = content(open_folders(ROOT))
    assert not (ROOT / ".studio-cache").exists()
    monkeypatch.setattr(folders_cache, "SLOW", 0.0)
    assert_same(dict(without), content(open_folders(ROOT, memory_gb=memory_gb)))
    decoded.clear()
    again = open_folders(ROOT, memory_gb=memory_gb)
    assert_same(dict(without), content(again))
    # A file that cannot be used is tried again, because the reason may have gone.
    assert set(decoded) <= {"broken.png"}


def test_changed_and_new_files_are_decoded_again_and_no_others(decoded: list[str]) -> None:
    fill(ROOT)
    before = content(open_folders(ROOT))
    for former in ROOT.rglob("pixels-*.bin"):
        os.utime(former, (0, 0))
    write(ROOT / "target" / "007.png", noise("another"))
    write(ROOT / "background" / "new.png", noise("new"))
    (ROOT / "background" / "003.png").unlink()
    decoded.clear()
    after = content(open_folders(ROOT))
    assert sorted(decoded) == ["007.png", "new.png"]
    changed = {n for n in before["items"] if before["items"][n] != after["items"].get(n)}
    assert changed == {"target/007.png", "background/003.png"}
    assert len(list(ROOT.rglob("pixels-*.bin"))) == 1  # that of the former state is gone


@pytest.mark.parametrize(
    "fields",
    [
        {"resolution": 16},
        {"normalise": "per_image"},
        {"channels": 3},
        {"window": (0, 99)},
    ],
)
def test_other_options_do_not_take_the_same_pixels(
    decoded: list[str], fields: dict[str, Any]
) -> None:
    fill(ROOT)
    first = open_folders(ROOT).images("train", "target", [0])
    decoded.clear()
    other = open_folders(ROOT, **fields).images("train", "target", [0])
    assert len(decoded) == 40
    assert other.shape != first.shape or not torch.equal(first, other)


def test_selections_of_files_do_not_replace_each_other(decoded: list[str]) -> None:
    fill(ROOT)
    for _ in range(2):
        for pattern in ("00*.png", "01*.png"):
            open_folders(ROOT, files=pattern)
    assert len(decoded) == 40  # each file once


def test_set_beyond_memory_is_not_kept_when_the_cache_cannot_be_written(
    decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ROOT)
    Path("file").touch()
    kept = []
    drop = folders_cache._drop_beyond

    def observe(memory: float, found: dict[str, Any]) -> dict[str, Any]:
        kept.append(sum(item.pixels.nbytes for item in found.values()))
        return drop(memory, found)

    monkeypatch.setattr(folders_cache, "_drop_beyond", observe)
    dataset = open_folders(ROOT, cache="file", memory_gb=200e-9)
    assert 0 < kept[0] <= 200
    assert dataset.images("train", "target", [0]).shape == (1, 1, 8, 8)


def test_index_that_cannot_be_written_leaves_no_pixels(
    decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ROOT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders_cache, "write_text", full)
    assert open_folders(ROOT).size("train", "target") > 0
    assert not list(ROOT.rglob("pixels-*.bin"))


def test_set_that_decodes_fast_leaves_no_files() -> None:
    fill(ROOT)
    open_folders(ROOT)
    assert {path.name for path in ROOT.iterdir()} == {"background", "target"}


def damage_index(folder: Path) -> None:
    (folder / "index.json").write_text("{}")


def cut_pixels(folder: Path) -> None:
    (path,) = folder.glob("pixels-*.bin")
    path.write_bytes(path.read_bytes()[:-1])


def remove_pixels(folder: Path) -> None:
    (path,) = folder.glob("pixels-*.bin")
    path.unlink()


def lose_a_field(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    del index["items"]["target/000.png"]["span"]
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("harm", [damage_index, cut_pixels, remove_pixels, lose_a_field])
def test_damaged_cache_is_written_again(decoded: list[str], harm: Any) -> None:
    fill(ROOT)
    before = content(open_folders(ROOT))
    (folder,) = (ROOT / ".studio-cache").iterdir()
    harm(folder)
    decoded.clear()
    assert_same(before, content(open_folders(ROOT)))
    assert len(decoded) == 40
    decoded.clear()
    open_folders(ROOT)
    assert decoded == []


def test_cache_that_cannot_be_written_is_a_warning(
    decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(ROOT)
    Path("file").touch()
    dataset = open_folders(ROOT, cache="file")
    assert dataset.size("train", "target") > 0
    assert dataset.images("train", "target", [0]).shape == (1, 1, 8, 8)
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert "cannot be written" in said
    assert "set data.cache or STUDIO_CACHE to another folder" in said
    assert len(decoded) == 40


def test_place_of_the_cache_is_the_field_the_variable_or_the_root(
    decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ROOT)
    monkeypatch.setenv("STUDIO_CACHE", "from variable")
    open_folders(ROOT)
    assert list(Path("from variable").glob("folders-*/index.json"))
    open_folders(ROOT, cache="from field")
    assert list(Path("from field").glob("folders-*/index.json"))
    assert not (ROOT / ".studio-cache").exists()
    assert len(decoded) == 80


def test_two_openings_at_once_decode_once(decoded: list[str]) -> None:
    fill(ROOT)
    cache_folder = Path("cache")
    first = open_folders(ROOT, cache=str(cache_folder))
    decoded.clear()
    (folder,) = cache_folder.iterdir()
    aside = folder.with_name("aside")
    aside.mkdir()
    for path in folder.iterdir():
        os.rename(path, aside / path.name)

    class Late(folders_cache.ItemCache):
        """Its index appears while this process waits for the lock."""

        loads = 0

        def load(self, *args: Any) -> dict[str, Any]:
            Late.loads += 1
            if Late.loads == 2:
                for path in aside.iterdir():
                    os.rename(path, folder / path.name)
            return super().load(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studio.data.folders.ItemCache", Late)
        second = open_folders(ROOT, cache=str(cache_folder))
    assert decoded == []
    assert_same(content(first), content(second))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (np.uint8, {}),
        (np.int16, {}),
        (np.int16, {"normalise": "window"}),
        (np.int16, {"normalise": "range"}),
        (np.uint8, {"window": (10, 99)}),
        (np.int16, {"normalise": "per_image"}),
    ],
)
def test_run_that_is_opened_again_decodes_nothing(
    kind: type, fields: dict[str, Any], decoded: list[str]
) -> None:
    """The rule of intensity that the run has stored asks for the same pixels."""
    fill(ROOT, 18, ".npy", lambda key: noise(key, dtype=kind))
    first = open_folders(ROOT, **fields)
    assert len(decoded) == 36
    decoded.clear()
    again = Folders(first.config, first.derived())
    assert decoded == []
    assert_same(content(again), content(first))
