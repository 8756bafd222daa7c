"""Noise that depends only on the place of an image in the batch of all processes.

So it is the same for any number of micro-batches and processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from studio.distributed.processes import Processes
from studio.training.engine import Engine


@contextmanager
def fixed_noise(engine: Engine) -> Iterator[None]:
    """Lets the draws of an engine for image i of a domain depend on i alone.

    The index i counts over the joined batch of all processes.
    """
    half, rank = engine.pairs.half, engine.processes.rank
    whole, at = half * engine.processes.count, {"offset": 0, "size": half, "calls": 0, "pieces": []}

    def find_place(x: Tensor, calls: int) -> None:
        size = len(x)
        if not any(x is one for one in at["pieces"]):
            at["pieces"] = [*at["pieces"], x] if len(at["pieces"]) * size < half else [x]
        number = next(i for i, one in enumerate(at["pieces"]) if one is x)
        at.update(offset=rank * half + number * size, size=size, calls=calls)

    def rows(n: int) -> Tensor:
        here = at["offset"] + torch.arange(at["size"])
        count = n // at["size"]  # one domain, both, or stacks of both
        assert n == count * at["size"]
        return torch.cat([here + i * whole for i in range(count)])

    def table(kind: str, n: int, tail: tuple[int, ...], limit: int = 0) -> Tensor:
        at["calls"] += 1
        generator = torch.Generator().manual_seed(at["calls"])
        size = (4 * whole, *tail)
        if kind == "int":
            return original["randint"](limit, size, generator=generator)[rows(n)]
        return original["randn"](size, generator=generator)[rows(n)]

    original = {
        name: getattr(torch, name) for name in ("randn", "randint", "randperm", "randn_like")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda n, *tail, **_: table("normal", n, tail))
        patch.setattr(
            torch, "randn_like", lambda x, **_: table("normal", len(x), tuple(x.shape[1:])).to(x)
        )
        patch.setattr(torch, "randint", lambda limit, size, **_: table("int", size[0], (), limit))
        patch.setattr(
            torch,
            "randperm",
            lambda n, **_: original["randperm"](n, generator=torch.Generator().manual_seed(n)),
        )
        draw, backward = Engine._draw, Engine._backward

        def _draw(self: Engine, pair: Any) -> Any:
            find_place(pair.x, 0)
            return draw(self, pair)

        def _backward(self: Engine, step: Any, drawn: Any, *rest: Any) -> Any:
            find_place(drawn.pair.x, 100)
            return backward(self, step, drawn, *rest)

        patch.setattr(Engine, "_draw", _draw)
        patch.setattr(Engine, "_backward", _backward)
        yield


def gradients(engine: Engine, before_averaging: bool = False) -> dict[str, Tensor]:
    """Does iteration 0 and returns the gradients that each optimiser received.

    The keys name step and parameter.
    """
    found: dict[str, Tensor] = {}
    average = Processes.average
    names = {id(p): name for name, p in engine.method.named_parameters()}

    def recording(self: Processes, parameters: list) -> None:
        if not before_averaging:
            average(self, parameters)
        for parameter in parameters:
            if parameter.grad is not None:
                key = f"{len(found)} {names[id(parameter)]}"
                found[key] = parameter.grad.detach().clone().contiguous()
        if before_averaging:
            average(self, parameters)

    with fixed_noise(engine), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "average", recording)
        engine.advance(engine.pairs[0])
    return found


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Returns the largest difference of two sets of tensors, over the largest entry of `a`."""
    assert a.keys() == b.keys()
    largest = max(float(value.abs().max()) for value in a.values())
    return max(float((a[name] - b[name]).abs().max()) for name in a) / largest
