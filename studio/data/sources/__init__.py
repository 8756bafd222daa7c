"""Images from which composed data sets are built: digits, objects, sprites, grass and bundled
photographs.
"""

__all__: list[str] = []
