"""`vbm`: whole volumes of brains in a BIDS folder, see `studio.data.vbm.dataset`."""

__all__: list[str] = []
