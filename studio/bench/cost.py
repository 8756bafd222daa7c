"""The cost of a training iteration, beside other implementations and the machine's limits.

Three other implementations run in turn with the engine on the same images, so that other work of
the machine slows all of them:

* The naive one is that which a reader of the paper would write: every step of the method makes its
  own draws, and its loss is differentiated through everything that it reaches, whatever the step
  moves. The engine draws once where that is exact, and differentiates only towards the nets that
  move.
* For Double InfoGAN also the authors' own update (`studio.bench.authors`), without and with their
  branch of the contrastive regulariser, which they compute even if its weight is 0.

Torch counts the operations (`torch.utils.flop_counter`: convolutions and matrix products, 2
operations per multiply-add, padding included). One count is enough, because the work depends only
on nets and batch. There are two limits (`studio.bench.ceiling`): the rate of one large matrix
product in the precision of the training, and the convolutions of the iteration alone. Images are
the real ones of both domains, as in `images_seen`.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from studio.bench.authors import AuthorsUpdate
from studio.bench.ceiling import GIGA, LayerCeiling, measure_ceiling, measure_layers, wait
from studio.bench.shares import measure_shares
from studio.build import build_dataset
from studio.config import Config
from studio.distributed.load import CLEAN, OtherLoad
from studio.errors import StudioError
from studio.method import Pair
from studio.methods.double_infogan import DoubleInfoGAN
from studio.runs.provenance import environment
from studio.training.engine import Engine
from studio.training.failures import OutOfMemory

__all__ = ["Cost", "bench", "run_naive_iteration"]

LAYERS_SHOWN = 8  # of the list of operations in the result
Way = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """The cost of an iteration.

    Attributes:
        seconds: wall time of the median iteration.
        seconds_least: wall time of the fastest iteration, which other work of the machine slowed
            least.
        processor_seconds: processor time of all threads together, mean over the iterations. On an
            accelerator this is only the time of the processes that feed it.
        images_per_second: real images of both domains, in the median iteration.
        gflop_per_image: counted operations, in 1e9.
        gflop_per_second: rate in the fastest iteration, because the ceiling is also that of the
            fastest product.
        share_of_ceiling: `gflop_per_second` over the ceiling.
    """

    seconds: float
    seconds_least: float
    processor_seconds: float
    images_per_second: float
    gflop_per_image: float
    gflop_per_second: float
    share_of_ceiling: float


def bench(config: Config, iterations: int = 10, naive: bool = True) -> dict[str, Any]:
    """Measures the cost of a training iteration. Nothing is written.

    Args:
        config: the experiment.
        iterations: the number of timed iterations, after some to warm up.
        naive: also measure the other implementations. They need more memory for their graphs.

    Returns:
        `ours`, `textbook`, `authors` and `authors_with_cr`: the `Cost` of the engine, of the naive
        implementation, and of the authors' update without and with CR (None if not measured).
        `speedup`, `authors_speedup` and `authors_with_cr_speedup`: their median time over that of
        the engine. `ceiling`: `gflop_per_second`, `side` and `precision` of the matrix product.
        `layers`: `seconds` of all convolutions and matrix products of an iteration alone, their
        `share` in the fastest iteration, and the `longest` of them (`LayerCeiling`). `shares`: the
        share of each kind of work. `fetch_seconds`: the time to load the images of an iteration,
        which `train.workers` does in the background. `first_seconds`: the time of the very first
        iteration. `peak_bytes`: the largest memory of the process until then, or of the device on
        an accelerator. `other_cores`: processor cores that other programs used during the
        measurement (None if unknown). `clean`: whether these were few enough. The experiment:
        `config`, `method`, `dataset`, `shape` of an image, `batch`, `parameters`, `device`,
        `threads`, `precision`, `iterations`, `environment`.

    Raises:
        StudioError: the method is fitted in closed form, several processes were launched, the data
            set is incomplete, or memory ran out.
    """
    engine = Engine(config, build_dataset(config))
    config = engine.config
    if not engine.method.steps():
        raise StudioError(
            f"{config.method.name} is fitted in closed form: it has no training step to measure"
        )
    if engine.processes.count > 1:
        raise StudioError(
            f"found {engine.processes.count} processes; expected one: run studio bench without a "
            "launcher"
        )
    pair, fetch = _time_fetching(engine, iterations)
    device, precision = engine.accelerator.device, config.train.mixed_precision
    load = OtherLoad()
    with _explain_out_of_memory(config, naive):
        ours: Way = lambda: engine.advance(pair)  # noqa: E731
        first, _ = _time(engine, ours)
        flops = {"ours": _count_operations(ours)}
        # Read after two iterations, because Adam allocates its moments at the end of the first.
        peak = _peak_memory(engine)
        ways = {"ours": ours, **(_others(engine, pair) if naive else {})}
        for name in [name for name in ways if name != "ours"]:
            flops[name] = _count_operations(ways[name])
            ways[name]()
        times, best = _time_in_turn(engine, ways, iterations)
        layers = measure_layers(ours, device, precision)
        shares = measure_shares(ours, device)
    costs = {
        name: _summarise(times[name], flops[name], config.train.batch, best["gflop_per_second"])
        for name in ways
    }
    busy = load.cores()
    return {
        **_describe(engine, iterations),
        **{name: asdict(costs[name]) if name in costs else None for name in WAYS},
        **{key: _speedup(costs, name) for name, key in SPEEDUPS.items()},
        "ceiling": best,
        "layers": _summarise_layers(layers, costs["ours"]),
        "shares": shares,
        "fetch_seconds": fetch,
        "first_seconds": first,
        "peak_bytes": peak,
        "other_cores": busy,
        "clean": None if busy is None else busy <= CLEAN,
        "environment": environment(),
    }


WAYS = ("ours", "textbook", "authors", "authors_with_cr")
SPEEDUPS = {
    "textbook": "speedup",
    "authors": "authors_speedup",
    "authors_with_cr": "authors_with_cr_speedup",
}


def _others(engine: Engine, pair: Pair) -> dict[str, Way]:
    """Returns the other implementations of an engine's method, by their names in `WAYS`."""
    ways: dict[str, Way] = {"textbook": lambda: run_naive_iteration(engine, pair)}
    # Not a method derived from it, whose steps are others.
    method = engine.method
    if type(method) is DoubleInfoGAN and method.config.s > 1:
        without, with_cr = (AuthorsUpdate(engine, contrast) for contrast in (False, True))
        ways["authors"] = lambda: without(pair)
        ways["authors_with_cr"] = lambda: with_cr(pair)
    return ways


