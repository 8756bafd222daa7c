"""The cost of a training iteration, compared with a naive implementation and the machine's ceiling.

The naive implementation is the one that a reader of the paper would write: every step of the method
makes its own draws, and its loss is differentiated through everything that it reaches, whatever the
step moves. The engine draws once where that is exact, and differentiates only towards the nets that
move. The two run in turn on the same images, so that other work of the machine slows both.

Torch counts the operations (`torch.utils.flop_counter`: convolutions and matrix products, 2
operations per multiply-add, padding included). One count is enough, because the work depends only
on nets and batch. The ceiling is the rate of one large matrix product in the precision of the
training. Some products are timed after each iteration, and the fastest counts. Images are the real
ones of both domains, as in `images_seen`.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from studio.build import build_dataset
from studio.config import Config
from studio.errors import StudioError
from studio.method import Pair
from studio.runs.provenance import environment
from studio.training.engine import Engine
from studio.training.failures import OutOfMemory

__all__ = ["Cost", "bench", "measure_ceiling", "run_naive_iteration"]

SIDE = {"cpu": 2_048, "cuda": 8_192}  # rows and columns of the multiplied matrices
PRODUCTS = 3  # products per measurement; the fastest counts
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
GIGA = 1e9


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
        naive: also measure the naive implementation. It needs more memory for its graphs.

    Returns:
        `ours` and `textbook`: the `Cost` of the engine and of the naive implementation (None if not
        asked for). `speedup`: the median time of the naive implementation over that of the engine.
        `ceiling`: `gflop_per_second`, `side` and `precision` of the matrix product.
        `fetch_seconds`: the time to load the images of an iteration, which `train.workers` does in
        the background. `first_seconds`: the time of the very first iteration. `peak_bytes`: the
        largest memory of the process until then, or of the device on an accelerator. The
        experiment: `config`, `method`, `dataset`, `shape` of an image, `batch`, `parameters`,
        `device`, `threads`, `precision`, `iterations`, `environment`.

    Raises:
        StudioError: the method is fitted in closed form, several processes were launched, the data
            set is incomplete, or memory ran out.
    """
    engine = Engine(config, build_dataset(config))
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
    ways: dict[str, Callable[[], object]] = {"ours": lambda: engine.advance(pair)}
    if naive:
        ways["textbook"] = lambda: run_naive_iteration(engine, pair)
    with _explain_out_of_memory(config, naive):
        first, _ = _time(engine, ways["ours"])
        flops = {"ours": _count_operations(ways["ours"])}
        # Read after two iterations, because Adam allocates its moments at the end of the first.
        peak = _peak_memory(engine)
        if naive:
            flops["textbook"] = _count_operations(ways["textbook"])
            ways["textbook"]()
        times, best = _time_in_turn(engine, ways, iterations)
    costs = {
        name: _summarise(times[name], flops[name], config.train.batch, best["gflop_per_second"])
        for name in ways
    }
    ours, other = costs["ours"], costs.get("textbook")
    return {
        "config": config.name,
        "method": config.method.name,
        "dataset": config.data.name,
        "shape": list(engine.dataset.shape),
        "batch": config.train.batch,
        "parameters": sum(p.numel() for p in engine.method.parameters()),
        "device": str(engine.accelerator.device),
        "threads": engine.threads,
        "precision": engine.config.train.mixed_precision,
        "iterations": iterations,
        "ours": asdict(ours),
        "textbook": other and asdict(other),
        "speedup": other and other.seconds / ours.seconds,
        "ceiling": best,
        "fetch_seconds": fetch,
        "first_seconds": first,
        "peak_bytes": peak,
        "environment": environment(),
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


def measure_ceiling(device: torch.device, precision: str) -> dict[str, Any]:
    """Measures the fastest of `PRODUCTS` large matrix products.

    Args:
        device: where the product is computed.
        precision: `train.mixed_precision`: bf16, fp16 or no.

    Returns:
        `gflop_per_second`: the rate in 1e9 operations per second. `side`: rows and columns of the
        matrices. `precision`: as given.
    """
    side, dtype = SIDE.get(device.type, SIDE["cuda"]), DTYPES[precision]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    with _convolution_precision():
        for _ in range(PRODUCTS):
            _wait(device)
            started = time.perf_counter()
            torch.mm(a, b)
            _wait(device)
            seconds.append(time.perf_counter() - started)
    return {
        "gflop_per_second": 2 * side**3 / min(seconds) / GIGA,
        "side": side,
        "precision": precision,
    }


@contextmanager
def _convolution_precision() -> Iterator[None]:
    """Computes float32 matrix products in the precision of convolutions.

    By torch's defaults a GPU computes convolutions in TF32, but not matrix products.
    """
    product = torch.backends.cuda.matmul
    before = product.fp32_precision
    convolution = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    product.fp32_precision = convolution.fp32_precision
    try:
        yield
    finally:
        product.fp32_precision = before


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
    _wait(engine.accelerator.device)
    wall, processor = time.perf_counter(), time.process_time()
    iteration()
    _wait(engine.accelerator.device)
    return time.perf_counter() - wall, time.process_time() - processor


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


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
