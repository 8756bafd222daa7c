"""The verbs, one file each: a thin layer of typed options over plain functions; nothing below here knows the command line.

What a verb needs is imported when it runs: `studio --help` and a mistyped option answer without torch's two seconds.
"""

__all__: list[str] = []
