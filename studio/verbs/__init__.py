"""The verbs of the command line, one file each: typed options over plain functions.

No other module depends on the command line. Each verb imports its implementation when it runs, so
that `studio --help` and a mistyped option answer without the two seconds that torch takes to load.
"""

__all__: list[str] = []
