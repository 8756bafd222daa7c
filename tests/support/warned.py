"""Tests in which a warning is a failure."""

import pytest

no_warning = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")
"""Every warning fails the test, except those of objects that earlier tests left behind.

Gradio opens an event loop for each page and never closes it. Python's garbage collector meets it at
a moment of its own, possibly in the middle of a test that has nothing to do with it.
"""
