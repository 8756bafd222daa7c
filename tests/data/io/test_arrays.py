"""Arrays opened by many threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from studio.data.io import arrays
from studio.data.io.slices import UnreadableError


def test_headers_are_parsed_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, load = tmp_path / "a.npy", np.load
    np.save(path, np.arange(12).reshape(3, 4))
    inside, most = [], []

    def slow(*args: object, **options: object) -> object:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.002)  # another thread would enter here
        try:
            return load(*args, **options)  # type: ignore[arg-type]
        finally:
            inside.pop()

    monkeypatch.setattr(np, "load", slow)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(arrays.open_array, [path] * 16))
    assert max(most) == 1
    assert all(array.sum() == 66 and not array.flags.writeable for array in read)


def test_archive_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.zeros(2))
    with pytest.raises(UnreadableError, match="archive of arrays"):
        arrays.open_array(tmp_path / "a.npz")
