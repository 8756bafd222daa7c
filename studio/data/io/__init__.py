"""Readers and writers of image files, slices, volumes and attribute tables, and the search for
files in folders.
"""

__all__: list[str] = []
