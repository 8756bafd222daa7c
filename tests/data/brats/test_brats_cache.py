"""BraTS: the cache of slices."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from support.brats_files import everything, head, open_brats, values_with_nan, write_patient

from studio.data.brats import cache, dataset
from studio.data.brats.preprocess import CuttingOptions
from studio.data.brats.scans import Scans
from studio.errors import StudioError


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the patients whose volumes are read."""
    names: list[str] = []

    def counted(root: Path, scans: Scans, cutting: CuttingOptions) -> cache.PatientSlices:
        names.append(Path(scans.files["seg"]).parent.name)
        return real(root, scans, cutting)

    real = dataset.cut_patient
    monkeypatch.setattr(dataset, "cut_patient", counted)
    return names


def test_cache_reads_volumes_again_only_when_files_or_options_change(
    root: Path, reads: list[str]
) -> None:
    data = open_brats(root)
    first = everything(data)
    assert sorted(reads) == [f"BraTS2021_{number:05}" for number in range(30)]
    reads.clear()
    again = everything(open_brats(root, min_tumour=0.1, test_share=0.2))
    assert all(np.array_equal(first[place], again[place]) for place in first)
    open_brats(root, min_tumour=0.02)  # needs no volumes
    assert reads == []
    write_patient(root / "BraTS2021_00003", t1=head(99))
    changed = everything(open_brats(root))
    assert reads == ["BraTS2021_00003"]
    split = data.derived()["split"]["BraTS2021_00003"]
    assert not np.array_equal(first[split, "target"], changed[split, "target"])
    reads.clear()
    stamp = (root / "BraTS2021_00005" / "BraTS2021_00005_seg.nii.gz").stat()
    os.utime(root / "BraTS2021_00005" / "BraTS2021_00005_seg.nii.gz", ns=(0, stamp.st_mtime_ns + 1))
    open_brats(root)
    assert reads == ["BraTS2021_00005"]
    for fields in ({"resolution": 32}, {"percentiles": (1, 99)}, {"crop": 20}, {"slices": (3, 7)}):
        reads.clear()
        open_brats(root, **fields)
        assert len(reads) == 30, fields


def test_cache_is_rewritten_when_damaged_or_of_another_version(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = everything(open_brats(root))
    files = sorted((root / ".studio-cache").rglob("*.safetensors"))
    assert len(files) == 30
    reads.clear()
    files[0].write_bytes(files[0].read_bytes()[:-100])
    files[1].write_bytes(b"something else")
    files[2].unlink()
    again = everything(open_brats(root))
    assert len(reads) == 3
    assert all(np.array_equal(first[place], again[place]) for place in first)
    reads.clear()
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    open_brats(root)
    assert len(reads) == 30
    # The new files replace the old ones.
    assert len(sorted((root / ".studio-cache").rglob("*.safetensors"))) == 30
    with safe_open(files[0], "numpy") as file:
        assert json.loads(file.metadata()["version"]) == cache.VERSION


@pytest.mark.parametrize("memory_gb", [0.0, 2.0])
def test_images_raise_when_the_cache_changes_after_opening(root: Path, memory_gb: float) -> None:
    data, kept = open_brats(root, memory_gb=memory_gb), open_brats(root)
    expected = everything(kept)
    for place, images in everything(open_brats(root, memory_gb=memory_gb)).items():
        assert np.array_equal(images, expected[place])
    for number in range(30):
        write_patient(root / f"BraTS2021_{number:05}", t1=head(number + 50))
    open_brats(root)
    with pytest.raises(StudioError, match="has changed or gone since the data set was opened"):
        data.images("train", "target", [0])
    assert all(
        np.array_equal(images, expected[place]) for place, images in everything(kept).items()
    )


def test_cache_retries_refused_files_but_not_damaged_ones(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_patient(root / "BraTS2021_00003", t1=values_with_nan())
    locked, open_file = root / "BraTS2021_00007" / "BraTS2021_00007_seg.nii.gz", Path.open

    def refusing(path: Path, *args: object) -> object:
        if path == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_file(path, *args)

    with monkeypatch.context() as patch:
        # Not by file permissions, because they do not apply to root.
        patch.setattr(Path, "open", refusing)
        for expected in (30, 1):
            reads.clear()
            data = open_brats(root, max_bad=0.1)
            assert len(reads) == expected
            assert (
                dict(data.quarantined)["BraTS2021_00007"]
                == f"{locked.name} cannot be read: Permission denied"
            )
    reads.clear()
    assert [name for name, _ in open_brats(root, max_bad=0.1).quarantined] == ["BraTS2021_00003"]
    assert reads == ["BraTS2021_00007"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_cache_files_have_the_permissions_of_their_folder(
    root: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        open_brats(root)
    finally:
        os.umask(before)
    files = [path for path in (root / ".studio-cache").rglob("*") if path.is_file()]
    assert len(files) == 31  # 30 patients and the lock
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}


def test_cache_folder_comes_from_config_environment_or_root(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    open_brats(root)
    assert f"reading 30 patients once into {root / '.studio-cache'}" in capsys.readouterr().err
    monkeypatch.setenv("STUDIO_CACHE", str(tmp_path / "environment"))
    open_brats(root)
    assert list((tmp_path / "environment").glob("brats-*/*.safetensors"))
    data = open_brats(root, cache=str(tmp_path / "given"))
    assert list((tmp_path / "given").glob("brats-*/*.safetensors"))
    assert any(str(tmp_path / "given") in note for note in data.notes())
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StudioError, match=r"file.*cannot be written.*set data.cache or STUDIO_CACHE"
    ):
        open_brats(root, cache=str(tmp_path / "file"))


def _open(root: str, place: str, queue: object) -> None:
    data = open_brats(Path(root), cache=place)
    queue.put([float(images.sum()) for images in everything(data).values()])


def test_cache_reads_every_patient_once_with_several_processes(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [
        context.Process(target=_open, args=(str(root), str(tmp_path / "shared"), queue))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    sums = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert (
        sums[0]
        == sums[1]
        == sums[2]
        == [float(images.sum()) for images in everything(open_brats(root)).values()]
    )
    said = capfd.readouterr().err
    assert said.count(f"reading 30 patients once into {tmp_path / 'shared'}") == 1
    assert not list((tmp_path / "shared").rglob(f"{cache.WRITING}*"))
