"""Folders: splits by subject, the order of items, and images beyond memory."""

import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from support.folder_files import (
    DOMAINS,
    SPLITS,
    fill,
    image,
    item_names,
    items,
    noise,
    open_folders,
    sides,
    write,
    write_table,
)

from studio.data import PairStream
from studio.data.io.images import read_image
from studio.data.splits import split_of
from studio.errors import StudioError


def test_folders_put_every_image_into_exactly_one_split(tmp_path: Path) -> None:
    dataset = open_folders(fill(tmp_path, n=30))
    every = [
        name
        for split in SPLITS
        for domain in DOMAINS
        for name in item_names(dataset, split, domain)
    ]
    assert sorted(every) == sorted(f"{domain}/{i:03}.png" for domain in DOMAINS for i in range(30))
    for split in SPLITS:
        assert all(
            name.startswith(domain)
            for domain in DOMAINS
            for name in item_names(dataset, split, domain)
        )
    seen = [image(dataset, *item).numpy().tobytes() for item in items(dataset)]
    assert len(set(seen)) == 60


def test_folders_give_the_same_items_when_opened_twice(tmp_path: Path) -> None:
    fill(tmp_path)
    first, second = open_folders(tmp_path), pickle.loads(pickle.dumps(open_folders(tmp_path)))
    for split, domain, i in items(first):
        assert torch.equal(image(first, split, domain, i), image(second, split, domain, i))
    indices = np.array([3, 0, 3])
    expected = torch.stack([image(first, "train", "target", i) for i in indices])
    assert torch.equal(first.images("train", "target", indices), expected)
    assert first.images("train", "target", []).shape == (0, 1, 8, 8)


def test_folders_keep_splits_when_images_are_added(tmp_path: Path) -> None:
    before = sides(open_folders(fill(tmp_path)))
    for i in range(30):
        write(tmp_path / f"target/000_{i}.png", noise(("new", i)))
        write(tmp_path / f"background/a/{i}.png", noise(("more", i)))
    after = sides(open_folders(tmp_path))
    assert len(after) == 100
    assert {name: after[name] for name in before} == before


def test_split_of_is_the_same_on_every_machine() -> None:
    assert [i for i in range(12) if split_of(f"s{i}", 0.2) == "test"] == [
        7,
        9,
    ]  # another answer would move all images
    assert split_of("caf\u00e9.png", 0.5) == split_of("cafe\u0301.png", 0.5)


def test_split_of_only_adds_to_test_for_a_larger_share() -> None:
    for subject in map(str, range(300)):
        found = [split_of(subject, share) for share in np.linspace(0.01, 0.99, 25)]
        assert found == sorted(found, reverse=True)  # train, then test
    assert {split_of(str(i), 0.5) for i in range(300)} == {"train", "test"}


def test_split_of_meets_the_requested_share() -> None:
    assert 0.27 < np.mean([split_of(f"subject {i}", 0.3) == "test" for i in range(2000)]) < 0.33


