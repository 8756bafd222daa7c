"""Manifests: JSON files that name every file of a folder with its sha256."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.errors import StudioError, reason_of
from studio.lfs import refuse_pointer

__all__ = ["read_manifest", "sha256", "verify_files"]


def sha256(file: Path) -> str:
    """Returns the sha256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(path: Path, kind: str) -> dict[str, Any]:
    """Reads a manifest.

    Args:
        path: the file.
        kind: of which folder it should be the manifest, for the message, e.g. `an export`.

    Returns:
        the manifest, which has the key `files`, file name -> sha256.

    Raises:
        StudioError: the file cannot be read or is not a manifest.
        NotDamagedError: it is a Git LFS pointer.
    """
    refuse_pointer(path)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return {**manifest, "files": dict(manifest["files"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(f"{path}: not {kind}'s manifest ({reason_of(error)})") from None


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Compares every file of a folder with its hash.

    Args:
        folder: the folder.
        files: file name -> sha256.

    Raises:
        StudioError: a file is missing or its hash differs. The message names the file.
        NotDamagedError: a file is a Git LFS pointer.
    """
    for name, expected in files.items():
        file = folder / Path(name).name  # a manifest cannot point outside its folder
        found = sha256(file) if file.is_file() else "no file"
        if found != expected:
            refuse_pointer(file)
            raise StudioError(
                f"{file}: damaged: sha256 expected {str(expected)[:12]}..., found {found[:12]}"
            )
