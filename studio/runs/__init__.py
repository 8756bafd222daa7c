"""Run directories: opening, checkpoints, locks, and where a run came from."""

__all__: list[str] = []
