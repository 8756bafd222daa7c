"""Which kind of work the time of an iteration goes to, from torch's profiler."""

from collections.abc import Callable

import torch
from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
from torch.profiler import ProfilerActivity, profile

__all__ = ["KINDS", "measure_shares"]

# Kinds of work, and words in the names of torch's operations. The first kind with a match counts.
KINDS: dict[str, tuple[str, ...]] = {
    "optimisers": ("_fused_adam", "optimizer"),
    "moving average": ("_foreach_lerp", "lerp"),
    "convolutions, backward": ("convolution_backward",),
    "convolutions, forward": ("convolution", "conv2d", "conv3d", "mkldnn_transposed", "cudnn_conv"),
    "matrix products": ("addmm", "::mm", "::bmm", "linear", "matmul"),
    "normalisation": ("batch_norm", "group_norm", "layer_norm", "instance_norm"),
    "noise and codes": ("normal_", "randn", "rand", "randint", "randperm", "uniform_"),
    "checks": ("isfinite", "isnan", "isinf", "_local_scalar_dense", "is_nonzero"),
    "activations": ("relu", "tanh", "sigmoid", "softplus"),
    "copies and casts": ("copy_", "_to_copy", "clone", "contiguous", "::cat", "fill_", "zero_"),
}


def measure_shares(iteration: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Measures the share of each kind of work in the time of torch's operations.

    Args:
        iteration: does one iteration.
        device: where it computes.

    Returns:
        kind -> share, which add up to 1. `other` has the operations that belong to no kind.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        iteration()
    times = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU:  # a kernel, whose time its operation has
            continue
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        times[_kind(event.key)] += spent
    whole = sum(times.values())
    return {kind: spent / whole if whole else 0.0 for kind, spent in times.items()}


def _kind(operation: str) -> str:
    for kind, words in KINDS.items():
        if any(word in operation for word in words):
            return kind
    return "other"
