"""An export read back: the folder that `studio export` writes, which needs neither checkpoints nor data.

`manifest.json` says what is in it, with a hash of every file. Nothing in an export is run when it is opened: weights are
safetensors, and the nets are built from `config.yaml`; the programs (`.pt2`, `.onnx`) are for other software.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from studio.errors import StudioError
from studio.runs.checkpoint import sha256

__all__ = ["FORMAT", "KIND", "WEIGHTS", "Bundle", "find"]

FORMAT = 1
KIND = "contrastive-studio export"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Bundle:
    """An export whose files are as its manifest says.

    Attributes:
        folder: where it is.
        manifest: what `studio export` said of it.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images."""
        return tuple(self.manifest["shape"])

    @property
    def images_seen(self) -> int:
        """Of the checkpoint that was exported."""
        return self.manifest["images_seen"]

    def tensors(self) -> dict[str, Tensor]:
        """Returns the averaged weights."""
        try:
            return load_file(self.folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise StudioError(f"{self.folder / WEIGHTS}: cannot be read: {error}") from None


def find(folder: Path) -> Bundle | None:
    """Returns the export in a folder, or None where there is no export's manifest.

    Raises:
        StudioError: a file is missing or differs from its hash, or a newer studio wrote it; names the file.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        kind, version, files = manifest["kind"], manifest["format"], dict(manifest["files"])
        said = [int(length) for length in manifest["shape"]], int(manifest["images_seen"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(
            f"{path}: not an export's manifest ({type(error).__name__}: {error})"
        ) from None
    if kind != KIND or version != FORMAT:
        raise StudioError(
            f"{path}: found {kind!r} in format {version!r}, this studio reads {KIND!r} in format {FORMAT}"
        )
    for name in ("config.yaml", WEIGHTS):
        if name not in files:
            raise StudioError(f"{path}: names no {name}")
    for name, expected in files.items():
        file = folder / Path(name).name
        found = sha256(file) if file.is_file() else "no file"
        if found != expected:
            raise StudioError(
                f"{file}: damaged: sha256 expected {str(expected)[:12]}..., found {found[:12]}"
            )
    return Bundle(folder, {**manifest, "shape": said[0], "images_seen": said[1]})
