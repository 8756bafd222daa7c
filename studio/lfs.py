"""Git LFS pointers: small text files that stand for a file which was not downloaded."""

from pathlib import Path

from studio.errors import NotDamagedError

__all__ = ["POINTER", "is_pointer", "refuse_pointer"]

START = b"version https://git-lfs.github.com/spec/"
POINTER = "a Git LFS pointer, not the file: git lfs pull"  # end of a message


def is_pointer(path: Path) -> bool:
    """Returns whether a file is a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            return file.read(len(START)) == START
    except OSError:
        return False


def refuse_pointer(path: Path) -> None:
    """Refuses a Git LFS pointer.

    Raises:
        NotDamagedError: the file is one. The message names the remedy.
    """
    if is_pointer(path):
        raise NotDamagedError(f"{path}: {POINTER}")
