"""Sources of composed data sets: digits, objects, sprites, grass and photographs."""

__all__: list[str] = []
