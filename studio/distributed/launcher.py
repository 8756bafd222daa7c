"""Threads, precision and process group of a training, as its config and its launcher ask for them.

The config beats the launcher, so that a run trains the same way under `studio train`,
`accelerate launch` and `torchrun`.
"""

import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from studio.distributed.processes import SILENCE, destroy_group_at_exit
from studio.distributed.processors import free_cores, usable_cores
from studio.errors import StudioError, warn
from studio.openmp import came_too_late

__all__ = ["make_accelerator", "set_threads"]

# Launcher settings that shard a network. They are refused: our networks fit on one device, and
# the sharding wrappers support a single optimiser.
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def set_threads(threads: int | str) -> int:
    """Sets the number of torch's threads for the whole process.

    Accelerate's launcher sets OMP_NUM_THREADS=1, so that without this call torch would silently
    use one thread.

    Args:
        threads: a number, or `auto` for the physical cores that this process may use and other
            programs leave free now. The processes of one training share all cores equally.

    Returns:
        the number that was set.
    """
    if threads == "auto":
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = free_cores() if local == 1 else max(1, usable_cores() // local)
    if int(threads) > 1 and came_too_late():
        warn(
            "torch was imported before studio, so its threads wait in a busy loop, which is slow "
            "when other programs run: import studio first, or set OMP_WAIT_POLICY=PASSIVE"
        )
    torch.set_num_threads(int(threads))
    return int(threads)


def make_accelerator(precision: str) -> Accelerator:
    """Makes the Accelerator of a training, and joins the launcher's process group if there is one.

    It sets environment variables that Accelerate reads, and resets Accelerate's global state.

    Args:
        precision: `no`, `bf16` or `fp16`.

    Returns:
        the accelerator.

    Raises:
        StudioError: the launcher asks for sharding, the machine lacks the precision, or the
            launcher's processes do not find each other.
    """
    # Accelerate takes these from the launcher's environment even where an argument is given.
    os.environ["ACCELERATE_MIXED_PRECISION"] = precision
    # Accelerate would divide the loss by the launcher's value.
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = "1"
    _refuse_sharding()
    if precision == "fp16" and not torch.cuda.is_available():
        raise StudioError(
            "train.mixed_precision: found fp16, which needs a GPU; expected no or bf16 here"
        )
    # The state outlives an Accelerator and refuses another precision in the same process.
    AcceleratorState._reset_state()
    launched = "LOCAL_RANK" in os.environ
    started = int(os.environ.get("WORLD_SIZE", "1")) if launched else 1
    if launched:  # Accelerate makes a process group even for one process
        destroy_group_at_exit()
    accelerator = Accelerator(
        # Without cpu=True, Accelerate treats each torchrun process on a CPU as a run of its own.
        cpu=started > 1 and not torch.accelerator.is_available(),
        mixed_precision=precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=SILENCE)],
    )
    if accelerator.num_processes < started:
        raise StudioError(
            f"the launcher started {started} processes, but Accelerate finds "
            f"{accelerator.num_processes} on {accelerator.device}; "
            "on a CPU, set ACCELERATE_USE_CPU=true"
        )
    return accelerator


def _refuse_sharding() -> None:
    for variable, name in SHARDING.items():
        if os.environ.get(variable, "false").lower() == "true":
            raise StudioError(
                f"{name}: found in the launcher's settings, expected --multi_gpu, which averages "
                "gradients; a step trains some networks while the others stay frozen"
            )
