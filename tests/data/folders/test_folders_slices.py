"""Several slices of the volumes of `folders`, and images that are padded or squashed."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.dicom_files import write_series

from studio.config import resolve
from studio.data import folders_cache
from studio.data.dataset import SPLITS
from studio.data.folders import Folders
from studio.data.folders_config import FoldersConfig
from studio.domains import DOMAINS
from studio.errors import StudioError

DEPTH = 6


def volume(key: int) -> np.ndarray:
    """Returns (8, 8, DEPTH) with an empty first slice."""
    values = np.random.default_rng(key).integers(1, 1000, (8, 8, DEPTH)).astype(np.int16)
    values[..., 0] = 0
    return values


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six volumes in each set, NIfTI or npy, and a table."""
    rows = ["file,subject,site"]
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for i in range(6):
            values = volume(i + 100 * (domain == "target"))
            name = f"{domain}/{i}_{domain}.{'npy' if i % 2 else 'nii.gz'}"
            if i % 2:
                np.save(tmp_path / name, values)
            else:
                nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name)
            rows.append(f"{name},{domain}{i // 2},{'AB'[i % 2]}")
    (tmp_path / "attributes.csv").write_text("\n".join(rows))
    return tmp_path


def opened(root: Path, **fields: Any) -> Folders:
    fields = {"resolution": 8, "attributes": {"site": "common"}, "normalise": "window", **fields}
    return Folders(FoldersConfig(name="folders", root=str(root), **fields))


def names(data: Folders) -> list[str]:
    return sorted(n for s in SPLITS for d in DOMAINS for n in data.item_names(s, d))


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [("all", range(1, 6)), ([2, 4], range(2, 5)), ([1, 99, 2], (1, 3, 5)), (3, None)],
)
def test_slices_are_images_of_the_subject_of_their_volume(
    chosen: Any, numbers: Any, root: Path
) -> None:
    data = opened(root, slice=chosen)
    if numbers is None:
        assert len(names(data)) == 12
        return
    found = names(data)
    assert found[: len(numbers)] == [f"background/0_background.nii.gz#{n:03}" for n in numbers]
    assert len(found) == 12 * len(numbers)
    sides: dict[str, set[str]] = {}
    for split in SPLITS:
        for domain in DOMAINS:
            items, subjects = data.item_names(split, domain), data.item_subjects(split, domain)
            for name, subject in zip(items, subjects, strict=True):
                assert subject == f"{domain}{int(name.split('/')[1][0]) // 2}"
                sides.setdefault(subject, set()).add(split)
            sites = data.labels(split, domain)["site"]
            assert [*sites] == [int(name.split("/")[1][0]) % 2 for name in items]
    assert all(len(side) == 1 for side in sides.values())
    assert len(data.fingerprint().items) == len(found)


def test_slices_have_the_pixels_of_the_slice(root: Path) -> None:
    data, single = (
        opened(root, slice="all", window=[0, 1000]),
        opened(root, slice=4, window=[0, 1000]),
    )
    for split in SPLITS:
        items = data.item_names(split, "target")
        for name in single.item_names(split, "target"):
            place = items.index(f"{name}#004")
            np.testing.assert_array_equal(
                data.images(split, "target", [place]),
                single.images(split, "target", [single.item_names(split, "target").index(name)]),
            )


def test_slices_without_content_are_left_out_and_noted(root: Path) -> None:
    notes = opened(root, slice="all", max_bad=0).notes()
    assert (
        "72 slices of 12 volumes are images of their own, and each volume is of one subject; "
        "12 of them are empty and left out"
    ) in notes
    assert not any("set aside" in note or "data.slice has no effect" in note for note in notes)


def test_slices_are_set_aside_with_a_short_or_broken_volume(root: Path) -> None:
    np.save(root / "target/x.npy", volume(7)[..., :5])
    (root / "target/y.nii.gz").write_bytes(b"broken")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(root / "target/z.png")
    data = opened(root, slice=[5, 5], max_bad=0.5, window=[0, 1000])
    reasons = dict(data.quarantined)
    assert reasons["target/x.npy"] == "has 5 slices, but data.slice begins at 5"
    assert "cannot be" in reasons["target/y.nii.gz"]
    assert "target/z.png" in names(data)


