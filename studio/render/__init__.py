"""Pictures with captions: grids of samples, edits, traversals, scatter plots of codes, training curves and animations."""

__all__: list[str] = []
