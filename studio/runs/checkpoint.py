"""Checkpoints: directories that are written whole or not at all, with a hash of every file.

`checkpoints/NNNNNNNN/` (NNNNNNNN = images seen) holds `weights.safetensors`, `ema.safetensors`, `training.pt` (optimisers
and counters, loadable without running code) and `manifest.json`, written last. A checkpoint is made beside the folder
and renamed into it when everything has reached the disk, so what stands in `checkpoints/` is complete.

The manifest has a format number. What an older studio wrote is brought up to date where it is read, one format after the
other (`MIGRATIONS`), and stays on disk as it was; what a newer one wrote is refused.
"""

import hashlib
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

from studio.errors import StudioError, warn

__all__ = ["FORMAT", "Checkpoint", "discard_after", "every", "newest", "prune", "save", "sha256"]

FORMAT = 2
WRITING = ".writing-"  # prefix of the folders beside `checkpoints/` in which one is being made


@dataclass(frozen=True)
class Checkpoint:
    """A directory in `checkpoints/` whose manifest exists.

    Attributes:
        path: the directory.
        images_seen: its number.
    """

    path: Path
    images_seen: int

    def verify(self) -> dict[str, Any]:
        """Compares every file with its hash and returns the manifest.

        Raises:
            StudioError: a file is missing or differs, or another version of the studio wrote it; names the file.
        """
        manifest_path = self.path / "manifest.json"
        try:
            manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
            files, version = dict(manifest["files"]), manifest["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudioError(f"{manifest_path}: not a checkpoint's manifest ({error})") from None
        if version not in (*MIGRATIONS, FORMAT):
            raise StudioError(
                f"{self.path}: written in format {version}, this studio reads formats 1 to {FORMAT}"
            )
        for name, expected in files.items():
            file = self.path / Path(name).name
            found = sha256(file) if file.is_file() else "no file"
            if found != expected:
                raise StudioError(
                    f"{file}: damaged: sha256 expected {expected[:12]}..., found {found[:12]}"
                )
        return manifest

    def mean(self, term: str) -> float:
        """Returns the mean of a term over the images since the checkpoint before; infinity where it is not known."""
        try:
            return float(
                json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))["means"][term]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return float("inf")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Returns the tensors of `weights` or `ema`."""
        return load_file(self.path / f"{name}.safetensors")

    def training(self) -> dict[str, Any]:
        """Returns the optimisers' states and counters, as this studio would have written them."""
        state = torch.load(self.path / "training.pt", weights_only=True, map_location="cpu")
        for version in range(self.verify()["format"], FORMAT):
            state = MIGRATIONS[version](state)
        return state


def _from_1(state: dict[str, Any]) -> dict[str, Any]:
    """Format 1 knew neither parts of a batch nor roll-backs."""
    return {"parts": 1, "rollbacks": 0, **state}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_1
}  # format -> training state of the next


def every(run: Path) -> list[Checkpoint]:
    """Returns a run's checkpoints, oldest first; anything else in the folder is passed over."""
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


def newest(run: Path, tell: Any = None) -> Checkpoint | None:  # noqa: ANN401 - any callable that takes a line
    """Returns the newest checkpoint whose files are whole, or None where no checkpoint exists.

    Args:
        run: the run's directory.
        tell: called with a line for every damaged checkpoint that is passed over.

    Raises:
        StudioError: checkpoints exist and every one is damaged.
    """
    faults = []
    for checkpoint in reversed(every(run)):
        try:
            checkpoint.verify()
        except StudioError as error:
            faults.append(str(error))
            if tell is not None:
                tell(f"{error}; trying the one before")
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
        images_seen: number of the checkpoint.
        tensors: file name -> tensors, written as safetensors.
        training: plain containers and tensors.
        manifest: what else the manifest says.

    Returns:
        the checkpoint; one that exists already and is whole is left as it is.

    Raises:
        StudioError: the disk is full or does not let us write; earlier checkpoints are untouched.
    """
    final = run / "checkpoints" / f"{images_seen:08d}"
    if _whole(Checkpoint(final, images_seen)):
        return Checkpoint(final, images_seen)
    for leftover in run.glob(f"{WRITING}*"):  # of a save that was killed
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
        if final.exists():  # damaged, or half removed
            shutil.rmtree(final)
        os.replace(folder, final)
        _flush(final.parent)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # the last two are how torch and safetensors say "disk full"
        why = f"{error.strerror}" if isinstance(error, OSError) else f"{error}"
        space = (
            f"{shutil.disk_usage(run).free:,} bytes are free there"
            if run.is_dir()
            else "the directory is gone"
        )
        raise StudioError(
            f"{final}: the checkpoint could not be written ({why}; {space}); earlier ones are untouched"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Checkpoint(final, images_seen)


def _whole(checkpoint: Checkpoint) -> bool:
    try:
        checkpoint.verify()
    except StudioError:
        return False
    return True


def discard_after(run: Path, images_seen: int) -> None:
    """Removes the checkpoints of a future that is trained anew, all of which are damaged: resuming takes the newest whole."""
    for checkpoint in every(run):
        if checkpoint.images_seen > images_seen:
            _remove(checkpoint)


def prune(run: Path, keep: int, keep_every: int = 0, keep_best: str = "") -> None:
    """Removes checkpoints, but not the newest `keep` of them, never the last.

    Args:
        run: the run's directory.
        keep: how many of the newest stay.
        keep_every: images; the first checkpoint after each multiple stays, too.
        keep_best: a term; the checkpoint whose manifest has its lowest mean stays, too, the first of equals.
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
        (
            checkpoint.path / "manifest.json"
        ).unlink()  # first, so that a half-removed one is not taken for whole
        shutil.rmtree(checkpoint.path)
    except OSError as error:
        warn(f"{checkpoint.path}: could not be removed: {error.strerror}")


def sha256(file: Path) -> str:
    """Returns the hash of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
