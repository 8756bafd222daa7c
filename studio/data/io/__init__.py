"""Finding, reading and writing image files, slices, volumes and attribute tables."""

__all__: list[str] = []
