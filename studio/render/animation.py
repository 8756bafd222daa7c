"""A training as an animation: the same codes, decoded again and again as the generator learns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from studio.data.dataset import Dataset
from studio.errors import StudioError, reason_of
from studio.render.grid import Grid
from studio.render.samples import draw_grid
from studio.render.selection import DataDescription
from studio.runs import checkpoint
from studio.runs.run import Run

__all__ = ["Animation", "animate", "checkpoint_painter"]

Item = TypeVar("Item")
MOST_FRAMES = 60
MOST_BYTES = 1_000_000  # a page with pictures has room for that
EVERY, LAST = 500, 2_500  # milliseconds that a frame is shown
QUALITIES = (80, 60, 40)  # of WebP, tried in turn. If all are too large, every second frame goes


@dataclass
class Animation:
    """Frames of one size with the images seen at each, in order.

    Attributes:
        frames: the pictures.
        images_seen: number of images seen at each frame.
        origin: description of the frames.
    """

    frames: Sequence[Image.Image]
    images_seen: Sequence[int]
    origin: str
    _file: bytes = b""  # the last encoding

    def to_webp(self, most: int = MOST_BYTES) -> bytes:
        """Returns an animated WebP of at most that many bytes.

        It is larger only if two frames in the lowest quality are.
        """
        if 0 < len(self._file) <= most:
            return self._file
        chosen = _thin(range(len(self.frames)), MOST_FRAMES)
        while True:
            for quality in QUALITIES:
                self._file = _encode_webp([self.frames[i] for i in chosen], quality)
                if len(self._file) <= most or (len(chosen) == 2 and quality == QUALITIES[-1]):
                    return self._file
            chosen = _thin(chosen, max(2, len(chosen) // 2))


def animate(
    run: Path,
    images_seen: int,
    draw: Callable[[checkpoint.Checkpoint], Image.Image],
    saved: bool = True,
    most: int = MOST_FRAMES,
) -> Animation:
    """Animates a training from the grids that it drew, or from its checkpoints if there are more.

    All frames show the same codes.

    Args:
        run: the run's directory.
        images_seen: end of the animation.
        draw: draws the grid of a checkpoint.
        saved: whether the grids that the training drew may be used.
        most: largest number of frames. They are evenly spread, with the first and the last.

    Raises:
        StudioError: there are fewer than two frames.
    """
    grids = _find_grids(run, images_seen) if saved else {}
    checkpoints = [found for found in checkpoint.every(run) if found.images_seen <= images_seen]
    if max(len(grids), len(checkpoints)) < 2:
        raise StudioError(
            f"{run}: an animation needs two frames, found {len(grids)} grids of the training and "
            f"{len(checkpoints)} checkpoints; see train.grid_every, train.save_every and train.keep"
        )
    if len(grids) >= len(checkpoints):
        numbers = _thin(sorted(grids), most)
        pictures = [_read_picture(grids[number]) for number in numbers]
        origin = "grids that the training drew"
    else:
        chosen = _thin(checkpoints, most)
        numbers = [found.images_seen for found in chosen]
        pictures = [draw(found) for found in chosen]
        origin = "checkpoints, drawn afterwards"
    size = pictures[-1].size
    fitting = [
        (number, picture)
        for number, picture in zip(numbers, pictures, strict=True)
        if picture.size == size
    ]
    return Animation(
        [_add_title(*frame) for frame in fitting], [number for number, _ in fitting], origin
    )


def checkpoint_painter(
    run: Path, dataset: Dataset | DataDescription, seed: int, ema: bool = True
) -> Callable[[checkpoint.Checkpoint], Image.Image]:
    """Returns a function that draws the grid of a checkpoint as its training would have."""

    def draw(found: checkpoint.Checkpoint) -> Image.Image:
        return draw_grid(Run.open(run, found.images_seen, ema).method, dataset, seed=seed)

    return draw


def _find_grids(run: Path, images_seen: int) -> dict[int, Path]:
    paths = (path for path in (run / "grids").glob("*.png") if path.stem.isdigit())
    return {int(path.stem): path for path in paths if int(path.stem) <= images_seen}


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise StudioError(f"{path}: not a picture that can be read: {reason_of(error)}") from None


def _thin(items: Sequence[Item], most: int) -> list[Item]:
    """Returns at most that many items, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _add_title(images_seen: int, picture: Image.Image) -> Image.Image:
    return Grid([[f"after {images_seen:,} images"], [np.asarray(picture)]], zoom=1).draw()


def _encode_webp(frames: Sequence[Image.Image], quality: int) -> bytes:
    file = BytesIO()
    durations = [EVERY] * (len(frames) - 1) + [LAST]
    frames[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        quality=quality,
        method=2,
    )
    return file.getvalue()
