"""Readers and writers of image files, slices, volumes and attribute tables."""

__all__: list[str] = []
