"""Recovery of a training whose step failed: return to a checkpoint, or use smaller micro-batches.

After non-finite numbers the training returns to its newest checkpoint, or to its start, and
continues with half the learning rate, at most `train.rollbacks` times. Then it ends with an error.
Each time it writes a diagnosis to `RUN/not_finite/NNNNNNNN-K.json` (NNNNNNNN = images seen, K =
earlier returns), and the last time the weights as well. The diagnosis contains the images, the seed
and the learning rate of the iteration, so that it can be repeated.

The number of returns is part of the training's state. A training that is killed after a return
and resumes from the same checkpoint meets the same numbers and does the same, so that it reaches
the weights of an uninterrupted training.
"""

import gc
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from studio.atomic import write_json
from studio.data import PairStream
from studio.distributed.processes import Processes
from studio.domains import DOMAINS
from studio.errors import StudioError, reason_of, warn
from studio.runs import checkpoint
from studio.seeds import seed_of
from studio.training.engine import Engine, refuse_micro_batches
from studio.training.failures import NotFinite, OutOfMemory
from studio.training.logger import Averages, Logger
from studio.training.state import load_state_, restart_, set_rollbacks_

__all__ = ["Recovery", "find_newest", "load_checkpoint_", "split_batch_further_"]


def load_checkpoint_(engine: Engine, chosen: checkpoint.Checkpoint) -> None:
    """Makes an engine continue from a checkpoint.

    Raises:
        StudioError: the checkpoint does not fit the config.
    """
    try:
        load_state_(engine, chosen.tensors("weights"), chosen.tensors("ema"), chosen.training())
    except (RuntimeError, KeyError, ValueError) as error:
        raise StudioError(
            f"{chosen.path}: does not fit the run's config: {reason_of(error)}"
        ) from None


def find_newest(
    processes: Processes, run: Path, report: Callable[[str], None] | None = None
) -> checkpoint.Checkpoint | None:
    """Finds the newest intact checkpoint, the same one in every process.

    The first process decides. If each process looked for itself, one that does not see the run's
    directory would start over while the others resume.

    Args:
        processes: all processes of the training. All of them must call this.
        run: the run's directory.
        report: called in the first process with a line for every damaged checkpoint.

    Returns:
        the checkpoint, or None if there are no checkpoints.

    Raises:
        StudioError: all checkpoints are damaged, or a process does not see the one that the first
            process found. Every process raises it.
    """

    def newest() -> int | None:
        found = checkpoint.newest(run, report)
        return found and found.images_seen

    number = processes.decide_on_first(newest)
    if number is None:
        return None
    seen = [found for found in checkpoint.every(run) if found.images_seen == number]
    blind = processes.all(None if seen else f"rank {processes.rank} on {socket.gethostname()}")
    if blind:
        raise StudioError(
            f"{run}: checkpoint {number:08d} is not seen by {', '.join(blind)}; "
            "expected one directory that the processes of all nodes share"
        )
    return seen[0]


