"""Training: the session in its directory, the engine that takes the steps, and recovery from failures."""

__all__: list[str] = []
