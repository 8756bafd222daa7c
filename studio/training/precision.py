"""Replaces `train.mixed_precision: auto` by a precision, once for the life of a run."""

from studio.config import Config
from studio.distributed.precision import choose_precision

__all__ = ["settle_precision"]


def settle_precision(config: Config, stored: str | None = None) -> tuple[Config, str]:
    """Replaces the precision `auto` in a config.

    Args:
        config: the experiment.
        stored: the precision that the run began with. None for a new run.

    Returns:
        the config with a precision other than `auto`, and a sentence about the choice, "" if
        nothing was chosen.
    """
    if config.train.mixed_precision != "auto":
        return config, ""
    if stored is not None and stored != "auto":
        return _with_precision(config, stored), ""
    chosen, reason = choose_precision()
    note = f"train.mixed_precision: auto is {chosen} here, because {reason}"
    return _with_precision(config, chosen), note


def _with_precision(config: Config, name: str) -> Config:
    train = config.train.model_copy(update={"mixed_precision": name})
    return config.model_copy(update={"train": train})
