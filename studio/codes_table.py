"""Codes as a table: one row per image with the coordinates of its common and salient code.

The columns are one or more labels (`file`, and `slice` for volumes), then z0, z1, ... and s0, s1,
..., and further facts about the image, if any. Numbers have nine significant digits, which float32
survives unchanged.
"""

import csv
from collections.abc import Sequence
from typing import TextIO

__all__ = ["CodesWriter"]


class CodesWriter:
    """Writes codes as CSV, the header first.

    Args:
        file: an open text file. Files on disk must have been opened with `newline=""`.
        z: length of the common code.
        s: length of the salient code.
        labels: names of the columns before the codes.
        lineterminator: end of each line. The default is that of RFC 4180.
        header: whether to write the header.
        further: names of the columns after the codes.
    """

    def __init__(
        self,
        file: TextIO,
        z: int,
        s: int,
        labels: Sequence[str] = ("file",),
        lineterminator: str = "\r\n",
        header: bool = True,
        further: Sequence[str] = (),
    ) -> None:
        self._writer = csv.writer(file, lineterminator=lineterminator)
        columns = [*(f"z{i}" for i in range(z)), *(f"s{i}" for i in range(s))]
        if header:
            self._writer.writerow([*labels, *columns, *further])

    def write(
        self,
        labels: Sequence[object],
        z: Sequence[float],
        s: Sequence[float],
        further: Sequence[object] = (),
    ) -> None:
        """Writes the row of one image."""
        self._writer.writerow([*labels, *(f"{value:.9g}" for value in (*z, *s)), *further])
