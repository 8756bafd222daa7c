"""One training from start to end: its directory, resuming, and what happens every so many images."""

import json
import platform
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from studio import __version__, checkpoint
from studio.build import build_dataset
from studio.config import Config, dump, read_yaml, resolve
from studio.engine import Engine
from studio.errors import StudioError
from studio.journal import Averages, Journal

__all__ = ["Training", "claim_folder", "duration", "find_folder", "train"]

HARMLESS = {  # fields that a resumed training may change: they decide how long and how loudly, not what is learnt
    "name", "train.images", "train.threads", "train.workers", "train.log_every", "train.grid_every", "train.probe_every",
    "train.save_every", "train.keep", "paper",
}  # fmt: skip


def train(
    config: Config, folder: Path | None = None, resume: bool = False, stop_after: float | None = None,
    deterministic: bool = False, finish: Callable[["Training"], None] | None = None,
) -> "Training":  # fmt: skip
    """Trains, from the start or from the newest whole checkpoint, and leaves a run directory.

    Args:
        config: the experiment.
        folder: the run's directory; the next free `runs/NAME-N` when None, or the last one when resuming.
        resume: continue what stands in the directory.
        stop_after: seconds after which to save and stop.
        deterministic: ask torch for deterministic algorithms only.
        finish: called once the budget is used, e.g. to probe and draw.

    Returns:
        the training, stopped or finished.

    Raises:
        StudioError: the directory, config, data or machine stand in the way.
    """
    if deterministic:
        torch.use_deterministic_algorithms(True)
    engine = Engine(config, build_dataset(config))  # before anything is written: data or machine may stand in the way
    folder = engine.decided_by_first(lambda: claim_folder(config, find_folder(config, folder, resume)))
    training = Training(config, folder, engine, stop_after)
    try:
        training.run(finish)
    finally:
        training.journal.close()
    return training


def find_folder(config: Config, folder: Path | None, resume: bool) -> Path:
    """Finds the run's directory and whether it may be used; writes nothing.

    Raises:
        StudioError: there is a run already and `resume` is off, none and it is on, or its config differs.
    """
    if folder is None:
        folder = _last_run(config.name) if resume else _next_run(config.name)
    saved = folder / "config.yaml"
    if saved.is_file():
        if not resume:
            raise StudioError(f"{folder}: a run is there already; --resume continues it, another --run leaves it alone")
        _refuse_changes(folder, config)
    elif resume and not folder.exists():
        raise StudioError(f"--resume: {folder}: no such run")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudioError(f"{folder}: not empty and not a run (no config.yaml in it); give another --run")
    return folder


def claim_folder(config: Config, folder: Path) -> Path:
    """Makes the run's directory, saves the resolved config in it, and returns it.

    Raises:
        StudioError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / ".writing.yaml"
        partial.write_text(dump(config), encoding="utf-8")
        partial.replace(folder / "config.yaml")
    except OSError as error:
        raise StudioError(f"{folder}: cannot be written: {error.strerror}") from None
    return folder


def _next_run(name: str) -> Path:
    taken = _runs(name)
    return Path("runs") / f"{name}-{max(taken, default=0) + 1}"


def _last_run(name: str) -> Path:
    taken = _runs(name)
    if not taken:
        raise StudioError(f"--resume: no run of {name} in {Path('runs').resolve()}; --run DIR names one elsewhere")
    return Path("runs") / f"{name}-{max(taken)}"


def _runs(name: str) -> list[int]:
    found = (re.fullmatch(re.escape(name) + r"-(\d+)", path.name) for path in Path("runs").glob("*"))
    return [int(match[1]) for match in found if match]


def _refuse_changes(folder: Path, config: Config) -> None:
    old = resolve(read_yaml(folder / "config.yaml"), folder.name, str(folder / "config.yaml"))
    before, after = _flat(old.model_dump(mode="json")), _flat(config.model_dump(mode="json"))
    differing = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    changed = [key for key in differing if key not in HARMLESS and key.partition(".")[0] not in HARMLESS]
    if changed:
        lines = "\n".join(f"  {key}: {before.get(key)!r} in the run, {after.get(key)!r} now" for key in changed)
        raise StudioError(f"{folder}: cannot be resumed with another config\n{lines}")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def duration(text: str) -> float:
    """Reads a time such as `3h50m`, `90s`, `25m` or plain seconds, and returns seconds.

    Raises:
        StudioError: it is none.
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not text.strip() or match is None:
        raise StudioError(f"--stop-after {text}: expected a time such as 3h50m, 25m or 90s")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


