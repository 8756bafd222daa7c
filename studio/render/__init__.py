"""Pictures with captions: samples, edits, traversals, plots of codes, curves, animations."""

import os
from contextlib import suppress

__all__: list[str] = []


def _import_matplotlib() -> None:
    """Imports matplotlib so that no value of MPLBACKEND can make the import fail.

    A notebook sets a backend that may not be installed here. Where it is, it is kept for the other
    figures of the process. Our figures have a canvas of their own.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


_import_matplotlib()