def _describe(engine: Engine, iterations: int) -> dict[str, Any]:
    config = engine.config
    return {
        "config": config.name,
        "method": config.method.name,
        "dataset": config.data.name,
        "shape": list(engine.dataset.shape),
        "batch": config.train.batch,
        "parameters": sum(p.numel() for p in engine.method.parameters()),
        "device": str(engine.accelerator.device),
        "threads": engine.threads,
        "precision": config.train.mixed_precision,
        "iterations": iterations,
    }


def _speedup(costs: dict[str, Cost], name: str) -> float | None:
    return costs[name].seconds / costs["ours"].seconds if name in costs else None


def _summarise_layers(layers: Sequence[LayerCeiling], ours: Cost) -> dict[str, Any]:
    seconds = sum(layer.calls * layer.seconds for layer in layers)
    return {
        "seconds": seconds,
        "share": seconds / ours.seconds_least,
        "longest": [asdict(layer) for layer in layers[:LAYERS_SHOWN]],
    }


def run_naive_iteration(engine: Engine, pair: Pair) -> None:
    """Does an iteration of the naive implementation.

    Every step makes new draws, and computes gradients of everything that its loss reaches. The
    optimisers move the same nets as in the engine. There is no moving average, no check that values
    are finite, and no reseeding.

    Args:
        engine: supplies method, optimisers and precision.
        pair: images of both domains, each (B, C, ...).
    """
    engine.method.train()
    pair = engine.place(pair)
    for step in engine.method.steps():
        for _ in range(step.times):
            engine.method.zero_grad()
            with engine.accelerator.autocast():
                total = engine.method.total(step.loss(engine.method.draw(pair)))
            engine.accelerator.backward(total)
            engine.optimizers[step.name].step()


@contextmanager
def _explain_out_of_memory(config: Config, naive: bool) -> Iterator[None]:
    try:
        yield
    except (OutOfMemory, torch.OutOfMemoryError) as error:
        # The engine raises OutOfMemory, so torch's own error comes from the naive implementation.
        hint = ""
        if naive and not isinstance(error, OutOfMemory):
            hint = "; --no-naive leaves out the naive implementation, which needs more"
        message = f"out of memory at train.batch: {config.train.batch}{hint} ({error})"
        raise StudioError(message) from error


def _time_fetching(engine: Engine, times: int) -> tuple[Pair, float]:
    """Loads the images of `times` iterations. Returns the last, and the median seconds."""
    seconds = []
    for number in range(times):
        started = time.perf_counter()
        pair = Pair(*engine.pairs[number])
        seconds.append(time.perf_counter() - started)
    return pair, statistics.median(seconds)


def _time_in_turn(
    engine: Engine, ways: dict[str, Callable[[], object]], iterations: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, Any]]:
    """Returns the times of every iteration by implementation, and the highest ceiling."""
    device, precision = engine.accelerator.device, engine.config.train.mixed_precision
    times, products = {name: [] for name in ways}, []
    for _ in range(iterations):
        for name, way in ways.items():
            times[name].append(_time(engine, way))
        products.append(measure_ceiling(device, precision))
    return times, max(products, key=lambda product: product["gflop_per_second"])


def _count_operations(iteration: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        iteration()
    return counter.get_total_flops()


def _time(engine: Engine, iteration: Callable[[], object]) -> tuple[float, float]:
    """Returns the wall time and the processor time of an iteration, in seconds."""
    wait(engine.accelerator.device)
    wall, processor = time.perf_counter(), time.process_time()
    iteration()
    wait(engine.accelerator.device)
    return time.perf_counter() - wall, time.process_time() - processor


def _peak_memory(engine: Engine) -> int:
    """Returns the largest memory so far, in bytes."""
    if engine.accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _summarise(times: list[tuple[float, float]], flops: int, batch: int, best: float) -> Cost:
    wall, processor = zip(*times, strict=True)
    seconds, rate = statistics.median(wall), flops / min(wall) / GIGA
    return Cost(
        seconds=seconds,
        seconds_least=min(wall),
        processor_seconds=statistics.mean(processor),
        images_per_second=batch / seconds,
        gflop_per_image=flops / batch / GIGA,
        gflop_per_second=rate,
        share_of_ceiling=rate / best,
    )
