"""One training from start to end: its directory, resuming, and everything that happens regularly.

`TrainingSession.run` is the place to read: it walks `Engine.iterations` and logs, draws, probes and
saves every so many images.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from studio.build import build_dataset
from studio.config import Config, flatten
from studio.distributed.processes import is_lost_contact
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest
from studio.runs import checkpoint
from studio.runs.folder import find_folder
from studio.runs.lock import Lock
from studio.runs.provenance import environment
from studio.train_config import TRACKERS
from studio.training.claim import known_facts, read_stored, stored_precision, take_folder
from studio.training.engine import Engine
from studio.training.failures import NotFinite, OutOfMemory
from studio.training.logger import Averages, Logger
from studio.training.precision import settle_precision
from studio.training.recovery import Recovery, find_newest, load_checkpoint_
from studio.training.signals import ParentProcess, StopSignals
from studio.training.start import Beginning, find_beginning, note_of, refuse_misfit
from studio.training.state import engine_state
from studio.training.threads import keep_threads
from studio.training.trackers import check_installed

__all__ = ["TrainingSession", "due", "train"]

PROBED = 2_000  # images of each split that `train.probe_every` reads


def train(
    config: Config,
    folder: Path | None = None,
    resume: bool = False,
    stop_after: float | None = None,
    deterministic: bool = False,
    finish: Callable[["TrainingSession"], None] | None = None,
    allowed: Sequence[str] = (),
    start: Path | None = None,
) -> "TrainingSession":
    """Trains from the start or from the newest intact checkpoint, and writes a run directory.

    Args:
        config: the experiment.
        folder: the run's directory. If None, the next free `runs/NAME-N`, or the last one to
            resume.
        resume: whether to continue the run in the directory.
        stop_after: seconds after which to save and stop.
        deterministic: whether torch may use deterministic algorithms only. This holds for the
            whole process.
        finish: called when the budget is used, for example to probe and draw.
        allowed: fields of the config that a resumed training may change, besides those that do
            not affect the weights, for example `train.lr`. `data` accepts changed data.
        start: a run or an export whose averaged weights a new run starts from. A resumed run keeps
            its own state.

    Returns:
        the session, stopped or finished.

    Raises:
        StudioError: the directory, the config, the data or the machine do not allow the training.
    """
    if deterministic:
        torch.use_deterministic_algorithms(True)
    check_installed([name for name in config.train.log_with if name in TRACKERS])
    # Before anything is written, because the data or the machine may not allow the training.
    stored = read_stored(config, folder, resume, allowed)
    known = known_facts(config, folder, resume, allowed, stored)
    config, note = settle_precision(config, stored_precision(config, folder, resume, allowed))
    resumed = find_folder(config, folder, resume, allowed) if resume else None
    beginning = find_beginning(start, resumed)
    threads = keep_threads(config, resumed)
    engine = Engine(config, build_dataset(config, known), threads)
    if beginning is not None and beginning.run is not None:
        refuse_misfit(engine.method, config, engine.dataset.shape, beginning.run)
    processes, lock = engine.processes, Lock()
    try:
        with processes.skip_destruction_on_error():
            folder, changes = processes.decide_on_first(
                lambda: take_folder(
                    config, folder, resume, allowed, lock, engine.dataset, stored, beginning
                )
            )
            session = TrainingSession(config, folder, engine, stop_after, changes, note, beginning)
            with closing(session.logger):
                stopped = session.run(finish)
            lock.release()
            # The first process may still write for longer than a launcher waits for the others.
            if stopped:
                processes.wait()
    except torch.OutOfMemoryError as error:
        raise StudioError(
            f"out of memory at train.batch: {config.train.batch}; smaller micro-batches do not "
            f"help: {error}"
        ) from error
    except RuntimeError as error:
        if processes.count == 1 or not is_lost_contact(error):
            raise
        raise StudioError(
            f"another process has ended; --resume continues from the newest checkpoint ({error})"
        ) from error
    finally:
        lock.release()
    return session


class TrainingSession:
    """A training in its directory.

    Making one loads the directory's newest intact checkpoint into the engine, if there is one.

    Args:
        config: the experiment.
        folder: the run's directory.
        engine: takes the iterations.
        stop_after: seconds after which to save and stop.
        changes: differences of the data from those of the run until now, for its log.
        note: another sentence for its log.
        beginning: the trained nets from which the training starts or started, if it did.

    Attributes:
        stopped: the reason why the training ended before its budget: "SIGINT", "SIGTERM",
            "SIGUSR1", "--stop-after", "the end of the launcher", or "another process" if a reason
            reached only that one. "" if it did not end before its budget.
        logger: writes the log and shows progress.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        engine: Engine,
        stop_after: float | None = None,
        changes: str = "",
        note: str = "",
        beginning: Beginning | None = None,
    ) -> None:
        self.config, self.folder, self.engine, self.stop_after = config, folder, engine, stop_after
        self.dataset, self.processes = engine.dataset, engine.processes
        self.started, self.parent, self.stopped = time.monotonic(), ParentProcess(), ""
        self.averages, self.since_saved = Averages(), Averages()
        damaged: list[str] = []
        newest = find_newest(self.processes, folder, damaged.append)
        if newest is not None:
            load_checkpoint_(engine, newest)
        elif beginning is not None:
            beginning.load_(engine)
        if self.processes.first:
            checkpoint.discard_after(folder, engine.images_seen)
        self.logger = Logger(
            folder,
            config.train.images,
            engine.images_seen,
            quiet=not self.processes.first,
            log_with=config.train.log_with,
            config=flatten(config.model_dump(mode="json")),
        )
        chosen = engine.pairs.training.notes()
        notes = [*self.dataset.notes(), *chosen, *engine.method.notes(), note]
        for line in [*damaged, *notes, note_of(beginning, self.dataset)]:
            if line:
                self.logger.say(line)
        if changes:
            self.logger.say(f"the data differ from those of the run until now: {changes}")
        self.environment = {
            **environment(),
            "device": str(engine.accelerator.device),
            "processes": self.processes.count,
            "threads": engine.threads,
            "precision": config.train.mixed_precision,
            **({"data_changes": changes} if changes else {}),
            **({"started_from": beginning.start.to_json()} if beginning is not None else {}),
        }
        self.logger.log(engine.images_seen, {"started": self.environment})
        self.recovery = Recovery(engine, self.logger, folder, (self.averages, self.since_saved))
        if newest is None and beginning is not None:
            self.save()  # so that neither a resume nor a roll-back returns to random nets

    def run(self, finish: Callable[["TrainingSession"], None] | None) -> bool:
        """Trains until the budget is used, `train.stop_when` ends it or something stops it.

        Then it saves.

        Args:
            finish: called in the first process when the training is complete.

        Returns:
            whether the training was stopped, which all processes then know.
        """
        self.logger.say(f"{self.folder}: {self._describe()}")
        with StopSignals(self.stop):
            while not self._train():
                pass
            self.save()
            # A signal may have reached one of the processes since the last iteration.
            (stop,) = self.processes.any(bool(self.stopped))
        if stop:
            self.stop("another process")
        elif not self.processes.first:
            # The signal came after the last question, when nothing was left to stop.
            self.stopped = ""
        # Outside `StopSignals`: everything is saved, so a signal may end the pictures at once.
        if not self.stopped and finish is not None and self.processes.first:
            finish(self)
        if self.stopped:
            self.logger.say(
                f"stopped by {self.stopped} at {self.engine.images_seen:,} images; saved, "
                "--resume continues"
            )
        return stop

    def _train(self) -> bool:
        """Trains until the end, or recovers from a failure and returns False."""
        train, failure = self.config.train, None
        if self.engine.watch.ended:  # a resumed training that had ended
            return True
        regular = (train.log_every, train.grid_every, train.probe_every, train.save_every)
        try:
            for terms in self.engine.iterations(train.images):
                self.record(terms)
                if any(map(self._due, regular)):
                    self.engine.finite.look()
                if self._due(train.log_every):
                    self._log()
                if self._due(train.grid_every):
                    self.draw_grid()
                if self._due(train.probe_every) and self.engine.images_seen < train.images:
                    self.probe()
                if self._due(train.save_every):
                    self.save()
                if self.must_stop():
                    self.engine.finite.look()
                    break
            return True
        except (NotFinite, OutOfMemory) as error:
            # The traceback's frames hold the batch, whose memory the recovery needs.
            failure = error.with_traceback(None)
        self.recovery.recover(failure)
        return False

    def _due(self, every: int) -> bool:
        seen = self.engine.images_seen
        return due(every, seen - self.config.train.batch, seen)

    def record(self, terms: dict[str, Tensor]) -> None:
        """Records the terms' means of an iteration, and shows progress.

        Raises:
            StudioError: `train.keep_best` or `train.stop_when.term` names no term.
        """
        self.averages.add(terms)
        self.engine.watch.add(terms)
        best = self.config.train.keep_best
        if best and best not in terms:
            raise StudioError(f"train.keep_best: no such term {best!r}{nearest(best, terms)}")
        if best:
            self.since_saved.add({best: terms[best]})
        self.logger.show_progress(self.engine.images_seen)

    def _log(self) -> None:
        seen = self.engine.images_seen
        rate = round(self.logger.images_per_second(seen), 1)
        self.logger.log(seen, {**self.averages.take(), "images_per_second": rate})
        self.engine.watch.look()

    def draw_grid(self) -> None:
        """Draws a grid of samples into the log and `grids/`."""
        if self.processes.first:
            from studio.render.registry import (
                PICTURES,  # takes a second that the first step need not
            )

            seen = self.engine.images_seen
            picture = PICTURES["grid"](self.engine.ema.method, self.dataset, seed=self.config.seed)
            self.logger.picture(seen, f"{seen:08d}", picture)

    def probe(self) -> None:
        """Logs how well each attribute is read from each code, on a part of the images.

        With them it logs the distance between the common codes of both domains, which Choudhuri et
        al. (2019), Fig. 6a, draw over the training.
        """
        if self.processes.first:
            # As in `draw_grid`.
            from studio.evaluate.probes import ProbeOptions, encode_train_and_test, probe_codes
            from studio.evaluate.separation import w2_common

            method, options = self.engine.ema.method, ProbeOptions(limit=PROBED)
            train, test = encode_train_and_test(method, self.dataset, options)
            rows = probe_codes(method, self.dataset, train, test, options)["rows"]
            background, target = (test.of(domain).spaces["common"] for domain in DOMAINS)
            distance = w2_common(background, target)
            values = {
                f"probe/{row['attribute']}/{space}": row[space]
                for row in rows
                for space in ("salient", "common")
                if row[space] is not None
            }
            known = {k: v for k, v in distance.items() if k != "w2_n" and v is not None}
            self.logger.log(
                self.engine.images_seen,
                values | {f"separation/{name}": value for name, value in known.items()},
            )
            self.engine.watch.look_at_probe(values)

    def save(self) -> None:
        """Writes a checkpoint, and removes those that the config does not keep.

        The fields are `train.keep`, `train.keep_every` and `train.keep_best`.
        """
        if not self.processes.first:
            return
        engine, train = self.engine, self.config.train
        tensors = {"weights": engine.method.state_dict(), "ema": engine.ema.method.state_dict()}
        manifest = {
            **self.environment,
            "iteration": engine.iteration,
            "shape": list(self.dataset.shape),
            # Means since the last checkpoint, so that a resumed training begins where they begin.
            "means": self.since_saved.take(),
            **({"ended": engine.watch.record()} if engine.watch.ended else {}),
        }
        checkpoint.save(self.folder, engine.images_seen, tensors, engine_state(engine), manifest)
        checkpoint.prune(self.folder, train.keep, train.keep_every, train.keep_best)

    def must_stop(self) -> bool:
        """Returns whether this process or another has a reason to stop, or to end the training."""
        if self.stop_after is not None and time.monotonic() - self.started >= self.stop_after:
            self.stop("--stop-after")
        if self.parent.died():
            self.stop("the end of the launcher")
        stop, ended = self.processes.any(bool(self.stopped), self.engine.watch.ended)
        if stop:
            self.stop("another process")
        if ended and self.processes.first:
            self.logger.say(f"ended by {self.engine.watch.describe()}")
            self.logger.log(self.engine.images_seen, {"ended": self.engine.watch.describe()})
        return stop or ended

    def stop(self, reason: str) -> None:
        """Records the first reason to stop."""
        self.stopped = self.stopped or reason

    def _describe(self) -> str:
        engine, config = self.engine, self.config
        resumed = f"resumed at {engine.images_seen:,} images, " if engine.images_seen else ""
        parameters = sum(p.numel() for p in engine.method.parameters()) / 1e6
        return (
            f"{resumed}{config.method.name} on {config.data.name}, {parameters:.2f} M parameters, "
            f"{engine.accelerator.device}, {engine.threads} threads, "
            f"precision {config.train.mixed_precision}"
        )


def due(every: int, before: int, after: int) -> bool:
    """Returns whether a multiple of `every` images is in (before, after]. 0 is never."""
    return every > 0 and after // every > before // every
