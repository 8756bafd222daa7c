"""The number of threads of a resumed training."""

from pathlib import Path

from studio.config import Config
from studio.distributed.processors import usable_cores
from studio.errors import StudioError
from studio.runs import checkpoint
from studio.runs.manifest import read_manifest

__all__ = ["keep_threads"]


def keep_threads(config: Config, run: Path | None) -> int | None:
    """Returns the number of threads with which a run's newest checkpoint was reached.

    A resumed training then adds in the same order, and reaches the weights of an uninterrupted one
    bit for bit.

    Args:
        config: of the training.
        run: the run that is resumed, or None for a new run.

    Returns:
        the number, or None if the config names one, nothing is stored, or the machine has fewer
        cores.
    """
    if run is None or config.train.threads != "auto":
        return None
    for found in reversed(checkpoint.every(run)):
        try:
            threads = read_manifest(found.path / "manifest.json", "a checkpoint").get("threads")
        except StudioError:  # damaged, which the search for the newest checkpoint reports
            continue
        return threads if type(threads) is int and 1 <= threads <= usable_cores() else None
    return None
