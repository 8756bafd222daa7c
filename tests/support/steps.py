"""One iteration step by step."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from studio.build import build_dataset
from studio.method import Pair, Step
from studio.training.engine import Engine
from support.experiments import VARIANTS, tiny

TRAINED = [name for name in VARIANTS if name != "cpca"]  # the others are solved in closed form


def engine_of(name: str, **options: object) -> Engine:
    config = tiny(name, **options)
    return Engine(config, build_dataset(config))


def pair_of(engine: Engine) -> Pair:
    return engine.pairs[0]


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def moved(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {
        name for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }


def each_step(engine: Engine) -> Iterator[tuple[Step, dict[str, Tensor]]]:
    """Runs one iteration step by step, yielding the state before each."""
    engine.method.train()
    steps = engine.method.steps()
    pair = pair_of(engine)
    draws: list = [engine.method.draw(pair)]
    for number, step in enumerate(steps):
        before = snapshot(engine.method)
        engine.take(step, [pair], draws, keep=number + 1 < len(steps))
        yield step, before
