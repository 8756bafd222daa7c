"""Where and by what a training was run: written into its log and into every checkpoint's manifest.

One seed gives one set of weights, bit for bit, on the same machine with the same versions, threads and processes. What
breaks it:

* another number of threads or processes, another processor, device, torch or library version: sums are taken in another order;
* accelerators, unless `--deterministic` is given: some of their kernels add in the order of arrival;
* another `train.accumulate`, or memory that ran out and split the batch: noise is drawn part by part;
* `mixed_precision: fp16` only through the loss scale, which is part of the state and is resumed;
* `train.workers`, signals, resuming, the time of day and whatever else draws random numbers in the process break nothing:
  every iteration is seeded by (seed, rank, iteration).
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

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("numpy", "accelerate", "safetensors")


def environment() -> dict[str, Any]:
    """Returns versions, machine, accelerator, the studio's git commit and the command that was given."""
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
    """Returns the commit of the checkout that the studio runs from, with `+changes` where files differ; None without one."""
    if not (
        ROOT / ".git"
    ).exists():  # else git would find the repository that an installed package happens to lie in
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
