"""The state of a training apart from its weights: taking it, loading it, and starting over."""

import torch
from torch import Tensor

from studio.build import build_method
from studio.errors import StudioError
from studio.training.engine import Engine

__all__ = ["engine_state", "load_state_", "restart_", "set_rollbacks_"]


def engine_state(engine: Engine) -> dict[str, object]:
    """Returns everything besides the weights that resuming needs, in plain containers."""
    scaler = engine.accelerator.scaler
    return {
        "iteration": engine.iteration,
        "parts": engine.accumulate,  # the name in stored checkpoints
        "rollbacks": engine.rollbacks,
        "optimizers": {name: o.state_dict() for name, o in engine.optimizers.items()},
        **({} if engine.watch.section is None else {"watch": engine.watch.state()}),
        **({} if scaler is None else {"scaler": scaler.state_dict()}),
    }


def load_state_(
    engine: Engine, weights: dict[str, Tensor], ema: dict[str, Tensor], state: dict
) -> None:
    """Makes an engine continue from a stored state.

    Args:
        engine: changed in place.
        weights: the state dict of the trained method.
        ema: the state dict of its moving average.
        state: from `engine_state`.

    Raises:
        StudioError: a process's share of a batch is not a multiple of the micro-batches.
    """
    engine.method.load_state_dict(weights)
    engine.ema.method.load_state_dict(ema)
    engine.iteration = int(state["iteration"])
    engine.accumulate = max(int(state["parts"]), engine.config.train.accumulate)
    if engine.pairs.half % engine.accumulate:
        raise StudioError(
            f"the run splits its batch into {engine.accumulate} micro-batches, but a process has "
            f"{engine.pairs.half} images of each domain; expected a multiple: resume it with as "
            "many processes as before"
        )
    for name, optimizer in engine.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    set_rollbacks_(engine, int(state["rollbacks"]))
    engine.watch.load_(state.get("watch"))
    if engine.accelerator.scaler is not None and "scaler" in state:
        engine.accelerator.scaler.load_state_dict(state["scaler"])


def restart_(engine: Engine) -> None:
    """Returns an engine to its initial weights, which the seed decides.

    The number of micro-batches stays as it is, because memory is as short as before.
    """
    initial = build_method(engine.config, engine.dataset.shape).state_dict()
    if engine.accelerator.scaler is not None:
        engine.accelerator.scaler.load_state_dict(torch.amp.GradScaler().state_dict())
    for method in (engine.method, engine.ema.method):
        method.load_state_dict(initial)
    engine.iteration, engine.rollbacks = 0, 0
    engine.watch.reset_()
    engine.make_optimizers()


def set_rollbacks_(engine: Engine, rollbacks: int) -> None:
    """Sets the number of returns to a checkpoint, and with it the learning rate.

    The betas become those of the config, because a loaded optimiser brings those of its checkpoint.
    """
    engine.rollbacks = rollbacks
    for optimizer in engine.optimizers.values():
        for group in optimizer.param_groups:
            group.update(lr=engine.lr, betas=engine.config.train.betas)
