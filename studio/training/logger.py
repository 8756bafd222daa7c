"""What a training leaves to read: `log.jsonl`, `tensorboard/`, and a progress line for the person who waits."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from studio.atomic import write_file, write_text
from studio.errors import StudioError

__all__ = ["Averages", "Journal"]


class Averages:
    """Means of the terms since the last log line, kept on their device until they are read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, terms: dict[str, Tensor]) -> None:
        """Adds one iteration's means, each of shape ()."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] += 1

    def take(self) -> dict[str, float]:
        """Returns the means and starts anew."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, defaultdict(int)
        return means


class Journal:
    """Writes log lines to `log.jsonl` and TensorBoard, and shows progress on stderr.

    Args:
        folder: the run's directory.
        images: the budget.
        images_seen: where the training starts; lines of a lost future (after the checkpoint resumed from) are dropped.
        quiet: for all processes but the first: writes and shows nothing.
    """

    def __init__(self, folder: Path, images: int, images_seen: int, quiet: bool = False) -> None:
        self.folder, self.quiet = folder, quiet
        self.started, self.first = time.monotonic(), images_seen
        if quiet:
            return
        self._open_log(images_seen)
        from torch.utils.tensorboard import SummaryWriter  # half a second to import

        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=images_seen or None)
        self.console = Console(stderr=True, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,} images"),
            TextColumn("{task.fields[rate]:.0f} images/s"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task(folder.name, total=images, completed=images_seen, rate=0.0)
        self.images, self.printed = images, 0.0
        self.bar.start()

    def progress(self, images_seen: int) -> None:
        """Moves the bar; without a terminal prints a line every ten seconds instead."""
        if self.quiet:
            return
        elapsed = time.monotonic() - self.started
        rate = (images_seen - self.first) / elapsed if elapsed else 0.0
        self.bar.update(self.task, completed=images_seen, rate=rate)
        if not self.console.is_terminal and elapsed - self.printed >= 10:
            self.printed = elapsed
            left = (self.images - images_seen) / rate if rate else 0
            self.say(
                f"{images_seen:,}/{self.images:,} images, {rate:.0f} images/s, {left / 60:.1f} min left"
            )

    def _open_log(self, images_seen: int) -> None:
        _forget_after(self.folder / "log.jsonl", images_seen)
        self.file = (self.folder / "log.jsonl").open("a", encoding="utf-8")

    def forget(self, images_seen: int) -> None:
        """Drops the lines of images that are to be seen again."""
        if not self.quiet:
            self.file.close()
            self._open_log(images_seen)

    def log(self, images_seen: int, values: dict[str, Any]) -> None:
        """Writes one line; numbers go to TensorBoard as well.

        Raises:
            StudioError: the disk does not take it.
        """
        if self.quiet:
            return
        try:
            self.file.write(json.dumps({"images_seen": images_seen, **values}) + "\n")
            self.file.flush()
        except OSError as error:
            raise StudioError(
                f"{self.folder / 'log.jsonl'}: cannot be written: {error.strerror}"
            ) from None
        with self._on_board():
            for name, value in values.items():
                if isinstance(value, int | float):
                    self.board.add_scalar(name, value, images_seen)

    def picture(self, images_seen: int, name: str, picture: Any) -> None:  # noqa: ANN401 - a PIL image
        """Writes `grids/NAME.png`, whole or not at all, and shows it in TensorBoard.

        Raises:
            StudioError: the disk does not take it.
        """
        if self.quiet:
            return
        import numpy as np

        write_file(self.folder / "grids" / f"{name}.png", lambda partial: picture.save(partial))
        shown, tag = np.asarray(picture.convert("RGB")), name.lstrip("0123456789-") or "grid"
        with self._on_board():
            self.board.add_image(tag, shown, images_seen, dataformats="HWC")

    @contextmanager
    def _on_board(self) -> Iterator[None]:
        """TensorBoard writes later, in a thread of its own, and tells at the next call that the disk did not take it."""
        try:
            yield
        except OSError as error:
            raise StudioError(
                f"{self.folder / 'tensorboard'}: cannot be written: {error.strerror or error}"
            ) from None

    def say(self, line: str) -> None:
        """Prints a line on stderr, above the bar."""
        if not self.quiet:
            self.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        """Ends the bar and closes the files."""
        if not self.quiet:
            self.bar.stop()
            for file in (self.board, self.file):
                with suppress(OSError):  # a full disk has been told of where the line was written
                    file.close()


def _forget_after(path: Path, images_seen: int) -> None:
    """Drops log lines of images that the resumed training has not seen, and a last line cut short."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["images_seen"] <= images_seen:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_text(path, "".join(line + "\n" for line in kept))