@pytest.mark.parametrize("memory", [1.0, 1e-9])
def test_slices_come_from_the_cache_until_their_file_changes(
    root: Path, memory: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders_cache, "SLOW", 0.0)
    first = opened(root, slice="all", memory_gb=memory)
    before = first.images("train", "background", range(first.size("train", "background")))
    reads: list[str] = []
    read = Folders._read_volume
    monkeypatch.setattr(
        Folders, "_read_volume", lambda self, file: reads.append(file) or read(self, file)
    )
    again = opened(root, slice="all", memory_gb=memory)
    after = again.images("train", "background", range(again.size("train", "background")))
    np.testing.assert_array_equal(before, after)
    kept = set(reads)  # volumes with an empty slice, because reasons are not stored
    np.save(root / "target/1_target.npy", volume(55))
    reads.clear()
    opened(root, slice="all", memory_gb=memory)
    assert "target/1_target.npy" in reads
    assert max(map(reads.count, reads)) <= 2
    assert kept <= {name.partition("#")[0] for name in names(first)}


def test_splits_of_a_run_are_kept_for_slices(root: Path) -> None:
    data = opened(root, slice="all")
    derived = data.derived()
    assert set(derived["split"]) == {name.partition("#")[0] for name in names(data)}
    (root / "target/1_target.npy").unlink()
    config = FoldersConfig(name="folders", root=str(root), resolution=8, slice="all")
    again = Folders(config, derived)
    for split in SPLITS:
        files = {name.partition("#")[0] for name in again.item_names(split, "target")}
        assert all(derived["split"][file] == split for file in files)


@pytest.mark.parametrize(
    "chosen", ["each", [], [3], [4, 2], [0, 9, 0], [1, 2, 3, 4], [-1, 2], [1.0, 2], -1]
)
def test_config_refuses_slices_that_are_none(chosen: Any) -> None:
    with pytest.raises(ValueError, match="expected middle, all, a number from 0, or"):
        FoldersConfig(name="folders", root=".", slice=chosen)


def test_series_of_dicom_are_volumes_of_folders(tmp_path: Path) -> None:
    for domain in DOMAINS:
        for i in range(3):
            values = volume(i + 50 * (domain == "target")).T
            write_series(tmp_path / domain / f"p{domain}{i}/t1", values, Modality="MR")
    data = opened(tmp_path, slice=[1, 5], attributes={})
    assert names(data)[:2] == ["background/pbackground0/t1#001", "background/pbackground0/t1#002"]
    assert len(names(data)) == 30
    assert set(data.item_subjects("train", "target")) < {f"ptarget{i}" for i in range(3)}
    middle = opened(tmp_path, attributes={}, fit="pad")
    assert len(names(middle)) == 6
    assert any(note.startswith("6 folders with a series of DICOM") for note in middle.notes())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("crop", "not square: only their centre is used (data.fit: pad or squash uses all)"),
        ("pad", "not square: they are padded to squares"),
        ("squash", "not square: their sides are resized to squares"),
    ],
)
def test_fit_decides_how_images_become_square(how: str, words: str, tmp_path: Path) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for i in range(5):
            values = np.random.default_rng(i + 9 * (domain == "target")).integers(50, 200, (8, 16))
            values[:, [0, -1]] = 0
            values[[0, -1], :9] = 0  # so that 0 fills most of the border
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / domain / f"{domain}{i}.png")
    data = opened(tmp_path, fit=how, resolution=16, attributes={}, normalise="auto")
    assert any(note.endswith(words) for note in data.notes()), data.notes()
    pixels = np.asarray(data.images("train", "target", [0]))[0, 0]
    empty = (pixels == -1).all(1)
    assert [*np.flatnonzero(empty)] == ([*range(4), *range(12, 16)] if how == "pad" else [])
    with pytest.raises(StudioError, match="crop"):
        resolve({"data": {"name": "folders", "root": ".", "fit": "padd"}}, "a", "a")
