"""How good the pictures are: what `studio score` has kept of a run, as a table, and as a curve over its training."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from studio.evaluate.score_table import heading, score_cells, score_lines
from studio.render.score_curve import score_curve
from studio.report.facts import Facts
from studio.report.markup import Child, el, figure, table

__all__ = ["scores"]

SERIES = (
    "extractor",
    "weights_sha256",
    "averaged",
    "n",
    "seed",
)  # numbers that differ in one of these make no curve


def scores(runs: Sequence[Facts], names: Sequence[str], most: int) -> list[Child]:
    """Returns the section: of each run and way of scoring, a table of the report's checkpoint and a curve of all of them.

    Args:
        runs: with scores that `studio score` wrote.
        names: what the runs are called.
        most: bytes that a picture may take.
    """
    parts: list[Child] = []
    for facts, name in zip(runs, names, strict=True):
        for _, found in groupby(sorted(facts.scores, key=_order), key=_series):
            parts += _of_series(
                [*found], facts.images_seen, f"{name}: " if len(runs) > 1 else "", most
            )
    return parts or [
        el("p", "Not scored: no run has a score.json (studio score RUN writes it).", class_="soft")
    ]


def _series(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry[key]) for key in SERIES)


def _order(entry: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    return _series(entry), entry["checkpoint"]


def _of_series(
    entries: list[dict[str, Any]], images_seen: int, name: str, most: int
) -> list[Child]:
    shown = next((entry for entry in entries if entry["checkpoint"] == images_seen), entries[-1])
    head, *rows = score_cells(shown)
    cells: list[list[Child]] = [[*row] for row in rows]
    parts: list[Child] = [table(name + heading(shown), head, cells)]
    parts += [el("p", line, class_="soft") for line in score_lines(shown)]
    if len(entries) > 1:
        last, measures = (
            entries[-1],
            "KID" if entries[-1]["rows"][0]["fid"] is None else "FID and KID",
        )
        caption = (
            f"{name}{measures} by {last['extractor']} of {len(entries)} checkpoints, lower is better; the lines without marks "
            "are what as many real images score."
        )
        parts.append(
            figure(score_curve(entries), caption, f"Scores over the training: {caption}", most)
        )
    return parts
