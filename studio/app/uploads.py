"""Uploaded files as images of a run, read as `studio apply` reads its files."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from studio.data.io.images import EIGHT_BIT, FORMATS, is_image
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import ReadingRule, read_user_file
from studio.errors import StudioError

__all__ = ["MOST_BYTES", "read_upload"]

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
    if path.stat().st_size > MOST_BYTES:
        raise StudioError(
            f"{path.name}: has {path.stat().st_size / 2**20:.1f} MB; at most "
            f"{MOST_BYTES / 2**20:g} MB are accepted"
        )
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
