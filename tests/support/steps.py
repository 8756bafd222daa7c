"""One iteration of the engine, observed step by step."""

import torch
from torch import Tensor, nn

from studio.build import build_dataset
from studio.method import Draw, Pair, Step
from studio.training.engine import Engine
from support.experiments import tiny


def engine_of(name: str, **train_fields: object) -> Engine:
    """Returns an engine for a tiny experiment."""
    config = tiny(name, **train_fields)
    return Engine(config, build_dataset(config))


def first_pair(engine: Engine) -> Pair:
    """Returns the pair of iteration 0."""
    return engine.pairs[0]


def copy_state(net: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of all parameters and buffers by name."""
    return {name: value.clone() for name, value in net.state_dict().items()}


def changed_names(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Returns the names of the parameters and buffers that differ from a copy."""
    return {
        name for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }


def changes_by_step(engine: Engine) -> list[tuple[Step, set[str]]]:
    """Runs one iteration and returns the names of the tensors that each step changed.

    Changes by a draw, for example of running statistics, count for no step.
    """
    method, draw = engine.method, engine.method.draw
    changes: list[tuple[Step, set[str]]] = []
    before: dict[str, Tensor] = {}

    def record_draw(pair: Pair) -> Draw:
        drawn = draw(pair)
        before.update(copy_state(method))
        return drawn

    def record_step(step: Step) -> None:
        changes.append((step, changed_names(method, before)))
        before.update(copy_state(method))

    method.draw = record_draw
    hooks = [
        engine.optimizers[step.name].optimizer.register_step_post_hook(
            lambda *_, step=step: record_step(step)
        )
        for step in method.steps()
    ]
    engine.advance(first_pair(engine))
    for hook in hooks:
        hook.remove()
    del method.draw
    return changes
