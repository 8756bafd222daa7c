"""What an iteration of training costs, against the textbook's way and against what the machine can do at best.

The textbook's way is what a reader of the paper would write down: every step of the method makes its own draws, and its
loss is differentiated through everything that it reaches, whatever the step moves. The engine draws once where that is
exact, and differentiates only towards what moves. Both run here in turn, on the same images, so that whatever else the
machine does meanwhile slows both.

Work is counted by torch (`torch.utils.flop_counter`: convolutions and matrix products, 2 operations per multiply-add, padding
counted), once; it depends on nothing but nets and batch. The machine's best is the rate of one large matrix product in the
training's precision, the best of some after each iteration. An image is a real one of either domain, as in `images_seen`.
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

__all__ = ["Cost", "bench", "ceiling", "textbook_iteration"]

SIDE = {"cpu": 2_048, "cuda": 8_192}  # of the matrices
PRODUCTS = 3  # of which the fastest counts
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
GIGA = 1e9


@dataclass(frozen=True)
class Cost:
    """What an iteration costs.

    Attributes:
        seconds: of wall time, the median iteration.
        seconds_least: the fastest iteration; what else the machine did slowed it least.
        processor_seconds: of all threads together, the mean iteration; on an accelerator only what feeds it.
        images_per_second: real images of both domains, at the median.
        gflop_per_image: 1e9 operations, counted.
        gflop_per_second: in the fastest iteration, as the machine's best is that of the fastest product.
        share_of_ceiling: the same over the machine's best.
    """

    seconds: float
    seconds_least: float
    processor_seconds: float
    images_per_second: float
    gflop_per_image: float
    gflop_per_second: float
    share_of_ceiling: float


def bench(config: Config, iterations: int = 10, textbook: bool = True) -> dict[str, Any]:
    """Measures a training's iteration.

    Args:
        config: the experiment; nothing is written.
        iterations: how many are timed, after some that warm up.
        textbook: also measure the textbook's way; its graphs need more memory.

    Returns:
        `ours` and `textbook` (None if not asked for): see Cost; `speedup`, the textbook's median time over ours; `ceiling`:
        `gflop_per_second`, `side` and `precision` of the matrix product; `fetch_seconds`, what the images of an iteration
        take to make, which `train.workers` does meanwhile; `first_seconds`, of the very first iteration; `peak_bytes`, the
        process's (on an accelerator: the device's) largest memory up to then; and what was measured: `config`,
        `method`, `dataset`, `shape` of an image, `batch`, `parameters`, `device`, `threads`, `precision`, `iterations`,
        `environment`.

    Raises:
        StudioError: the method is fitted in closed form, several processes were launched, or data or machine stand in the way.
    """
    engine = Engine(config, build_dataset(config))
    if not engine.method.steps():
        raise StudioError(
            f"{config.method.name} is fitted in closed form: it has no training step to measure"
        )
    if engine.processes.count > 1:
        raise StudioError(
            f"found {engine.processes.count} processes; expected one: studio bench without a launcher"
        )
    pair, fetch = _fetched(engine, iterations)
    ways: dict[str, Callable[[], object]] = {"ours": lambda: engine.advance(pair)}
    if textbook:
        ways["textbook"] = lambda: textbook_iteration(engine, pair)
    with _memory(config, textbook):
        first, _ = _timed(engine, ways["ours"])
        flops = {"ours": _counted(ways["ours"])}
        peak = _peak(engine)  # after two: Adam's moments come at the end of the first
        if textbook:
            flops["textbook"] = _counted(ways["textbook"])
            ways["textbook"]()
        times, products = {name: [] for name in ways}, []
        for _ in range(iterations):
            for name, way in ways.items():
                times[name].append(_timed(engine, way))
            products.append(ceiling(engine.accelerator.device, config.train.mixed_precision))
    best = max(products, key=lambda product: product["gflop_per_second"])
    costs = {
        name: _cost(times[name], flops[name], config.train.batch, best["gflop_per_second"])
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
        "precision": config.train.mixed_precision,
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


def textbook_iteration(engine: Engine, pair: Pair) -> None:
    """Does an iteration as the textbook has it: new draws for every step, gradients for all that its loss reaches.

    The nets move as in the engine's; there is no moving average, no look at whether all is finite, no reseeding.
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


def ceiling(device: torch.device, precision: str) -> dict[str, Any]:
    """Measures the rate of a large matrix product, the best of some, in 1e9 operations a second."""
    side, dtype = SIDE.get(device.type, SIDE["cuda"]), DTYPES[precision]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    with _rounded_as_in_convolutions():
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
def _rounded_as_in_convolutions() -> Iterator[None]:
    """Lets products of float32 use what convolutions use: by torch's defaults a GPU's are in TF32, and only they."""
    product = torch.backends.cuda.matmul
    before = product.fp32_precision
    product.fp32_precision = torch.backends.cudnn.conv.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        product.fp32_precision = before


@contextmanager
def _memory(config: Config, textbook: bool) -> Iterator[None]:
    try:
        yield
    except (OutOfMemory, torch.OutOfMemoryError) as error:
        theirs = textbook and not isinstance(
            error, OutOfMemory
        )  # as which the engine raises its own
        less = "; --no-textbook leaves out the textbook's step, which needs more" if theirs else ""
        raise StudioError(
            f"out of memory at train.batch: {config.train.batch}{less} ({error})"
        ) from error


def _fetched(engine: Engine, times: int) -> tuple[Pair, float]:
    """Returns an iteration's images, and the median time that making such took."""
    seconds = []
    for number in range(times):
        started = time.perf_counter()
        pair = Pair(*engine.pairs[number])
        seconds.append(time.perf_counter() - started)
    return pair, statistics.median(seconds)


def _counted(iteration: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        iteration()
    return counter.get_total_flops()


def _timed(engine: Engine, iteration: Callable[[], object]) -> tuple[float, float]:
    """Returns the wall and the processor seconds of an iteration."""
    _wait(engine.accelerator.device)
    wall, processor = time.perf_counter(), time.process_time()
    iteration()
    _wait(engine.accelerator.device)
    return time.perf_counter() - wall, time.process_time() - processor


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _peak(engine: Engine) -> int:
    if engine.accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1_024
    )


def _cost(times: list[tuple[float, float]], flops: int, batch: int, best: float) -> Cost:
    wall, processor = zip(*times, strict=True)
    seconds, rate = statistics.median(wall), flops / min(wall) / GIGA
    return Cost(
        seconds,
        min(wall),
        statistics.mean(processor),
        batch / seconds,
        flops / batch / GIGA,
        rate,
        rate / best,
    )
