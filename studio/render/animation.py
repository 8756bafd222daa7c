"""A training as an animation: the same codes, decoded again and again while the generator learns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from studio.data.dataset import Dataset
from studio.errors import StudioError
from studio.render.grid import Grid
from studio.render.samples import grid
from studio.runs import checkpoint
from studio.runs.run import Run

__all__ = ["Film", "film", "frame_of"]

Item = TypeVar("Item")
MOST_FRAMES = 60
MOST_BYTES = 1_000_000  # a page with pictures has room for that
EVERY, LAST = 500, 2_500  # milliseconds that a frame is shown
QUALITIES = (80, 60, 40)  # of WebP, until the film is small enough; then every second frame goes


@dataclass
class Film:
    """Pictures of one size with the images seen at each, in order.

    Attributes:
        frames: what is shown.
        images_seen: at each frame.
        origin: what the frames are, in words.
    """

    frames: Sequence[Image.Image]
    images_seen: Sequence[int]
    origin: str
    _file: bytes = b""  # as it was encoded last

    def encoded(self, most: int = MOST_BYTES) -> bytes:
        """Returns an animated WebP of at most that many bytes, if two frames are not too large already."""
        if 0 < len(self._file) <= most:
            return self._file
        chosen = _thinned(range(len(self.frames)), MOST_FRAMES)
        while True:
            for quality in QUALITIES:
                self._file = _webp([self.frames[i] for i in chosen], quality)
                if len(self._file) <= most or (len(chosen) == 2 and quality == QUALITIES[-1]):
                    return self._file
            chosen = _thinned(chosen, max(2, len(chosen) // 2))


def film(
    run: Path,
    images_seen: int,
    draw: Callable[[checkpoint.Checkpoint], Image.Image],
    saved: bool = True,
    most: int = MOST_FRAMES,
) -> Film:
    """Collects what a run looked like on the way: the grids that its training drew, or else its checkpoints, drawn now.

    Whichever are more; every frame has the same codes.

    Args:
        run: the run's directory.
        images_seen: where the film ends.
        draw: makes the grid of a checkpoint.
        saved: whether the training's own grids will do.
        most: frames, evenly spread, the first and the last among them.

    Raises:
        StudioError: there are not two frames.
    """
    grids = _saved(run, images_seen) if saved else {}
    there = [found for found in checkpoint.every(run) if found.images_seen <= images_seen]
    if max(len(grids), len(there)) < 2:
        raise StudioError(
            f"{run}: an animation needs two frames, found {len(grids)} grids of the training and {len(there)} checkpoints; "
            "see train.grid_every, train.save_every and train.keep"
        )
    if len(grids) >= len(there):
        numbers = _thinned(sorted(grids), most)
        pictures, origin = (
            [_opened(grids[number]) for number in numbers],
            "grids that the training drew",
        )
    else:
        chosen = _thinned(there, most)
        numbers = [found.images_seen for found in chosen]
        pictures, origin = [draw(found) for found in chosen], "checkpoints, drawn afterwards"
    size = pictures[-1].size
    fitting = [
        (number, picture)
        for number, picture in zip(numbers, pictures, strict=True)
        if picture.size == size
    ]
    return Film([_titled(*frame) for frame in fitting], [number for number, _ in fitting], origin)


def frame_of(
    run: Path, dataset: Dataset, seed: int, ema: bool = True
) -> Callable[[checkpoint.Checkpoint], Image.Image]:
    """Returns what draws the grid of a checkpoint, as its training would have drawn it."""

    def draw(found: checkpoint.Checkpoint) -> Image.Image:
        return grid(Run.open(run, found.images_seen, ema).method, dataset, seed=seed)

    return draw


def _saved(run: Path, images_seen: int) -> dict[int, Path]:
    paths = (path for path in (run / "grids").glob("*.png") if path.stem.isdigit())
    return {int(path.stem): path for path in paths if int(path.stem) <= images_seen}


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise StudioError(f"{path}: not a picture that can be read: {error}") from None


def _thinned(items: Sequence[Item], most: int) -> list[Item]:
    """Returns at most that many items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _titled(images_seen: int, picture: Image.Image) -> Image.Image:
    return Grid([[f"after {images_seen:,} images"], [np.asarray(picture)]], zoom=1).draw()


def _webp(frames: Sequence[Image.Image], quality: int) -> bytes:
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
