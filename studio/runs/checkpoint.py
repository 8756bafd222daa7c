"""Checkpoints: directories that are written whole or not at all, with a hash of every file.

`checkpoints/NNNNNNNN/` (NNNNNNNN = images seen) contains `weights.safetensors`, `ema.safetensors`,
`training.pt` (the states of the optimisers and counters, which loads without running code) and
`manifest.json`, written last. A checkpoint is written next to `checkpoints/` and renamed into it
after all its files are on the disk, so every directory in `checkpoints/` is complete.

The manifest has a format number. A checkpoint in an older format is converted when it is read, one
format after the other (`MIGRATIONS`), and its files stay as they are. A newer format is refused.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.errors import NotDamagedError, StudioError, warn
from studio.runs.manifest import read_manifest, sha256, verify_files

__all__ = ["FORMAT", "Checkpoint", "discard_after", "every", "newest", "prune", "save"]

FORMAT = 2
WRITING = ".writing-"  # prefix of the folder in which a checkpoint is being written


@dataclass(frozen=True)
class Checkpoint:
    """A directory in `checkpoints/` whose manifest exists.

    Attributes:
        path: the directory.
        images_seen: real images seen by the training, which is the directory's number.
    """

    path: Path
    images_seen: int

    def verify(self) -> dict[str, Any]:
        """Compares every file with its hash and returns the manifest.

        Raises:
            StudioError: a file is missing or differs, or the format is unknown. The message names
                the file.
            NotDamagedError: a newer studio wrote it, or a file is a Git LFS pointer.
        """
        manifest = read_manifest(self.path / "manifest.json", "a checkpoint")
        version = manifest.get("format")
        if type(version) is int and version > FORMAT:
            raise NotDamagedError(
                f"{self.path}: written by a newer studio (format {version}, this one reads 1 to "
                f"{FORMAT}): update the studio"
            )
        if version not in (*MIGRATIONS, FORMAT):
            raise StudioError(
                f"{self.path}: written in format {version}, this studio reads formats 1 to {FORMAT}"
            )
        verify_files(self.path, manifest["files"])
        return manifest

    def is_intact(self) -> bool:
        """Returns whether every file exists and matches its hash."""
        try:
            self.verify()
        except StudioError:
            return False
        return True

    def mean(self, term: str) -> float:
        """Returns the mean of a term since the previous checkpoint, infinity if it is unknown."""
        try:
            return float(read_manifest(self.path / "manifest.json", "a checkpoint")["means"][term])
        except (StudioError, ValueError, KeyError, TypeError):
            return float("inf")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Returns the tensors of `weights` or `ema`."""
        return load_file(self.path / f"{name}.safetensors")

    def training(self) -> dict[str, Any]:
        """Returns the states of the optimisers and counters, in the current format."""
        state = torch.load(self.path / "training.pt", weights_only=True, map_location="cpu")
        for version in range(self.verify()["format"], FORMAT):
            state = MIGRATIONS[version](state)
        return state


def _from_1(state: dict[str, Any]) -> dict[str, Any]:
    """Converts format 1, which had neither micro-batches nor roll-backs."""
    return {"parts": 1, "rollbacks": 0, **state}


