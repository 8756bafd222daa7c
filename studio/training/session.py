"""One training from start to end: its directory, resuming, and what happens every so many images."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.atomic import write_json, write_text
from studio.build import build_dataset
from studio.config import Config, dump, read_yaml, resolve
from studio.distributed.processes import lost_contact
from studio.errors import StudioError, nearest
from studio.runs import checkpoint
from studio.runs.lock import Lock
from studio.runs.provenance import environment
from studio.training.engine import Engine
from studio.training.failures import NotFinite, OutOfMemory
from studio.training.logger import Averages, Journal
from studio.training.recovery import give_smaller_parts, load_checkpoint, newest_for_all, roll_back
from studio.training.signals import Launcher, Signals

__all__ = [
    "Training",
    "claim_folder",
    "duration",
    "find_folder",
    "flattened",
    "train",
    "write_json",
]

HARMLESS = {  # fields that a resumed training may change: they decide how long and how loudly, not what is learnt
    "name",
    "train.images",
    "train.threads",
    "train.workers",
    "train.log_every",
    "train.grid_every",
    "train.probe_every",
    "train.save_every",
    "train.keep",
    "train.keep_every",
    "train.keep_best",
    "train.rollbacks",
    "paper",
}


OURS = (
    ".lock",
    ".writing-",
)  # what a training that was killed before it had begun leaves in a directory


def train(
    config: Config,
    folder: Path | None = None,
    resume: bool = False,
    stop_after: float | None = None,
    deterministic: bool = False,
    finish: Callable[["Training"], None] | None = None,
    allowed: Sequence[str] = (),
) -> "Training":
    """Trains, from the start or from the newest whole checkpoint, and leaves a run directory.

    Args:
        config: the experiment.
        folder: the run's directory; the next free `runs/NAME-N` when None, or the last one when resuming.
        resume: continue what stands in the directory.
        stop_after: seconds after which to save and stop.
        deterministic: ask torch for deterministic algorithms only.
        finish: called once the budget is used, e.g. to probe and draw.
        allowed: fields of the config that a resumed training may change beside the harmless ones, e.g. `train.lr`.

    Returns:
        the training, stopped or finished.

    Raises:
        StudioError: the directory, config, data or machine stand in the way.
    """
    if deterministic:
        torch.use_deterministic_algorithms(True)
    engine = Engine(
        config, build_dataset(config)
    )  # before anything is written: data or machine may stand in the way
    lock = Lock()
    try:
        with engine.processes.at_work():
            folder = engine.processes.decided_by_first(
                lambda: _take_folder(config, folder, resume, allowed, lock)
            )
            training = Training(config, folder, engine, stop_after)
            with closing(training.journal):
                stopped = training.run(finish)
            lock.release()
            if stopped:  # what the first writes may take longer than a launcher waits for it
                engine.processes.wait()
    except torch.OutOfMemoryError as error:
        raise StudioError(
            f"out of memory at train.batch: {config.train.batch}, where no smaller parts help: {error}"
        ) from error
    except RuntimeError as error:
        if engine.processes.count == 1 or not lost_contact(error):
            raise
        raise StudioError(
            f"another process has gone; --resume continues from the newest checkpoint ({error})"
        ) from error
    finally:
        lock.release()
    return training


def _take_folder(
    config: Config, folder: Path | None, resume: bool, allowed: Sequence[str], lock: Lock
) -> Path:
    folder = find_folder(config, folder, resume, allowed)
    _make(folder)
    lock.acquire(folder)
    find_folder(
        config, folder, resume, allowed
    )  # again: whoever held it until now may have made a run of it
    return claim_folder(config, folder)


def find_folder(
    config: Config, folder: Path | None, resume: bool, allowed: Sequence[str] = ()
) -> Path:
    """Finds the run's directory and whether it may be used; writes nothing.

    Raises:
        StudioError: there is a run already and `resume` is off, none and it is on, or its config differs.
    """
    if folder is None:
        folder = _last_run(config.name) if resume else _next_run(config.name)
    saved = folder / "config.yaml"
    if saved.is_file():
        if not resume:
            raise StudioError(
                f"{folder}: a run is there already; --resume continues it, another --run leaves it alone"
            )
        _refuse_changes(folder, config, allowed)
    elif resume and not folder.exists():
        raise StudioError(f"--resume: {folder}: no such run")
    elif folder.exists() and (
        not folder.is_dir() or any(not path.name.startswith(OURS) for path in folder.iterdir())
    ):
        raise StudioError(
            f"{folder}: not empty and not a run (no config.yaml in it); give another --run"
        )
    return folder


def claim_folder(config: Config, folder: Path) -> Path:
    """Makes the run's directory, saves the resolved config in it, and returns it.

    Raises:
        StudioError: it cannot be written.
    """
    _make(folder)
    write_text(folder / "config.yaml", dump(config))
    return folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudioError(f"{folder}: cannot be written: {error.strerror}") from None


def _next_run(name: str) -> Path:
    taken = _runs(name)
    return Path("runs") / f"{name}-{max(taken, default=0) + 1}"


def _last_run(name: str) -> Path:
    taken = _runs(name)
    if not taken:
        raise StudioError(
            f"--resume: no run of {name} in {Path('runs').resolve()}; --run DIR names one elsewhere"
        )
    return Path("runs") / f"{name}-{max(taken)}"


def _runs(name: str) -> list[int]:
    found = (
        re.fullmatch(re.escape(name) + r"-(\d+)", path.name) for path in Path("runs").glob("*")
    )
    return [int(match[1]) for match in found if match]


def _refuse_changes(folder: Path, config: Config, allowed: Sequence[str]) -> None:
    old = resolve(read_yaml(folder / "config.yaml"), folder.name, str(folder / "config.yaml"))
    before, after = (
        flattened(old.model_dump(mode="json")),
        flattened(config.model_dump(mode="json")),
    )
    unknown = [name for name in allowed if name not in before and name not in after]
    if unknown:
        raise StudioError(f"--allow {unknown[0]}: no such field{nearest(unknown[0], after)}")
    free = HARMLESS | {*allowed}
    differing = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    changed = [key for key in differing if key not in free and key.partition(".")[0] not in free]
    if changed:
        lines = "\n".join(
            f"  {key}: {before.get(key)!r} in the run, {after.get(key)!r} now" for key in changed
        )
        raise StudioError(
            f"{folder}: cannot be resumed with another config; --allow FIELD takes a change\n{lines}"
        )


def flattened(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a config's fields by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            flattened(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
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
        stopped: why it ended before its budget: "SIGINT", "SIGTERM", "SIGUSR1", "--stop-after", "the end of the launcher", or
            "another process", one of whose reasons it was; "" if it did not.
    """

    config: Config
    folder: Path
    engine: Engine
    stop_after: float | None = None
    stopped: str = ""
    averages: Averages = field(default_factory=Averages)
    since_saved: Averages = field(default_factory=Averages)

    def __post_init__(self) -> None:
        self.started, self.launcher = time.monotonic(), Launcher()
        self.dataset = self.engine.dataset
        faults: list[str] = []
        last = newest_for_all(self.engine.processes, self.folder, faults.append)
        if last is not None:
            load_checkpoint(self.engine, last)
        main = self.engine.processes.first
        if main:
            checkpoint.discard_after(self.folder, self.engine.images_seen)
        self.journal = Journal(
            self.folder, self.config.train.images, self.engine.images_seen, quiet=not main
        )
        for line in [*faults, *self.dataset.notes(), *self.engine.method.notes()]:
            self.journal.say(line)
        self.environment = {**environment(), **self._here()}
        self.journal.log(self.engine.images_seen, {"started": self.environment})

    def run(self, finish: Callable[["Training"], None] | None) -> bool:
        """Trains until the budget is used or something stops it; then saves, and finishes what is finished.

        Returns:
            whether all processes know that it was stopped.
        """
        self.journal.say(f"{self.folder}: {self._where()}")
        with Signals(self._stop):
            while self.engine.images_seen < self.config.train.images and not self._fit():
                pass
            self.save()
            (stop,) = self.engine.processes.any(
                bool(self.stopped)
            )  # a signal may have reached one of them since
        if stop:
            self._stop("another process")
        elif not self.engine.processes.first:
            self.stopped = ""  # after it had been asked: there was nothing left to stop, and the first finishes
        # Outside: everything is saved by now, so a signal may end the pictures at once.
        if not self.stopped and finish is not None and self.engine.processes.first:
            finish(self)
        if self.stopped:
            self.journal.say(
                f"stopped by {self.stopped} at {self.engine.images_seen:,} images; saved, --resume continues"
            )
        return stop

    def _fit(self) -> bool:
        """Trains on, mends what can be mended where a step cannot be taken, and returns whether all processes stop."""
        trouble = None
        try:
            return self.engine.fit(self.config.train.images, self._after)
        except (NotFinite, OutOfMemory) as fault:
            trouble = fault.with_traceback(None)  # whose frames hold the batch
        if isinstance(trouble, NotFinite):
            roll_back(self, trouble)
        elif trouble is not None:
            give_smaller_parts(self, trouble)
        return False

    def _after(self, terms: dict[str, Tensor]) -> bool:
        train, seen = self.config.train, self.engine.images_seen
        before = seen - train.batch
        self.averages.add(terms)
        self.since_saved.add(self._ranked(terms))
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
        if self.launcher.gone():
            self._stop("the end of the launcher")
        (stop,) = self.engine.processes.any(bool(self.stopped))
        if stop:
            self._stop("another process")
        return stop

    def _log(self) -> None:
        elapsed = time.monotonic() - self.journal.started
        rate = (self.engine.images_seen - self.journal.first) / elapsed
        self.journal.log(
            self.engine.images_seen, {**self.averages.take(), "images_per_second": round(rate, 1)}
        )

    def _grid(self) -> None:
        if self.engine.processes.first:
            from studio.render.kinds import KINDS

            picture = KINDS["grid"](self.engine.ema.method, self.dataset, seed=self.config.seed)
            self.journal.picture(self.engine.images_seen, f"{self.engine.images_seen:08d}", picture)

    def _probe(self) -> None:
        if self.engine.processes.first:
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
        """Writes a checkpoint and removes what none of `train.keep`, `train.keep_every` and `train.keep_best` keeps."""
        if not self.engine.processes.first:
            return
        tensors = {
            "weights": self.engine.method.state_dict(),
            "ema": self.engine.ema.method.state_dict(),
        }
        manifest = {
            **self.environment,
            "iteration": self.engine.iteration,
            "shape": list(self.dataset.shape),
        }
        means = (
            self.since_saved.take()
        )  # over the images since the last checkpoint, where a resumed training begins too
        checkpoint.save(
            self.folder,
            self.engine.images_seen,
            tensors,
            self.engine.state(),
            {**manifest, "means": means},
        )
        train = self.config.train
        checkpoint.prune(self.folder, train.keep, train.keep_every, train.keep_best)

    def _ranked(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the term that `train.keep_best` names."""
        name = self.config.train.keep_best
        if name and name not in terms:
            raise StudioError(f"train.keep_best: no such term {name!r}{nearest(name, terms)}")
        return {name: terms[name]} if name else {}

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

    def _here(self) -> dict[str, Any]:
        return {
            "device": str(self.engine.accelerator.device),
            "processes": self.engine.processes.count,
            "threads": self.engine.threads,
        }


def _due(every: int, before: int, after: int) -> bool:
    """Whether a multiple of `every` images lies in (before, after]; never when `every` is 0."""
    return every > 0 and after // every > before // every
