"""Uploaded files as images or vectors of a run, read as `studio apply` reads its files."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from studio.data.io.images import EIGHT_BIT, FORMATS, is_image
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import ReadingRule, read_user_file
from studio.data.vector_files import read_rows
from studio.data.vectors import VectorRule
from studio.errors import StudioError

__all__ = ["MOST_BYTES", "read_upload", "read_upload_row"]

MOST_BYTES = 10 * 2**20


def read_upload(path: Path, rule: ReadingRule) -> tuple[Tensor, str]:
    """Reads a file as one image of a run, as `studio apply` does.

    A file with other channels, which `apply` refuses, is converted. The note says so.

    Args:
        path: the file.
        rule: how the run reads files.

    Returns:
        the image (C, H, W), and a note for the user, or "".

    Raises:
        StudioError: the file is too large, damaged, of an unknown format, or not covered by the
            run's rule of intensity.
    """
    if not is_image(path.name):
        raise StudioError(f"{path.name}: unknown file format; expected {', '.join(FORMATS)}")
    _refuse_large(path)
    one = replace(rule, chosen=rule.chosen or "middle", convert=True)
    try:
        read = read_user_file(path, one)
    except UnreadableError as error:
        raise StudioError(f"{path.name}: {error}") from None
    note = ""
    if read.converted and not rule.convert:
        note = f" · converted to {'gray' if rule.shape[0] == 1 else 'RGB'}"
    if len(read.images) > 1:
        note += " · left half of the brain"
    low, high = read.window
    if read.window != EIGHT_BIT:
        note += f" · {low:.4g} to {high:.4g} shown as -1 to 1"
    return torch.from_numpy(read.images[0]), note


def read_upload_row(path: Path, rule: VectorRule, row: int) -> tuple[Tensor, str]:
    """Reads a row of a table as one vector of a run, as `studio apply` does.

    Args:
        path: the file.
        rule: how the run reads rows.
        row: number of the row, from 1.

    Returns:
        the vector (F,), and a note for the user.

    Raises:
        StudioError: the file is too large or damaged, lacks a feature, has a value that cannot be
            used, or has fewer rows.
    """
    _refuse_large(path)
    try:
        rows = read_rows(path, path.name, rule)
    except StudioError as error:
        raise StudioError(str(error).replace(str(path), path.name)) from None
    count = len(rows.vectors)
    if row > count:
        raise StudioError(f"{path.name}: has no row {row}, expected 1 to {count}")
    note = f"row {row} of {count}: {rows.labels[row - 1]}"
    # Of all rows, because a table in another unit is recognised by their number.
    values = f"of {rows.vectors.size:,} values of the file"
    if rows.fractional:
        note += " · no counts, which the run expects"
    if rows.filled:
        note += f" · {rows.filled:,} {values} are missing: filled as in the training"
    if rows.clipped:
        note += f" · {rows.clipped:,} {values} lie outside of the range of the run: clipped"
    return torch.from_numpy(rows.vectors[row - 1]), note


def _refuse_large(path: Path) -> None:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise StudioError(
            f"{path.name}: has {size / 2**20:.1f} MB; at most {MOST_BYTES / 2**20:g} MB are "
            "accepted"
        )