# Format -> function that converts its training state to that of the next format.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def every(run: Path) -> list[Checkpoint]:
    """Returns a run's checkpoints, oldest first. Other entries of the folder are ignored."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [
        path
        for path in folder.iterdir()
        if path.name.isdigit() and (path / "manifest.json").is_file()
    ]
    return sorted(
        (Checkpoint(path, int(path.name)) for path in found),
        key=lambda checkpoint: checkpoint.images_seen,
    )


def newest(run: Path, report: Callable[[str], object] | None = None) -> Checkpoint | None:
    """Returns the newest intact checkpoint, or None if there are no checkpoints.

    Args:
        run: the run's directory.
        report: called with a line for every damaged checkpoint.

    Raises:
        StudioError: checkpoints exist and every one is damaged.
        NotDamagedError: the newest one that is not damaged cannot be used, see `verify`. An older
            one is not taken instead, because a resumed training would delete the newer one.
    """
    faults = []
    for checkpoint in reversed(every(run)):
        try:
            checkpoint.verify()
        except NotDamagedError:
            raise
        except StudioError as error:
            faults.append(str(error))
            if report is not None:
                report(f"{error}; trying the previous one")
            continue
        return checkpoint
    if faults:
        raise StudioError(
            f"{run}: every checkpoint is damaged\n" + "\n".join(f"  {fault}" for fault in faults)
        )
    return None


def save(
    run: Path,
    images_seen: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    training: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> Checkpoint:
    """Writes a checkpoint, whole or not at all.

    Args:
        run: the run's directory.
        images_seen: real images seen, the number of the checkpoint.
        tensors: file name -> tensors, written as safetensors.
        training: the training's state, in plain containers and tensors.
        manifest: further entries of the manifest.

    Returns:
        the checkpoint. An intact one with this number is left unchanged.

    Raises:
        StudioError: the disk is full or not writable. Earlier checkpoints are unchanged.
    """
    final = run / "checkpoints" / f"{images_seen:08d}"
    if Checkpoint(final, images_seen).is_intact():
        return Checkpoint(final, images_seen)
    for leftover in run.glob(f"{WRITING}*"):  # from a save that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    folder = run / f"{WRITING}{images_seen:08d}-{os.getpid()}"
    try:
        folder.mkdir()
        for name, group in tensors.items():
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in group.items()},
                folder / f"{name}.safetensors",
            )
        torch.save(dict(training), folder / "training.pt")
        files = {file.name: sha256(file) for file in sorted(folder.iterdir())}
        head = {"format": FORMAT, "images_seen": images_seen, **manifest, "files": files}
        (folder / "manifest.json").write_text(json.dumps(head, indent=2) + "\n", encoding="utf-8")
        for file in folder.iterdir():
            _flush(file)
        _flush(folder)
        final.parent.mkdir(exist_ok=True)
        if final.exists():  # damaged, or only partly removed
            shutil.rmtree(final)
        os.replace(folder, final)
        _flush(final.parent)
    # torch raises RuntimeError and safetensors SafetensorError when the disk is full.
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = f"{error.strerror}" if isinstance(error, OSError) else f"{error}"
        space = "the directory is gone"
        if run.is_dir():
            space = f"{shutil.disk_usage(run).free:,} bytes are free there"
        raise StudioError(
            f"{final}: the checkpoint could not be written ({reason}; {space}); "
            "earlier ones are unchanged"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Checkpoint(final, images_seen)


def discard_after(run: Path, images_seen: int) -> None:
    """Deletes checkpoints newer than the one that the training resumed from.

    They are all damaged, because resuming picks the newest intact one.
    """
    for checkpoint in every(run):
        if checkpoint.images_seen > images_seen:
            _remove(checkpoint)


def prune(run: Path, keep: int, keep_every: int = 0, keep_best: str = "") -> None:
    """Deletes old checkpoints.

    Args:
        run: the run's directory.
        keep: the number of newest checkpoints that stay, at least one.
        keep_every: images. The first checkpoint after each multiple stays, too. 0 for none.
        keep_best: a term. The checkpoint with its lowest mean stays, too, and of equal ones the
            oldest.
    """
    there = every(run)
    marks = [checkpoint.images_seen // keep_every if keep_every else 0 for checkpoint in there]
    known = [checkpoint for checkpoint in there if checkpoint.mean(keep_best) < float("inf")]
    best = min(known, key=lambda checkpoint: checkpoint.mean(keep_best), default=None)
    for number, checkpoint in enumerate(there[: -max(keep, 1)]):
        if marks[number] == (marks[number - 1] if number else 0) and checkpoint != best:
            _remove(checkpoint)


def _remove(checkpoint: Checkpoint) -> None:
    try:
        # First, so that a partly removed checkpoint does not count as complete.
        (checkpoint.path / "manifest.json").unlink()
        shutil.rmtree(checkpoint.path)
    except OSError as error:
        warn(f"{checkpoint.path}: could not be removed: {error.strerror}")


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
