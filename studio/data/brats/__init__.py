"""BraTS: the layouts of its editions, preprocessing, the cache of slices and the data set."""

__all__: list[str] = []
