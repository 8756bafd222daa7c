"""Whether a folder is a run, which is asked before anything that takes time is imported."""

from pathlib import Path

from studio.errors import StudioError

__all__ = ["check_found"]


def check_found(folder: Path) -> None:
    """Refuses a folder that is not a run and not an export.

    Raises:
        StudioError: the folder does not exist, or it has no `config.yaml`.
    """
    if not folder.exists():
        raise StudioError(f"{folder}: no such run")
    if not (folder / "config.yaml").is_file():
        raise StudioError(f"{folder}: not a run (no config.yaml in it)")
