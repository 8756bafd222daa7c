"""Opening .npy files from several threads."""

import threading
from pathlib import Path

import numpy as np

from studio.data.io.slices import UnreadableError

__all__ = ["open_array"]

# NumPy parses the header of a file with `ast.literal_eval`, whose check of its own depth is shared
# by all threads of Python 3.11: two headers at once can end in "SystemError: AST constructor
# recursion depth mismatch" for a good file.
_ONE_HEADER = threading.Lock()


def open_array(path: Path) -> np.ndarray:
    """Returns the array of a .npy file as a read-only memory map. Safe in several threads.

    Raises:
        UnreadableError: the file is an archive of arrays (.npz).
        Exception: whatever NumPy raises for a damaged file.
    """
    with _ONE_HEADER:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise UnreadableError("is an archive of arrays, not one array")
    return array
