"""Pictures with captions: samples, edits, traversals, plots of codes, curves, animations."""

__all__: list[str] = []
