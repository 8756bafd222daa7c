"""Images and digits that composed data sets are made of."""

__all__: list[str] = []
