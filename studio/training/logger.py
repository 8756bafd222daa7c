"""The log of a training: `log.jsonl`, `tensorboard/`, and progress on the terminal."""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from studio.atomic import write_file
from studio.errors import StudioError
from studio.runs.log import drop_lines_after
from studio.training.trackers import Trackers

__all__ = ["Averages", "Logger"]

LOSSES = 3  # in the progress bar
LINE_EVERY = 10  # seconds between progress lines where there is no terminal


class Averages:
    """Means of loss terms over several iterations, kept on their device until they are read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, terms: dict[str, Tensor]) -> None:
        """Adds one iteration's means, each of shape ()."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] += 1

    def take(self) -> dict[str, float]:
        """Returns the means and starts over."""
        # All numbers are read from the device at once, because each read waits for it.
        sums = torch.stack([*self.sums.values()]).tolist() if self.sums else []
        means = {name: one / self.counts[name] for name, one in zip(self.sums, sums, strict=True)}
        self.sums, self.counts = {}, defaultdict(int)
        return means


class Logger:
    """Writes log lines to `log.jsonl` and TensorBoard, and shows progress on stderr.

    Args:
        folder: the run's directory.
        images: the budget in real images.
        images_seen: real images seen at the start. Log lines of later images are dropped, because
            the training will see those images again.
        quiet: whether to write and show nothing, as all processes but the first do.
        log_with: trackers, as in `train.log_with`.
        config: the resolved config with dotted names, for the trackers.

    Raises:
        StudioError: a file cannot be written, or a tracker is not installed or does not start.
    """

    def __init__(
        self,
        folder: Path,
        images: int,
        images_seen: int,
        quiet: bool = False,
        log_with: Sequence[str] = ("tensorboard",),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.quiet = folder, quiet
        self.started, self.first = time.monotonic(), images_seen
        if quiet:
            return
        self.trackers = Trackers(log_with, folder, config or {})
        self._open_log(images_seen)
        self.board, self.hook = None, threading.excepthook
        if "tensorboard" in log_with:
            self._open_board(images_seen)
        self.console = Console(stderr=True, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,} images"),
            TextColumn("{task.fields[rate]:.0f} images/s"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[losses]}"),
            console=self.console,
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task(
            folder.name, total=images, completed=images_seen, rate=0.0, losses=""
        )
        self.images, self.printed = images, 0.0
        self.bar.start()

    def _open_board(self, images_seen: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes half a second to import

        threading.excepthook = self._report_thread
        try:
            with self._tensorboard_errors():
                place = str(self.folder / "tensorboard")
                self.board = SummaryWriter(place, purge_step=images_seen or None)
        except StudioError:
            threading.excepthook = self.hook
            raise

    def images_per_second(self, images_seen: int) -> float:
        """Returns the mean rate of real images since the logger was made."""
        elapsed = time.monotonic() - self.started
        return (images_seen - self.first) / elapsed if elapsed else 0.0

    def show_progress(self, images_seen: int) -> None:
        """Moves the progress bar. Without a terminal it prints a line every ten seconds."""
        if self.quiet:
            return
        elapsed, rate = time.monotonic() - self.started, self.images_per_second(images_seen)
        self.bar.update(self.task, completed=images_seen, rate=rate)
        if not self.console.is_terminal and elapsed - self.printed >= LINE_EVERY:
            self.printed = elapsed
            minutes = (self.images - images_seen) / rate / 60 if rate else 0
            self.say(
                f"{images_seen:,}/{self.images:,} images, {rate:.0f} images/s, "
                f"{minutes:.1f} min left"
            )

    def _open_log(self, images_seen: int) -> None:
        drop_lines_after(self.folder, images_seen)
        self.file = (self.folder / "log.jsonl").open("a", encoding="utf-8")

    def forget_after(self, images_seen: int) -> None:
        """Drops the log lines of images that the training will see again."""
        if not self.quiet:
            self.file.close()
            self._open_log(images_seen)

    def log(self, images_seen: int, values: dict[str, Any]) -> None:
        """Writes one log line. Numbers go to TensorBoard as well.

        Raises:
            StudioError: the line cannot be written.
        """
        if self.quiet:
            return
        try:
            self.file.write(json.dumps({"images_seen": images_seen, **values}) + "\n")
            self.file.flush()
        except OSError as error:
            path = self.folder / "log.jsonl"
            raise StudioError(f"{path}: cannot be written: {error.strerror}") from None
        self.trackers.log(values, images_seen)
        self.bar.update(self.task, losses=_main_losses(values))
        with self._tensorboard_errors():
            for name, value in values.items():
                if self.board is not None and isinstance(value, int | float):
                    self.board.add_scalar(name, value, images_seen)

    def picture(self, images_seen: int, name: str, picture: Image.Image) -> None:
        """Writes `grids/NAME.png`, whole or not at all, and shows it in TensorBoard.

        Raises:
            StudioError: the picture cannot be written.
        """
        if self.quiet:
            return
        write_file(self.folder / "grids" / f"{name}.png", lambda partial: picture.save(partial))
        shown, tag = np.asarray(picture.convert("RGB")), name.lstrip("0123456789-") or "grid"
        self.trackers.picture(tag, picture, images_seen)
        if self.board is not None:
            with self._tensorboard_errors():
                self.board.add_image(tag, shown, images_seen, dataformats="HWC")

    @contextmanager
    def _tensorboard_errors(self) -> Iterator[None]:
        """Turns a failed write of TensorBoard into a StudioError.

        TensorBoard writes in a thread of its own, and reports a full disk at the next call.
        """
        try:
            yield
        except OSError as error:
            path = self.folder / "tensorboard"
            raise StudioError(f"{path}: cannot be written: {error.strerror or error}") from None

    def _report_thread(self, failure: threading.ExceptHookArgs) -> None:
        """Prints the traceback of a thread, unless `_tensorboard_errors` will report its error."""
        own = type(failure.thread).__module__.partition(".")[0] == "tensorboard"
        if not (own and isinstance(failure.exc_value, OSError)):
            self.hook(failure)

    def say(self, line: str) -> None:
        """Prints a line on stderr, above the progress bar."""
        if not self.quiet:
            with suppress(OSError):  # a full disk under stderr does not stop the training
                self.console.print(line, markup=False, highlight=False)

    def end_bar(self) -> None:
        """Ends the progress bar, because the training has ended. The files stay open."""
        self.bar.stop()

    def close(self) -> None:
        """Ends the progress bar and closes the files."""
        if not self.quiet:
            self.bar.stop()
            for file in (self.board, self.file):
                with suppress(OSError):  # `log` has already reported a full disk
                    if file is not None:
                        file.close()
            self.trackers.close()
            threading.excepthook = self.hook


def _main_losses(values: Mapping[str, Any]) -> str:
    """Returns the losses of a log line for the progress bar: the first of each net, in one text."""
    first: dict[str, str] = {}
    for name, value in values.items():
        net, slash, term = name.partition("/")
        if slash and net != "probe" and isinstance(value, float):
            first.setdefault(net, f"{net}/{term} {value:.3g}")
    return "  ".join([*first.values()][:LOSSES])
