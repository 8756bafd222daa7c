"""Several processes that train one run: their launcher, their collectives and their decisions."""

__all__: list[str] = []
