"""The origin of a training: versions, machine and command, for its log and its checkpoints.

One seed gives one set of weights, bit for bit, on the same machine with the same versions, threads
and processes. These change the weights:

* another number of threads or processes, another processor, device, torch or library version,
  because sums are then taken in another order;
* accelerators without `--deterministic`, because some of their kernels add numbers in the order in
  which they arrive;
* another `train.accumulate`, or a lack of memory that split the batch, because each micro-batch
  draws its own noise;
* `mixed_precision: fp16`, through the loss scale, which is part of the state and is resumed.

`train.workers`, signals, resuming, the time of day and other users of random numbers in the process
change nothing, because every iteration is seeded by (seed, rank, iteration).
"""

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from studio import __version__

__all__ = ["commit", "environment"]

ROOT = Path(__file__).resolve().parents[2]  # of the checkout, if there is one
LIBRARIES = ("numpy", "accelerate", "safetensors")


def environment() -> dict[str, Any]:
    """Returns versions, machine, accelerator, the studio's git commit and the command line."""
    cuda = torch.cuda.is_available()
    return {
        "studio": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "command": shlex.join(sys.argv),
    }


@cache
def commit() -> str | None:
    """Returns the commit of the studio's checkout, with `+changes` if tracked files differ.

    Returns:
        the commit, or None if the studio does not run from a checkout.
    """
    # Without this check git would find a repository around the folder of an installed package.
    if not (ROOT / ".git").exists():
        return None
    head = _git("rev-parse", "HEAD")
    return head and head + (
        "+changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    )


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
