"""Reading an export: a folder written by `studio export`, without checkpoints and data.

`manifest.json` names the files with their hashes. The model card may be edited, and programs may be
deleted. Opening an export runs no code from it: weights
are safetensors, and the networks are built from `config.yaml`. Its programs (`.pt2`, `.onnx`) are
for other software.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from studio.errors import NotDamagedError, StudioError, reason_of
from studio.runs.data_file import DATA_FILE
from studio.runs.manifest import read_manifest, verify_files

__all__ = ["FORMAT", "KIND", "WEIGHTS", "ExportedRun", "find_export"]

FORMAT = 1
KIND = "contrastive-studio export"
WEIGHTS = "model.safetensors"
CARD = "README.md"  # is meant to be edited
REQUIRED = ("config.yaml", WEIGHTS)  # all but these and the facts about the data may be deleted


@dataclass(frozen=True)
class ExportedRun:
    """An export whose files match its manifest.

    Attributes:
        folder: the folder.
        manifest: the manifest.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the images, without the batch."""
        return tuple(self.manifest["shape"])

    @property
    def images_seen(self) -> int:
        """The number of real images that the exported checkpoint has seen."""
        return self.manifest["images_seen"]

    def tensors(self) -> dict[str, Tensor]:
        """Returns the averaged weights."""
        try:
            return load_file(self.folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise StudioError(
                f"{self.folder / WEIGHTS}: cannot be read: {reason_of(error)}"
            ) from None


def find_export(folder: Path) -> ExportedRun | None:
    """Returns the export in a folder, or None if the folder has no manifest.

    Raises:
        StudioError: a file is missing or its hash differs, or a newer studio wrote the export. The
            message names the file.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    manifest = read_manifest(path, "an export")
    try:
        kind, version = manifest["kind"], manifest["format"]
        shape = [int(length) for length in manifest["shape"]]
        images_seen = int(manifest["images_seen"])
    except (ValueError, KeyError, TypeError) as error:
        raise StudioError(f"{path}: not an export's manifest ({reason_of(error)})") from None
    if kind == KIND and type(version) is int and version > FORMAT:
        raise NotDamagedError(
            f"{path}: written by a newer studio (format {version}, this one reads {FORMAT}): "
            "update the studio"
        )
    if kind != KIND or version != FORMAT:
        raise StudioError(
            f"{path}: found {kind!r} in format {version!r}, "
            f"this studio reads {KIND!r} in format {FORMAT}"
        )
    for name in REQUIRED:
        if name not in manifest["files"]:
            raise StudioError(f"{path}: names no {name}")
    needed = (*REQUIRED, DATA_FILE)
    verify_files(
        folder,
        {
            name: digest
            for name, digest in manifest["files"].items()
            if name in needed or (name != CARD and (folder / Path(name).name).exists())
        },
    )
    return ExportedRun(folder, {**manifest, "shape": shape, "images_seen": images_seen})
