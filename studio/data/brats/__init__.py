"""BraTS: layouts of each edition, preprocessing, a cache of slices, and the data set."""

__all__: list[str] = []