@dataclass
class Training:
    """A training in its directory.

    Attributes:
        config: the experiment.
        folder: the run's directory.
        engine: what trains; takes up the directory's newest whole checkpoint, if there is one.
        stop_after: seconds after which to save and stop.
        stopped: why it ended before its budget: "SIGINT", "SIGTERM", "--stop-after", or "".
    """

    config: Config
    folder: Path
    engine: Engine
    stop_after: float | None = None
    stopped: str = ""
    averages: Averages = field(default_factory=Averages)

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.dataset = self.engine.dataset
        faults: list[str] = []
        last = checkpoint.newest(self.folder, faults.append)
        if last is not None:
            self.engine.load(last.tensors("weights"), last.tensors("ema"), last.training())
        main = self.engine.accelerator.is_main_process
        if main:
            checkpoint.discard_after(self.folder, self.engine.images_seen)
        self.journal = Journal(self.folder, self.config.train.images, self.engine.images_seen, quiet=not main)
        for line in [*faults, *self.dataset.notes(), *self.engine.method.notes()]:
            self.journal.say(line)
        self.journal.log(self.engine.images_seen, {"started": self._environment()})

    def run(self, finish: Callable[["Training"], None] | None) -> None:
        """Trains until the budget is used or something stops it; then saves, and finishes what is finished."""
        self.journal.say(f"{self.folder}: {self._where()}")
        with _signals(self._stop):
            if self.engine.images_seen < self.config.train.images:
                self.engine.fit(self.config.train.images, self._after)
            self.save()
        # Outside: everything is saved by now, so a signal may end the pictures at once.
        if not self.stopped and finish is not None and self.engine.accelerator.is_main_process:
            finish(self)
        if self.stopped:
            self.journal.say(f"stopped by {self.stopped} at {self.engine.images_seen:,} images; saved, --resume continues")

    def _after(self, terms: dict[str, Tensor]) -> bool:
        train, seen = self.config.train, self.engine.images_seen
        before = seen - train.batch
        self.averages.add(terms)
        self.journal.progress(seen)
        if _due(train.log_every, before, seen):
            self._log()
        if _due(train.grid_every, before, seen):
            self._grid()
        if _due(train.probe_every, before, seen) and seen < train.images:
            self._probe()
        if _due(train.save_every, before, seen):
            self.save()
        if self.stop_after is not None and time.monotonic() - self.started >= self.stop_after:
            self._stop("--stop-after")
        stop = self.engine.any_process(bool(self.stopped))
        if stop:
            self._stop("another process")
        return stop

    def _log(self) -> None:
        elapsed = time.monotonic() - self.journal.started
        rate = (self.engine.images_seen - self.journal.first) / elapsed
        self.journal.log(self.engine.images_seen, {**self.averages.take(), "images_per_second": round(rate, 1)})

    def _grid(self) -> None:
        if self.engine.accelerator.is_main_process:
            from studio.render import KINDS

            picture = KINDS["grid"](self.engine.ema.method, self.dataset, seed=self.config.seed)
            self.journal.picture(self.engine.images_seen, f"{self.engine.images_seen:08d}", picture)

    def _probe(self) -> None:
        if self.engine.accelerator.is_main_process:
            from studio.evaluate.probes import probe

            rows = probe(self.engine.ema.method, self.dataset, limit=2_000)["rows"]
            flat = {
                f"probe/{r['attribute']}/{space}": r[space]
                for r in rows
                for space in ("salient", "common")
                if r[space] is not None
            }
            self.journal.log(self.engine.images_seen, flat)

    def save(self) -> None:
        """Writes a checkpoint and removes the oldest beyond `train.keep`."""
        if not self.engine.accelerator.is_main_process:
            return
        tensors = {"weights": self.engine.method.state_dict(), "ema": self.engine.ema.method.state_dict()}
        manifest = {"studio": __version__, "iteration": self.engine.iteration, "shape": list(self.dataset.shape)}
        checkpoint.save(self.folder, self.engine.images_seen, tensors, self.engine.state(), manifest)
        checkpoint.prune(self.folder, self.config.train.keep)

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why

    def _where(self) -> str:
        engine = self.engine
        start = f"resumed at {engine.images_seen:,} images, " if engine.images_seen else ""
        parameters = sum(p.numel() for p in engine.method.parameters())
        return (
            f"{start}{self.config.method.name} on {self.config.data.name}, {parameters / 1e6:.2f} M parameters, "
            f"{engine.accelerator.device}, {engine.threads} threads, precision {self.config.train.mixed_precision}"
        )

    def _environment(self) -> dict[str, Any]:
        return {
            "studio": __version__, "python": platform.python_version(), "torch": torch.__version__,
            "device": str(self.engine.accelerator.device), "processes": self.engine.accelerator.num_processes,
            "threads": self.engine.threads, "command": shlex.join(sys.argv),
        }  # fmt: skip


def _due(every: int, before: int, after: int) -> bool:
    """Whether a multiple of `every` images lies in (before, after]; never when `every` is 0."""
    return every > 0 and after // every > before // every


class _signals:
    """While inside, SIGINT and SIGTERM ask for a stop after the running iteration; a second SIGINT is Python's own."""

    def __init__(self, stop: Callable[[str], None], signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> None:
        self.stop, self.signals = stop, signals

    def __enter__(self) -> None:
        self.before = {}
        for number in self.signals:
            try:
                self.before[number] = signal.signal(number, self._received)
            except ValueError:  # not the main thread: whoever called from a thread handles signals
                return

    def _received(self, number: int, frame: FrameType | None) -> None:
        self.stop(signal.Signals(number).name)
        signal.signal(number, self.before[number])

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def write_json(path: Path, value: object) -> None:
    """Writes JSON, whole or not at all."""
    partial = path.with_name(f".writing-{path.name}")
    partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
