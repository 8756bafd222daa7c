"""From codes to findings: which subjects differ, subgroups, associations, places, and trust.

Everything is measured on held-out subjects, and a subject is one row. `analyse` puts it together.
"""

from studio.analyse.analyse import analyse

__all__ = ["analyse"]
