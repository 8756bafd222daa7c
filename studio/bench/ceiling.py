"""The limits of the machine: one large matrix product, and each convolution of an iteration alone.

The matrix product is an upper limit that no convolution reaches. The second limit is nearer. It
times every convolution and matrix product of an iteration alone, forward and backward, in each
layout of memory and each precision that the training could use. The fastest counts. The sum over
all calls is the time of an iteration without normalisation, activations, noise, optimisers and
checks.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["DTYPES", "LayerCeiling", "measure_ceiling", "measure_layers", "wait"]

SIDE = {"cpu": 2_048, "cuda": 8_192}  # rows and columns of the multiplied matrices
PRODUCTS = 3  # products per measurement, of which the fastest counts
REPETITIONS = 3  # of each layer, of which the fastest counts
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
GIGA = 1e9
OPERATIONS = {
    torch.ops.aten.convolution.default: "convolution",
    torch.ops.aten.convolution_backward.default: "convolution, backward",
    torch.ops.aten.mm.default: "matrix product",
    torch.ops.aten.addmm.default: "matrix product",
}


def wait(device: torch.device) -> None:
    """Waits until a device has finished its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


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
    with _convolution_precision():
        seconds = _fastest(device, lambda: torch.mm(a, b), PRODUCTS)
    return {
        "gflop_per_second": 2 * side**3 / seconds / GIGA,
        "side": side,
        "precision": precision,
    }


@dataclass(frozen=True)
class LayerCeiling:
    """The least time of one operation on tensors of one shape.

    Attributes:
        operation: a value of `OPERATIONS`.
        shapes: of its tensors.
        calls: how often an iteration computes it.
        seconds: of one call, in the best way.
        best: that way, for example `bf16, channels last`.
    """

    operation: str
    shapes: tuple[tuple[int, ...], ...]
    calls: int
    seconds: float
    best: str


def measure_layers(
    iteration: Callable[[], object], device: torch.device, precision: str
) -> list[LayerCeiling]:
    """Times each convolution and matrix product of an iteration alone.

    Args:
        iteration: does one iteration.
        device: where it computes.
        precision: of the training. bf16 and fp16 allow float32 as well.

    Returns:
        one entry per operation, shapes and options, the longest in sum first.
    """
    with _Recorder() as recorder:
        iteration()
    measured = []
    for (function, given), calls in recorder.calls.items():
        seconds, best = _time_operation(function, given, device, precision)
        shapes = tuple(value.shape for value in given if isinstance(value, _Shape))
        measured.append(LayerCeiling(OPERATIONS[function], shapes, calls, seconds, best))
    return sorted(measured, key=lambda layer: -layer.calls * layer.seconds)


@dataclass(frozen=True)
class _Shape:
    """Stands for a tensor in the recorded arguments of an operation."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Recorder(TorchDispatchMode):
    """Counts the calls of `OPERATIONS` by their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[Any, tuple[Any, ...]]] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if func in OPERATIONS:
            self.calls[func, tuple(_describe(value) for value in args)] += 1
        return func(*args, **(kwargs or {}))


def _describe(value: object) -> object:
    if isinstance(value, Tensor):
        return _Shape(tuple(value.shape), value.stride())
    return tuple(value) if isinstance(value, list) else value


def _time_operation(
    function: Callable[..., object],
    given: Sequence[object],
    device: torch.device,
    precision: str,
) -> tuple[float, str]:
    """Returns the seconds of one call in the best way, and that way."""
    found = []
    for name in dict.fromkeys([precision, "no"]):
        for layout in ("as trained", "contiguous", "channels last"):
            args = [_make(value, device, DTYPES[name], layout) for value in given]
            seconds = _fastest(device, lambda args=args: function(*args), REPETITIONS)
            found.append((seconds, f"{'float32' if name == 'no' else name}, {layout}"))
    return min(found)


def _make(value: object, device: torch.device, dtype: torch.dtype, layout: str) -> object:
    """Makes an argument of an operation from its description."""
    if not isinstance(value, _Shape):
        return list(value) if isinstance(value, tuple) else value
    if layout == "as trained":
        pairs = zip(value.shape, value.strides, strict=True)
        numbers = 1 + sum((length - 1) * stride for length, stride in pairs)
        # Strides can overlap: those of an expanded tensor are 0.
        return torch.randn(numbers, device=device).to(dtype).as_strided(value.shape, value.strides)
    tensor = torch.randn(value.shape, device=device).to(dtype)
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
    if layout == "channels last" and last is not None:
        return tensor.contiguous(memory_format=last)
    return tensor


def _fastest(device: torch.device, work: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


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
