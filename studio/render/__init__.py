"""Pictures with captions: samples, edits, traversals, scatter plots of codes, curves, animations."""

__all__: list[str] = []
