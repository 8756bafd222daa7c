"""Several processes that train one run: their launcher, their collectives, their agreement."""

__all__: list[str] = []
