"""Training: the session in its directory, the loop, and recovery from failed steps.

`session.TrainingSession` is one training from start to end. `engine.Engine` takes the iterations.
"""

__all__: list[str] = []