def split_batch_further_(engine: Engine) -> None:
    """Doubles the number of micro-batches, or takes the next number that divides the batch.

    Raises:
        StudioError: the method needs whole batches, or a micro-batch has one image of each domain.
    """
    batch, half = engine.config.train.batch, engine.pairs.half
    refuse_micro_batches(engine, f"out of memory at train.batch: {batch}; ")
    larger = [n for n in range(2 * engine.accumulate, half + 1) if half % n == 0]
    if not larger:
        raise StudioError(
            "out of memory with one image of each domain at a time; "
            "expected smaller images or networks"
        )
    engine.accumulate = larger[0]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Recovery:
    """Brings a training back to a state from which it can continue.

    Args:
        engine: the engine.
        logger: reports each recovery, and forgets the images that will be seen again.
        folder: the run's directory.
        averages: the means of terms that start over at a return.
    """

    def __init__(
        self, engine: Engine, logger: Logger, folder: Path, averages: Sequence[Averages]
    ) -> None:
        self.engine, self.logger, self.folder, self.averages = engine, logger, folder, averages

    def recover(self, failure: NotFinite | OutOfMemory) -> None:
        """Recovers from a failure of a step.

        Raises:
            StudioError: the training cannot recover, see `roll_back` and `use_smaller_batches`.
        """
        if isinstance(failure, NotFinite):
            self.roll_back(failure)
        else:
            self.use_smaller_batches(failure)

    def roll_back(self, failure: NotFinite) -> None:
        """Returns to the newest intact checkpoint, or to the start, at half the learning rate.

        Raises:
            NotFinite: the config allows no further return.
        """
        engine = self.engine
        done, allowed = engine.rollbacks, engine.config.train.rollbacks
        last = done >= allowed
        if engine.processes.first:
            self._write_diagnosis(failure, with_weights=last)
        if last:
            engine.processes.wait()  # until the first process has written the diagnosis
            tried = f" after {done} roll-back{'s' * (done != 1)}" if done else ""
            note = f"{tried}; see {self.folder / 'not_finite'}"
            raise NotFinite(failure.iteration, failure.images_seen, failure.faults, note)
        self._return_to_checkpoint()
        set_rollbacks_(engine, done + 1)
        self.logger.say(
            f"{failure}; back to {engine.images_seen:,} images with lr {engine.lr:g} "
            f"(roll-back {done + 1} of {allowed})"
        )
        self.logger.log(engine.images_seen, {"rollback": str(failure), "lr": engine.lr})

    def use_smaller_batches(self, failure: OutOfMemory) -> None:
        """Splits the batch into more micro-batches.

        If the iteration has already moved a network, the training returns to the newest checkpoint.

        Raises:
            StudioError: the batch cannot be split further.
        """
        engine = self.engine
        split_batch_further_(engine)
        accumulate = engine.accumulate
        if failure.moved:
            self._return_to_checkpoint()
            engine.accumulate = accumulate
        self.logger.say(
            f"{failure}: each batch now passes in {accumulate} micro-batches, with the same "
            "gradients" + f"; back to {engine.images_seen:,} images" * failure.moved
        )
        self.logger.log(engine.images_seen, {"out_of_memory": str(failure), "parts": accumulate})

    def _return_to_checkpoint(self) -> None:
        self.engine.finite.forget()
        found = find_newest(self.engine.processes, self.folder)
        if found is None:
            restart_(self.engine)
        else:
            load_checkpoint_(self.engine, found)
        for averages in self.averages:
            averages.take()
        self.logger.forget_after(self.engine.images_seen)

    def _write_diagnosis(self, failure: NotFinite, with_weights: bool) -> None:
        engine, folder = self.engine, self.folder / "not_finite"
        name = f"{failure.images_seen:08d}-{engine.rollbacks}"
        try:
            folder.mkdir(exist_ok=True)
            write_json(folder / f"{name}.json", _diagnose(engine, failure))
            if with_weights:
                weights = {
                    key: value.detach().cpu().contiguous()
                    for key, value in engine.method.state_dict().items()
                }
                save_file(weights, folder / f"{name}.safetensors")
        # safetensors raises SafetensorError when the disk is full.
        except (OSError, StudioError, SafetensorError) as error:
            warn(f"{folder}: the diagnosis could not be written: {reason_of(error)}")


def _diagnose(engine: Engine, failure: NotFinite) -> dict[str, object]:
    """Returns the images, seeds and settings that repeat the failed iteration."""
    world, seed = engine.processes.count, engine.config.seed
    ranks = []
    for rank in range(world):
        pairs = PairStream(engine.dataset, engine.pairs.half, seed, rank, world)
        images = {domain: pairs.indices(failure.iteration, domain).tolist() for domain in DOMAINS}
        torch_seed = seed_of("iteration", seed, rank, failure.iteration)
        ranks.append({"rank": rank, "torch_seed": torch_seed, "images": images})
    return {
        "iteration": failure.iteration,
        "images_seen": failure.images_seen,
        "lr": engine.lr,
        "parts": engine.accumulate,
        "rollbacks": engine.rollbacks,
        "ranks": ranks,
        "faults": [
            {
                "rank": fault.rank,
                "step": fault.step,
                "terms": {name: str(value) for name, value in fault.terms.items()},
                "gradients": fault.gradients,
            }
            for fault in failure.faults
        ],
    }