def test_folders_put_no_subject_into_both_splits(tmp_path: Path) -> None:
    fill(tmp_path, n=60)
    rows = [f"{domain}/{i:03}.png,p{i // 3}" for domain in DOMAINS for i in range(60)]
    write_table(tmp_path, "file,subject\n" + "\n".join(rows))
    where = {}
    for name, split in sides(open_folders(tmp_path)).items():
        where.setdefault(int(name[-7:-4]) // 3, set()).add(split)
    assert len(where) == 20
    assert all(len(splits) == 1 for splits in where.values())
    assert {split for splits in where.values() for split in splits} == {"train", "test"}


def test_folders_apply_a_stated_split_to_the_whole_subject(tmp_path: Path) -> None:
    fill(tmp_path)
    before = sides(open_folders(tmp_path))
    write_table(
        tmp_path,
        "file,split,subject\n"
        "target/000.png,Test,p0\n"
        "background/000.png,,p0\n"
        "target/001.png,train,\n"
        "background/001.png,test,\n",
    )
    dataset = open_folders(tmp_path)
    stated = dict.fromkeys(("target/000.png", "background/000.png", "background/001.png"), "test")
    found = sides(dataset)
    assert {name: found[name] for name in stated} == stated
    assert found["target/001.png"] == "train"
    assert sum(found[name] != before[name] for name in found) <= 6
    assert any(
        note.startswith("split: 3 files as attributes.csv says, 1 files by subject, 36 files by")
        for note in dataset.notes()
    )


def test_folders_name_a_subject_stated_in_both_splits(tmp_path: Path) -> None:
    fill(tmp_path)
    write_table(tmp_path, "file,split,subject\ntarget/000.png,train,Ann\ntarget/001.png,test,Ann\n")
    with pytest.raises(StudioError, match=r"subject 'Ann' is in both splits, see target/001\.png"):
        open_folders(tmp_path)


def test_folders_keep_identical_images_in_one_split(tmp_path: Path) -> None:
    fill(tmp_path)
    where = sides(open_folders(tmp_path))
    train, test = (
        next(name for name in where if name < "t" and where[name] == split) for split in SPLITS
    )
    (tmp_path / test).write_bytes((tmp_path / train).read_bytes())
    (tmp_path / "target/000.png").write_bytes((tmp_path / "background/010.png").read_bytes())
    dataset = open_folders(tmp_path)
    found, notes = sides(dataset), "\n".join(dataset.notes())
    assert found[train] == found[test]
    assert found["target/000.png"] == found["background/010.png"]
    assert "subjects share an image, so they are in the same split" in notes
    assert "1 images are in both folders: background/010.png = target/000.png" in notes


def test_folders_leave_out_training_copies_when_the_table_puts_them_apart(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "target/001.png").write_bytes((tmp_path / "target/000.png").read_bytes())
    rows = [
        f"{domain}/{i:03}.png,{'test' if i % 4 == 1 else 'train'}"
        for domain in DOMAINS
        for i in range(20)
    ]
    write_table(tmp_path, "file,split\n" + "\n".join(rows))
    dataset = open_folders(tmp_path)
    assert sides(dataset)["target/001.png"] == "test"
    assert "target/000.png" not in sides(dataset)
    assert len(items(dataset)) == 39
    assert any("1 training images are also in the test split" in n for n in dataset.notes())


def test_pair_stream_gives_equal_halves_for_unequal_folders(tmp_path: Path) -> None:
    fill(tmp_path)
    for i in range(100):
        write(tmp_path / f"target/more{i}.png", noise(i))
    pair = PairStream(open_folders(tmp_path), half=16, seed=0)[3]
    assert pair.x.shape == pair.y.shape == (16, 1, 8, 8)


@pytest.mark.parametrize("suffix", [".png", ".npy", ".jpg"])
@pytest.mark.parametrize("memory_gb", [0.0, 1e-6])
def test_images_are_the_same_beyond_memory(tmp_path: Path, suffix: str, memory_gb: float) -> None:
    def make(key: object) -> np.ndarray:
        shape = (20, 30, 3) if suffix == ".jpg" else (20, 30)
        return noise(key, shape, dtype=np.float32 if suffix == ".npy" else np.uint8)

    fill(tmp_path, n=12, suffix=suffix, make=make)
    kept, again = open_folders(tmp_path), open_folders(tmp_path, memory_gb=memory_gb)
    assert any("read again when needed" in note for note in again.notes())
    assert not any("read again when needed" in note for note in kept.notes())
    for item in items(kept):
        assert torch.equal(image(kept, *item), image(again, *item))


def test_images_read_only_requested_files_beyond_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_folders(fill(tmp_path), memory_gb=0.0)
    read: list[str] = []
    monkeypatch.setattr(
        "studio.data.io.images.read_image",
        lambda path, *args, **more: (read.append(path.name), read_image(path, *args, **more))[1],
    )
    dataset.images("train", "target", [2, 5])
    assert read == [Path(item_names(dataset, "train", "target")[i]).name for i in (2, 5)]


def test_folders_verify_a_compressed_volume_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for i in range(20):
            nibabel.save(
                nibabel.Nifti1Image(noise((domain, i), (8, 8, 4)), np.eye(4)),
                tmp_path / domain / f"{i:03}.nii.gz",
            )
    looked: list[Path] = []
    monkeypatch.setattr("studio.data.io.images.verify_gzip", looked.append)
    dataset = open_folders(tmp_path, memory_gb=0.0)
    assert sorted(looked) == sorted(tmp_path.rglob("*.nii.gz"))
    dataset.images("train", "target", [2, 5])
    assert len(looked) == 40


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_images_name_a_file_that_changed_after_opening(tmp_path: Path, change: str) -> None:
    dataset = open_folders(fill(tmp_path), memory_gb=0.0)
    path = tmp_path / item_names(dataset, "train", "target")[1]
    if change == "removed":
        path.unlink()
    else:
        write(path, noise("new", (8, 9)))
    with pytest.raises(StudioError, match=rf"{path.name}: .* since the data set was opened"):
        dataset.images("train", "target", [0, 1])
    assert dataset.images("train", "target", [0]).isfinite().all()
