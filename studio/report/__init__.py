"""One HTML page of a run, or of several side by side, that opens anywhere without a network."""

from collections.abc import Sequence
from pathlib import Path

from studio.atomic import write_file
from studio.report.facts import Facts, collect, collect_run, make_private_
from studio.report.page import render_page

__all__ = ["Facts", "collect", "collect_run", "make_private_", "render_page", "write_report"]


def write_report(runs: Sequence[Facts], path: Path) -> None:
    """Writes the page. If it fails, no incomplete file is left.

    Raises:
        StudioError: the file cannot be written.
    """
    text = render_page(runs)
    write_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))
