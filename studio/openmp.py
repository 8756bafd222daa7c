"""How the threads of torch wait for each other.

OpenMP distributes the work of an operation to threads, which then wait for the slowest of them. By
default they wait in a busy loop. If another process needs a processor core, the loops of the early
threads keep the core from the thread that everyone waits for. Training is then several times as
slow. Threads that sleep while they wait cost nothing on an idle machine with nets for 64 pixels,
and a fifth of the speed with small nets for 32 pixels (`docs/results/cost.md` has the measurement).

OpenMP reads the setting from the environment when it is loaded, which happens with torch. Therefore
this module must be used before torch is imported, and `import studio` does so.
"""

import os
import sys

__all__ = ["came_too_late", "let_threads_sleep"]

SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
_state = {"late": False}


def let_threads_sleep() -> None:
    """Makes OpenMP's threads sleep while they wait, unless the user has chosen otherwise."""
    if any(name in os.environ for name in SETTINGS):
        return
    _state["late"] = "torch" in sys.modules
    if not _state["late"]:
        os.environ.update(SETTINGS)


def came_too_late() -> bool:
    """Returns whether OpenMP had been loaded before `let_threads_sleep` could set anything."""
    return _state["late"]
