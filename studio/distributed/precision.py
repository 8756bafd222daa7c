"""The precision that this machine trains fastest in, for `train.mixed_precision: auto`.

bf16 takes less memory. On a processor that multiplies bf16 numbers, training is 1.3 times as fast
at 64 pixels and twice as fast at 128 (`docs/results/cost.md`). Where the hardware does not, oneDNN
emulates it, and training is up to twenty times as slow. fp16 is never chosen, because its range is
small enough to need a loss scale.
"""

import torch

__all__ = ["choose_precision"]


def choose_precision() -> tuple[str, str]:
    """Chooses between `bf16` and `no`, by the features that the hardware reports.

    Returns:
        the precision, and the reason as part of a sentence.
    """
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this GPU computes in bf16"
        return "no", "this GPU does not compute in bf16"
    if torch.accelerator.is_available():
        return "no", "bf16 was tried on CUDA devices and CPUs only"
    if _reports("_is_avx512_bf16_supported") or _reports("_is_amx_tile_supported"):
        return "bf16", "this processor computes in bf16"
    return "no", "this processor does not compute in bf16"


def _reports(name: str) -> bool:
    """Asks torch for a feature of the processor. Versions of torch without the question say no."""
    ask = getattr(torch.cpu, name, None)
    return ask is not None and bool(ask())
