"""Run directories: opening them, their checkpoints, log, lock and origin."""

__all__: list[str] = []
