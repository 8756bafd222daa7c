"""What a training does when a step cannot be taken: back to the last checkpoint, smaller parts, or a clear end.

After numbers that are not finite the training goes back to its newest checkpoint, or to its start, and goes on with half the
learning rate, at most `train.rollbacks` times; then it stops. What was found is written to `RUN/not_finite/NNNNNNNN-K.json`
each time (NNNNNNNN = images seen, K = roll-backs before), and with the last one the weights as they were, so that the
iteration can be looked at again: its images, its seed and its learning rate are all there.

Roll-backs are counted in the training's state. A training that is killed after one and resumes from the same checkpoint meets
the same numbers again and does the same, so its weights are those of an undisturbed one.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from studio.atomic import write_json
from studio.data import PairStream
from studio.distributed.processes import Processes
from studio.errors import StudioError, warn
from studio.method import DOMAINS
from studio.runs import checkpoint
from studio.seeds import seed_of
from studio.training.engine import Engine
from studio.training.failures import NotFinite, OutOfMemory

if TYPE_CHECKING:
    from studio.training.session import Training

__all__ = ["give_smaller_parts", "load_checkpoint", "newest_for_all", "roll_back"]


def load_checkpoint(engine: Engine, chosen: checkpoint.Checkpoint) -> None:
    """Lets an engine go on from a checkpoint."""
    try:
        engine.load(chosen.tensors("weights"), chosen.tensors("ema"), chosen.training())
    except (RuntimeError, KeyError, ValueError) as error:
        raise StudioError(f"{chosen.path}: does not fit the run's config: {error}") from None


def newest_for_all(
    processes: Processes, run: Path, tell: Callable[[str], None] | None = None
) -> checkpoint.Checkpoint | None:
    """Returns the newest whole checkpoint as the first process finds it, in every process; None where there is none.

    Each looking for itself, those of a node that does not see the run's directory would start anew while others resume.

    Args:
        processes: which take part; all must call this.
        run: the run's directory.
        tell: called in the first process with a line for every damaged checkpoint that is passed over.

    Raises:
        StudioError: checkpoints exist and every one is damaged, or a process does not see the one that the first found; in
            every process.
    """

    def newest() -> int | None:
        found = checkpoint.newest(run, tell)
        return found and found.images_seen

    number = processes.decided_by_first(newest)
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


def roll_back(training: "Training", fault: NotFinite) -> None:
    """Returns to the newest whole checkpoint, or to the start, and halves the learning rate.

    Raises:
        NotFinite: the config allows no further roll-back.
    """
    engine, allowed = training.engine, training.config.train.rollbacks
    done, last = engine.rollbacks, engine.rollbacks >= allowed
    if engine.processes.first:
        _save_evidence(training, fault, with_weights=last)
    if last:
        engine.processes.wait()  # for the evidence
        tried = f" after {done} roll-back{'s' * (done != 1)}" if done else ""
        raise NotFinite(
            fault.iteration,
            fault.images_seen,
            fault.faults,
            f"{tried}; see {training.folder / 'not_finite'}",
        )
    _return(training)
    engine.slow_down(done + 1)
    training.journal.say(
        f"{fault}; back to {engine.images_seen:,} images with lr {engine.lr:g} (roll-back {done + 1} of {allowed})"
    )
    training.journal.log(engine.images_seen, {"rollback": str(fault), "lr": engine.lr})


def give_smaller_parts(training: "Training", fault: OutOfMemory) -> None:
    """Cuts the batch into more parts; goes back to the newest checkpoint if the iteration had moved something already.

    Raises:
        StudioError: it cannot be cut further.
    """
    engine = training.engine
    parts = engine.halve()
    if fault.moved:
        _return(training)
        engine.parts = parts
    training.journal.say(
        f"{fault}: the batch goes through in {parts} parts from now on, with the same gradients"
        + f"; back to {engine.images_seen:,} images" * fault.moved
    )
    training.journal.log(engine.images_seen, {"out_of_memory": str(fault), "parts": parts})


def _return(training: "Training") -> None:
    engine = training.engine
    found = newest_for_all(engine.processes, training.folder)
    if found is None:
        engine.restart()
    else:
        load_checkpoint(engine, found)
    training.averages.take()
    training.since_saved.take()
    training.journal.forget(engine.images_seen)


def _save_evidence(training: "Training", fault: NotFinite, with_weights: bool) -> None:
    engine, config = training.engine, training.config
    folder, name = training.folder / "not_finite", f"{fault.images_seen:08d}-{engine.rollbacks}"
    world, half = engine.processes.count, engine.pairs.half
    ranks = []
    for rank in range(world):
        pairs = PairStream(training.dataset, half, config.seed, rank, world)
        ranks.append(
            {
                "rank": rank,
                "torch_seed": seed_of("iteration", config.seed, rank, fault.iteration),
                "images": {
                    domain: pairs.indices(fault.iteration, domain).tolist() for domain in DOMAINS
                },
            }
        )
    evidence: dict[str, Any] = {
        "iteration": fault.iteration,
        "images_seen": fault.images_seen,
        "lr": engine.lr,
        "parts": engine.parts,
        "rollbacks": engine.rollbacks,
        "ranks": ranks,
        "faults": [
            {
                "rank": f.rank,
                "step": f.step,
                "terms": {n: str(v) for n, v in f.terms.items()},
                "gradients": f.gradients,
            }
            for f in fault.faults
        ],
    }
    try:
        folder.mkdir(exist_ok=True)
        write_json(folder / f"{name}.json", evidence)
        if with_weights:
            weights = {
                key: value.detach().cpu().contiguous()
                for key, value in engine.method.state_dict().items()
            }
            save_file(weights, folder / f"{name}.safetensors")
    except (
        OSError,
        StudioError,
        SafetensorError,
    ) as error:  # the last is how safetensors says "disk full"
        warn(f"{folder}: the evidence could not be written: {error}")
